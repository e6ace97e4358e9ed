"""What one gets of a trace: statistics, noise, parts, roles, files, progress; and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.errors import PatchingError, SiteError
from neoscope.patching.metrics import kl, logit_diff
from neoscope.patching.prompts.pairs import read_prompts
from neoscope.patching.results.loading import load
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.sweeping import sweep
from neoscope.patching.tracing.noising import embedding_sigma
from neoscope.patching.tracing.result import TraceResult
from neoscope.patching.tracing.subjects import ROLES, role_of, subject_mask
from neoscope.patching.tracing.tracing import trace
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import model_of
from tests.neoscope.patching.tracing.cases import (
    OPTIONS,
    SUBJECT,
    TEXTS,
    traced,
    traced_with,
)


def test_statistics_are_over_prompts() -> None:
    found = traced(model_of(), positions=[-1, -2])
    assert found.values.shape == (3, 3, 2) and found.drawn.shape == (3, 3, 3, 2)
    assert np.allclose(found.mean, found.values.mean(0))
    assert np.allclose(found.stderr, found.values.std(0, ddof=1) / np.sqrt(3))
    assert np.isnan(trace(model_of(), TEXTS[0], [1], 3, **OPTIONS).stderr).all()
    assert np.allclose(found.normalised().value, found.mean / found.total_effect)
    table = found.to_dataframe()
    assert len(table) == 6 and table.effect.tolist() == found.mean.reshape(-1).tolist()
    assert abs(found.top(1).effect[0]) == np.abs(found.mean).max()


def test_sigma_is_centred_unless_asked_otherwise() -> None:
    model = model_of()
    ids = torch.tensor([4, 7, 7, 20])
    entries = model.W_E[ids].detach().double()
    shifted = model_of("global")
    centred = (entries - entries.mean(0)).square().sum() / (3 * 16)
    assert embedding_sigma(model, ids) == pytest.approx(float(centred.sqrt()))
    assert embedding_sigma(model, ids, centred=False) == pytest.approx(float(entries.std()))
    offset = plain.random_model()
    with torch.no_grad():
        offset.W_E.add_(5 * torch.randn(16, generator=torch.Generator().manual_seed(0)))
    assert embedding_sigma(offset, ids) == pytest.approx(embedding_sigma(model, ids), rel=1e-5)
    assert embedding_sigma(offset, ids, centred=False) > 5 * embedding_sigma(offset, ids)
    subjects = torch.tensor([5, 6, 7, 11, 14])
    for centred_too in (True, False):
        found = traced(shifted, sigma=None, centred=centred_too, draws=1, layers=0)
        assert found.sigma == embedding_sigma(shifted, subjects, centred=centred_too)
        assert found.noise == 3.0 and found.centred is centred_too
    everything = traced(shifted, sigma="vocabulary", draws=1, layers=0)
    assert everything.sigma == embedding_sigma(shifted, torch.arange(40))


def test_twice_the_sigma_is_half_the_noise() -> None:
    model = model_of()
    one, two = traced(model, sigma=0.8, noise=1.5), traced(model, sigma=0.4, noise=3.0)
    assert np.allclose(one.drawn, two.drawn, equal_nan=True, atol=1e-7)


def test_without_an_answer_it_is_what_the_model_says() -> None:
    model = model_of()
    found = trace(model, TEXTS, SUBJECT, **OPTIONS)
    assert np.array_equal(found.drawn, traced(model).drawn, equal_nan=True)


def test_any_metric_can_be_traced() -> None:
    model = model_of()
    right, wrong = [3, 5, 7], [1, 1, 1]
    difference = traced_with(model, logit_diff(right, wrong))
    function = traced_with(model, lambda x: x[:, -1, right].diagonal() - x[:, -1, 1])
    assert np.allclose(difference.drawn, function.drawn, equal_nan=True, atol=1e-5)
    parts = difference.components
    assert np.allclose(parts["answer"] - parts["wrong"], difference.patched, equal_nan=True)
    divergence = traced_with(model, kl())
    assert np.allclose(divergence.clean, 0, atol=1e-6) and divergence.corrupted.min() > 1e-3
    assert (np.abs(divergence.patched[:, -1, -1]) < 1e-6).all()
    early = traced_with(model, logit_diff(right, wrong), metric_positions=-2)
    assert early.corrupted.tolist() != difference.corrupted.tolist()


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_saved_trace_is_the_same_again(tmp_path: Path, suffix: str) -> None:
    found = traced(model_of(), window=2, site="mlp_out")
    path = tmp_path / f"trace{suffix}"
    assert found.save(path) == path
    again = TraceResult.load(path)
    assert again == found and again.subject == ((1, 2), (2,), (0, 3)) and again.window == 2
    either = load(path)
    assert isinstance(either, TraceResult) and either == found
    assert again != traced(model_of(), window=3, site="mlp_out")
    with pytest.raises(PatchingError, match=r"a TraceResult, no Pat.*neoscope\.patching\.load"):
        PatchingResult.load(path)
    sweep(model_of(), [1, 2], [1, 3], logit_diff(3, 4), progress=False).save(path)
    with pytest.raises(PatchingError, match="holds a PatchingResult, no TraceResult; read it with"):
        TraceResult.load(path)


def test_parts_of_a_trace_keep_their_draws() -> None:
    found = traced(model_of())
    part = found.select(layer=1, pos=slice(-2, None))
    assert part.drawn.shape == (3, 3, 2) and part.shape == (2,)
    assert np.array_equal(part.drawn, found.drawn[:, :, 1, -2:])
    assert np.array_equal(part.noised, found.noised) and part.subject == found.subject
    said = repr(found)
    assert said.startswith("TraceResult: resid_post") and "noise 3 × σ = 1.2, 3 draws" in said
    with pytest.raises(PatchingError, match=r"expected \[draws, pairs"):
        replace(found, drawn=found.drawn[:, :2])


def test_roles_average_over_tokens_of_unequal_prompts() -> None:
    found = trace(model_of(), TEXTS, [[0, 1, 2], [1, 4], [3]], **OPTIONS)
    by_role = found.by_role()
    assert by_role.shape == (3, len(ROLES)) and by_role.drawn.shape == (3, 3, 3, 6)
    first = found.values[1]  # six tokens, the fifth of which ends the subject
    assert np.allclose(by_role.values[1, :, 1], first[:, [2, 3]].mean(1))
    assert np.allclose(by_role.values[1, :, 5], first[:, 5])
    assert np.isnan(by_role.values[2, :, :2]).all() and np.isnan(by_role.values[:, :, 4]).all()
    middle = np.stack([found.values[0, :, 2 + 1], first[:, [2, 3]].mean(1)])
    assert np.allclose(by_role.mean[:, 1], middle.mean(0))
    assert np.allclose(by_role.drawn.mean(0), by_role.patched, equal_nan=True)
    assert by_role.select(role="last token").shape == (3,)
    with pytest.raises(PatchingError, match="positions='each'"):
        traced(model_of(), positions="all").by_role()


def test_roles_of_short_subjects() -> None:
    assert role_of([0], 1) == ["last subject token"]
    assert role_of([1], 3) == [None, "last subject token", "last token"]
    assert role_of([1, 3], 6) == [None, ROLES[0], ROLES[1], ROLES[2], ROLES[3], ROLES[5]]


def test_subjects_are_found_in_the_tokens() -> None:
    model = ns.load("organism")
    prompts = read_prompts(model, ["Young Stokes lives in", "When Uncle Harlan lives in"])

    def found(subject: Any) -> list[list[int]]:
        mask = subject_mask(prompts, subject)
        return [m[r].nonzero().flatten().tolist() for m, r in zip(mask, prompts.mask, strict=True)]

    assert found("lives") == [[2], [3]] and found(" lives in") == [[2, 3], [3, 4]]
    assert found(["Young Stokes", "Uncle Harlan"]) == [[0, 1], [1, 2]]
    assert found(["Stok", [0, -1]]) == [[1], [0, 4]]
    assert found(slice(0, 2)) == [[0, 1], [0, 1]] and found(-1) == [[3], [4]]
    assert found(torch.tensor([[1], [2]])) == [[1], [2]]
    # A whole word is preferred to a part of "in" or "Harlan".
    assert found(["in", "in"]) == [[3], [4]]
    with pytest.raises(
        PatchingError, match=r"'Mary' does not stand in prompt 0; its tokens are 0 "
    ):
        found("Mary")
    with pytest.raises(PatchingError, match=r"'l' stands 3 times in prompt 1; .* 2 ' Harlan'"):
        found(["lives", "l"])
    with pytest.raises(PatchingError, match="subject has 1 entries, but there are 2"):
        found(["lives"])
    with pytest.raises(PatchingError, match="prompt 0 is empty"):
        found(" ")
    with pytest.raises(PatchingError, match="subject of prompt 1 has no token"):
        found([[0], []])
    with pytest.raises(SiteError, match="subject: 9 is out of range"):
        found(9)


def test_every_position_of_unequal_prompts_counts_from_the_end() -> None:
    found = traced(model_of(), draws=1)
    assert found.shape[1] == 6 and found.axes[1].labels[0].startswith("-6 ")
    assert np.isnan(found.values[0, :, :2]).all() and np.isfinite(found.values[0, :, 2:]).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 0}, "draws=0; expected a whole number of draws"),
        ({"draws": 1.5}, "draws=1.5"),
        ({"noise": -1}, "noise=-1; expected a finite number, not negative"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"noise": 0}, "noise=0 times sigma=0.4 is none: nothing would be noised"),
        ({"sigma": 0}, "nothing would be noised"),
        ({"sigma": -1}, "sigma=-1"),
        ({"sigma": "all"}, "expected None .* 'vocabulary'"),
        ({"window": 0}, "window=0; expected None or a number of layers"),
        ({"window": 4}, "window=4: the model has 3 layers; give 1 to 3"),
        ({"window": 2, "site": "z"}, "windows are for attn_out, mlp_out, resid_mid"),
        ({"window": 2, "site": "embed"}, "site 'embed' is restored in one layer at a time"),
        ({"site": "mlp_outs"}, "did you mean 'mlp_out'"),
        ({"metric": kl()}, "give answer= .* or metric=, not both"),
    ],
)
def test_what_cannot_be_traced_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises((PatchingError, SiteError), match=said):
        traced(model_of(), **options)


def test_one_subject_token_has_no_spread_about_itself() -> None:
    with pytest.raises(PatchingError, match=r"hold one token only.*sigma='vocabulary'"):
        trace(model_of(), TEXTS[0], [1], 3, progress=False)
    for options in ({"sigma": "vocabulary"}, {"centred": False}):
        assert trace(model_of(), TEXTS[0], [1], 3, progress=False, draws=1, **options).sigma > 0.3


def test_progress_counts_all_draws() -> None:
    seen: list[Any] = []
    found = traced(model_of(), progress=seen.append)
    assert [now.done for now in seen] == sorted({now.done for now in seen})
    assert seen[-1].done == seen[-1].total == 3 * 3 * 3 * 6
    assert seen[-1].partial() == found


def test_an_interrupt_keeps_the_draws_that_are_done() -> None:
    whole = traced(model_of())

    def stop(now: Any) -> None:
        if now.done > now.total / 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        found = traced(model_of(), progress=stop, batch_tokens=8)
    assert not found.complete and found.draws == 1
    assert np.allclose(found.drawn, whole.drawn[:1], equal_nan=True, atol=1e-7)


def test_an_interrupt_at_the_end_of_a_draw_is_one_too() -> None:
    def stop(now: Any) -> None:
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        found = traced(model_of(), progress=stop)
    assert found.draws == 1 and not found.complete
