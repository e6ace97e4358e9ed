"""Edge attribution of batches, under budgets, with every kind of metric, and of bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.gradient.edge_scores import EdgeScores
from neoscope.patching.gradient.edges import eap, eap_ig
from neoscope.patching.metrics import kl, logit_diff, loss, normalised, rank
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching.gradient.edge_oracle import (
    ANSWER,
    N_POS,
    WRONG,
    autograd_scores,
    fresh,
    gap,
    graph,
    model,
    pairs,
)

METRIC = logit_diff(ANSWER, WRONG)


def same(one: EdgeScores, other: EdgeScores, tolerance: float = 1e-5) -> bool:
    size = np.nanmax(np.abs(one.mean))
    return bool(np.nanmax(np.abs(one.mean - other.mean)) <= tolerance * size)


# ---- batches, padding, budgets ------------------------------------------------------------------


def test_a_batch_is_the_mean_of_its_pairs() -> None:
    clean, corrupted = pairs(4)
    found = eap_ig(model(), clean, corrupted, METRIC, steps=3)
    singles = [
        eap_ig(model(), clean[i : i + 1], corrupted[i : i + 1], METRIC, steps=3) for i in range(4)
    ]
    stack = np.stack([single.mean for single in singles])
    assert found.values is not None
    assert np.nanmax(np.abs(found.values - stack)) < 1e-5
    assert np.nanmax(np.abs(found.mean - stack.mean(0))) < 1e-5
    stderr = stack.std(0, ddof=1) / 2
    assert np.nanmax(np.abs(found.stderr - stderr)) < 1e-5
    assert np.isnan(singles[0].stderr).all()


def test_padding_changes_nothing() -> None:
    clean, corrupted = pairs(2)
    short = [clean[0, 1:6].tolist(), corrupted[0, 1:6].tolist()]
    both = eap_ig(
        model(),
        [short[0], clean[1].tolist()],
        [short[1], corrupted[1].tolist()],
        METRIC,
    )
    alone = eap_ig(model(), [short[0]], [short[1]], METRIC)
    assert both.values is not None and alone.values is not None
    assert np.nanmax(np.abs(both.values[0] - alone.values[0])) < 1e-5


@pytest.mark.parametrize("budget", [N_POS, 3 * N_POS, 8 * N_POS])
def test_a_token_budget_changes_no_number(budget: int) -> None:
    clean, corrupted = pairs(3)
    whole = eap_ig(model(), clean, corrupted, METRIC, steps=4)
    parts = eap_ig(model(), clean, corrupted, METRIC, steps=4, batch_tokens=budget)
    assert same(whole, parts)


def test_summed_scores_have_the_same_mean_and_spread() -> None:
    from neoscope.patching.gradient.edge_tally import Tally

    clean, corrupted = pairs(4)
    kept = eap(model(), clean, corrupted, METRIC)
    assert kept.values is not None
    tally = Tally(graph(), 4, kept_bytes=0)
    for rows in (np.array([0, 1]), np.array([2, 3])):
        tally.add(rows, np.nan_to_num(kept.values[rows]))
    said = {
        name: getattr(kept, name)
        for name in (
            "method",
            "steps",
            "direction",
            "metric",
            "unit",
            "clean",
            "corrupted",
            "model",
        )
    }
    summed = tally.finish(**said)
    assert summed.values is None
    assert np.allclose(summed.mean, kept.mean, atol=1e-6, equal_nan=True)
    assert np.allclose(summed.stderr, kept.stderr, atol=1e-6, equal_nan=True)


def test_what_cannot_move_is_exactly_zero() -> None:
    # The prompts differ at the last position only: no key or value before it matters.
    clean, _ = pairs(1)
    corrupted = clean.clone()
    corrupted[0, -1] = clean[0, -1] % 19 + 1
    found = eap(model(), clean, corrupted, METRIC)
    changed = eap(model(), clean[:, -1:], corrupted[:, -1:], METRIC)
    assert found["embed->logits"] != 0 and changed["embed->logits"] != 0
    # Alone, a token attends to itself whatever query and key are.
    assert all(abs(changed[f"embed->a0.h0<{kind}>"]) < 1e-6 for kind in "qk")


# ---- metrics ------------------------------------------------------------------------------------


def test_a_metric_of_several_positions_equals_autograd() -> None:
    clean, corrupted = pairs(1)  # they differ from column 2 on

    def two(logits: Tensor) -> Tensor:
        return logits[:, 0, 4] * logits[:, 1, 3] - logits[:, 2, 2]

    def everywhere(logits: Tensor) -> Tensor:
        return (logits[:, 1, 4] * logits[:, 4, 3] - logits[:, -1, 2]).sum()

    found = eap_ig(model(), clean, corrupted, two, steps=2, metric_positions=[1, 4, -1])
    expected = autograd_scores(clean, corrupted, 2, metric=everywhere)
    assert gap(found, expected) < 1e-5


def test_loss_over_the_text_equals_autograd() -> None:
    clean, corrupted = pairs(1)

    def plain_loss(logits: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits[0, :-1], corrupted[0, 1:])

    found = eap(model(), clean, corrupted, loss())
    assert gap(found, autograd_scores(clean, corrupted, 1, metric=plain_loss)) < 1e-5


def test_a_joint_metric_sees_all_pairs() -> None:
    clean, corrupted = pairs(3)

    def centred(logits: Tensor) -> Tensor:
        value = logits[:, -1, ANSWER] - logits[:, -1, WRONG]
        return 2 * value

    found = eap_ig(model(), clean, corrupted, centred, steps=2)
    plain = eap_ig(model(), clean, corrupted, METRIC, steps=2)
    assert np.nanmax(np.abs(found.mean - 2 * plain.mean)) < 1e-5


def test_a_normalised_metric_is_the_metric_over_its_span() -> None:
    clean, corrupted = pairs(2)
    plain = eap(model(), clean, corrupted, METRIC)
    scaled = eap(model(), clean, corrupted, normalised(METRIC))
    span = float(plain.clean.mean() - plain.corrupted.mean())
    assert np.nanmax(np.abs(scaled.mean * span - plain.mean)) < 1e-5


def test_kl_is_flat_in_the_clean_run_and_integrated_gradients_see_beyond() -> None:
    clean, corrupted = pairs(2)
    for metric in (kl(), normalised(kl())):
        with pytest.warns(UserWarning, match=r"its gradient vanishes there.*eap_ig.*'denoise'"):
            flat = eap(model(), clean, corrupted, metric, direction="noise")
        assert np.nanmax(np.abs(flat.mean)) < 1e-5
    with pytest.warns(UserWarning, match="compare with the clean run"):
        eap_ig(model(), clean, corrupted, kl("corrupted"), steps=1)
    assert np.nanmax(np.abs(eap(model(), clean, corrupted, kl()).mean)) > 1e-2
    seen = eap_ig(model(), clean, corrupted, kl(), steps=5, direction="noise")
    assert np.nanmax(np.abs(seen.mean)) > 1e-2


def test_a_metric_without_gradient_is_refused() -> None:
    clean, corrupted = pairs(1)
    with pytest.raises(PatchingError, match="no gradient"):
        eap(model(), clean, corrupted, rank(ANSWER))
    with pytest.raises(PatchingError, match="no gradient"):
        eap(model(), clean, corrupted, lambda logits: logits[:, -1].argmax(-1).float())
    for metric in (lambda x: x.numpy()[:, -1, 3], lambda x: np.asarray(x)[:, -1, 3]):
        with pytest.raises(PatchingError, match="has no gradient: it makes numpy arrays"):
            eap(model(), clean, corrupted, metric)
        with pytest.raises(PatchingError, match="has no gradient: it makes numpy arrays"):
            attribution(model(), clean, corrupted, metric)
        sweep(model(), clean, corrupted, metric, layers=0, positions="all", progress=False)


# ---- manners ------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was() -> None:
    made = fresh()
    clean, corrupted = pairs(1)
    with torch.inference_mode():
        found = eap_ig(made, clean, corrupted, METRIC)
    assert same(found, eap_ig(made, clean, corrupted, METRIC))
    assert all(parameter.grad is None for parameter in made.parameters())
    assert all(parameter.requires_grad for parameter in made.parameters())


@pytest.mark.parametrize("steps", [0, -1, True])
def test_steps_that_mean_nothing_are_refused(steps: int) -> None:
    clean, corrupted = pairs(1)
    with pytest.raises(PatchingError, match="steps="):
        eap_ig(model(), clean, corrupted, METRIC, steps=steps)


def test_bad_input_is_refused() -> None:
    clean, corrupted = pairs(2)
    with pytest.raises(PatchingError, match="batch_tokens"):
        eap(model(), clean, corrupted, METRIC, batch_tokens=N_POS - 1)
    with pytest.raises(PatchingError, match="did you mean 'noise'"):
        eap(model(), clean, corrupted, METRIC, direction="nois")
    with model().edits(ns.edits.ablate("z", 0)), pytest.raises(PatchingError, match="edits"):
        eap(model(), clean, corrupted, METRIC)


def test_half_precision_is_close() -> None:
    clean, corrupted = pairs(2)
    half = ns.HookedGPTNeo.from_config(model().config, dtype=torch.bfloat16)
    half.load_state_dict(model().state_dict())
    found, expected = (eap_ig(m, clean, corrupted, METRIC) for m in (half, model()))
    a, b = (x.mean[x.graph.reach] for x in (found, expected))
    assert np.corrcoef(a, b)[0, 1] > 0.98
