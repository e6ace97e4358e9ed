"""Causal traces against whole runs of the model, one for each draw and state."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edit import Edit
from neoscope.edits import add, transform
from neoscope.errors import PatchingError, SiteError
from neoscope.patching.cells import Cell
from neoscope.patching.loading import load
from neoscope.patching.metrics import kl, logit_diff
from neoscope.patching.noising import embedding_sigma, unit_noise
from neoscope.patching.prompts import Prompts, read_prompts
from neoscope.patching.result import PatchingResult
from neoscope.patching.subjects import ROLES, role_of, subject_mask
from neoscope.patching.sweeping import sweep
from neoscope.patching.trace_result import TraceResult
from neoscope.patching.tracing import trace
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import model_of

TEXTS = [[4, 5, 6, 7], [9, 8, 7, 6, 5, 4], [11, 12, 13, 14, 15]]
SUBJECT = [[1, 2], [2], [0, 3]]
OPTIONS: dict[str, Any] = {"sigma": 0.4, "draws": 3, "progress": False}


@functools.cache
def answers(model: ns.HookedGPTNeo) -> list[int]:
    """What the model says, so that probabilities are not tiny."""
    return [int(model([text])[0, -1].argmax()) for text in TEXTS]


def traced(model: ns.HookedGPTNeo, **options: Any) -> TraceResult:
    return trace(model, TEXTS, SUBJECT, answers(model), **(OPTIONS | options))


@torch.no_grad()
def expected(
    model: ns.HookedGPTNeo, prompts: Prompts, cells: Sequence[Cell], noise: Tensor
) -> np.ndarray:
    """Probabilities of the answers in whole runs, [pairs, cells]; the last is of the noised run."""
    tokens = plain.tokens_of(prompts, "clean")
    donor = plain.donor_of(model, tokens)
    noised = add("embed", None, value=noise)
    out = []
    for cell in [*cells, None]:
        restored = [] if cell is None else [restore(cell, at, donor) for at in layers_of(cell)]
        logits = model.run_with_edits(tokens, [noised, *restored])[:, -1]
        out.append(logits.softmax(-1)[torch.arange(len(prompts)), torch.tensor(answers(model))])
    return torch.stack(out, 1).numpy()


def layers_of(cell: Cell) -> Sequence[int | None]:
    return [None] if cell.layer is None else cell.layers


def restore(cell: Cell, layer: int | None, donor: plain.Donor) -> Edit:
    def change(here: Tensor) -> Tensor:
        assert cell.columns is not None
        where = cell.columns == torch.arange(here.shape[1])  # [pairs, pos]
        where = where.view(*where.shape, *[1] * (here.ndim - 2))
        if cell.head is not None:
            where = where & (torch.arange(here.shape[2]) == cell.head)[:, None]
        return torch.where(where, donor(cell.site, layer), here)

    return transform(cell.site, layer, change)


@pytest.mark.parametrize(
    ("kind", "site", "window"),
    [
        ("mixed", "resid_pre", None),
        ("mixed", "mlp_out", None),
        ("mixed", "embed", None),
        ("mixed", "z", None),
        ("mixed", "attn_out", 3),
        ("mixed", "resid_post", 2),
        ("local", "resid_post", None),
        ("local", "mlp_out", 2),
        ("global", "attn_out", None),
        ("global", "mlp_out", 3),
    ],
)
def test_every_cell_of_every_draw_is_a_whole_run(kind: str, site: str, window: int | None) -> None:
    model = model_of(kind)
    n = model.config.n_layers
    found = traced(model, site=site, window=window)
    prompts = read_prompts(model, TEXTS)
    # Prompts of several lengths are aligned at their ends.
    columns = [
        torch.tensor([[c if c >= prompts.n_columns - k else -1] for k in prompts.lengths])
        for c in range(prompts.n_columns)
    ]
    around = {
        None: lambda at: at,
        2: lambda at: tuple(range(max(0, at - 1), at + 1)),
        3: lambda at: tuple(range(max(0, at - 1), min(n, at + 2))),
    }[window]
    layers = [None] if site == "embed" else [around(at) for at in range(n)]
    heads = range(model.config.n_heads) if site in ("z", "k") else [None]
    cells = [Cell(site, *at) for at in itertools.product(layers, heads, columns)]
    missing = np.array([[c[k, 0] < 0 for c in columns] for k in range(3)])
    missing = np.tile(missing, len(cells) // len(columns))
    mask = subject_mask(prompts, SUBJECT)
    for draw in range(3):
        noise = unit_noise(prompts, mask, model.config.d_model, seed=0, draw=draw) * 3 * 0.4
        probabilities = expected(model, prompts, cells, noise)
        mine = found.drawn[draw].reshape(3, -1)
        assert np.isnan(mine).tolist() == missing.tolist()
        assert np.nanmax(np.abs(mine - probabilities[:, :-1])) < 2e-6
        assert np.abs(found.noised[draw] - probabilities[:, -1]).max() < 2e-6
    assert np.abs(found.noised - found.clean).max() > 0.01
    assert np.allclose(found.patched, found.drawn.mean(0), equal_nan=True)
    assert np.allclose(found.corrupted, found.noised.mean(0))
    assert np.allclose(found.values, found.effects_by_draw.mean(0), equal_nan=True)


def test_all_noised_tokens_restored_before_the_first_layer_are_the_total_effect() -> None:
    model = model_of()
    for where in ({"subject": SUBJECT}, "all"):
        for options in ({"site": "embed"}, {"site": "resid_pre", "layers": 0}):
            found = traced(model, positions=where, **options)
            assert np.allclose(found.values.reshape(3), found.total, rtol=1e-4, atol=1e-6)
            assert abs(found.mean.item() - found.total_effect) < 1e-6
    assert found.total_effect == pytest.approx(float((found.clean - found.noised).mean()))
    assert found.total_stderr == pytest.approx(found.total.std(ddof=1) / np.sqrt(3))


def test_all_of_the_last_layer_restored_is_the_clean_run() -> None:
    found = traced(model_of(), layers=-1, positions="all")
    assert np.abs(found.drawn - found.clean[None, :, None]).max() < 1e-6


@pytest.mark.parametrize("window", [None, 2])
def test_left_of_the_subject_nothing_can_move(window: int | None) -> None:
    texts = [row[:4] for row in TEXTS]
    for site in ("mlp_out", "resid_pre"):
        found = trace(model_of(), texts, [2, 3], 3, site=site, window=window, **OPTIONS)
        assert not found.values[..., :2].any() and not found.ran[:, :2].any()
        assert found.values[:, 0, 2].all()


def test_noise_knows_seed_draw_and_prompt_and_not_its_batch() -> None:
    model = model_of()
    together = traced(model)
    for k, text in enumerate(TEXTS):
        alone = trace(model, text, SUBJECT[k], answers(model)[k], **OPTIONS)
        mine = together.drawn[:, k, :, -len(text) :]
        assert np.allclose(alone.drawn[:, 0], mine, atol=1e-7)
    small = traced(model, token_budget=8)
    assert np.allclose(small.drawn, together.drawn, atol=1e-6, equal_nan=True)
    more = traced(model, draws=5)
    assert np.array_equal(more.drawn[:3], together.drawn, equal_nan=True)
    assert not np.isclose(traced(model, seed=1).noised, together.noised, rtol=1e-4).any()


def test_noise_is_standard_normal_on_the_subject_alone() -> None:
    prompts = read_prompts(model_of(), TEXTS)
    mask = subject_mask(prompts, SUBJECT)
    draws = torch.stack([unit_noise(prompts, mask, 400, seed=0, draw=i) for i in range(20)])
    assert not draws[:, ~mask].any() and not (draws[:, mask] == 0).any()
    assert abs(draws[:, mask].mean()) < 0.02 and abs(draws[:, mask].std() - 1) < 0.02
    # A token's noise does not depend on which other tokens have some.
    one = unit_noise(prompts, subject_mask(prompts, [[1], [2], [0]]), 400, seed=0, draw=0)
    both = one.any(-1)
    assert torch.equal(one[both], draws[0][both])


def test_restores_of_one_draw_share_their_noise() -> None:
    """A state that is restored twice gives the same number, however it is asked for."""
    model = model_of()
    whole = traced(model, site="mlp_out")
    for layer in range(3):
        part = traced(model, site="mlp_out", layers=layer, positions=[-1])
        assert np.allclose(part.drawn[..., 0, 0], whole.drawn[..., layer, -1], atol=1e-7)


def test_facts_stand_early_at_the_last_token_of_the_subject() -> None:
    model, pairs = ns.load("organism"), ns.organism.pairs("facts", 24)
    names = [text.split()[1] for text in pairs.clean]
    found = trace(model, pairs.clean, names, pairs.answer, draws=3, progress=False)
    assert found.subject == ((1,),) * 24 and found.axes[1].labels[1].endswith("*")
    assert found.axes[1].agree == (True, False, True, True)
    assert found.total_effect > 0.6
    assert found.mean[0, 1] > 0.85 * found.total_effect
    assert np.abs(found.mean[:2, [0, 2, 3]]).max() < 0.1 * found.total_effect
    assert found.p_value[0, 1] < 0.01 and found.interval[0, 0, 1] > 0.5
    by_role = found.by_role().select(layer=0)
    assert by_role.axes[0].labels == ROLES
    assert by_role.mean[2] == found.mean[0, 1] and by_role.mean[5] == found.mean[0, 3]
    assert np.isnan(by_role.mean[[0, 1, 4]]).all()


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


def traced_with(model: ns.HookedGPTNeo, metric: Any, **options: Any) -> TraceResult:
    return trace(model, TEXTS, SUBJECT, metric=metric, **(OPTIONS | options))


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
    with pytest.raises(PatchingError, match="positions=None"):
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
        found = traced(model_of(), progress=stop, token_budget=8)
    assert not found.complete and found.draws == 1
    assert np.allclose(found.drawn, whole.drawn[:1], equal_nan=True, atol=1e-7)


def test_an_interrupt_at_the_end_of_a_draw_is_one_too() -> None:
    def stop(now: Any) -> None:
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        found = traced(model_of(), progress=stop)
    assert found.draws == 1 and not found.complete
