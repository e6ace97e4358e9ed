"""The tuned lens finds a known rotation, and beats the logit lens on held-out text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.tuned.data import read_pieces, streams
from neoscope.analysis.tuned.gradient import Objective
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import ROTATED_TRUTH, lens_prompts, rotated, translators

TEXTS = [s.text for s in ns.organism.sentences("filler", 400, seed=0)]
HELD = [s.text for s in ns.organism.sentences("filler", 60, seed=99)]


@pytest.fixture(scope="module")
def lens(model: HookedGPTNeo) -> TunedLens:
    return TunedLens.train(model, TEXTS, epochs=2, batch_tokens=512, progress=False)


def test_it_recovers_a_known_rotation() -> None:
    """Up to a positive factor, and but for the all-ones vector, which LayerNorm removes."""
    model = ns.load(rotated())
    lens = TunedLens.train(
        model, lens_prompts(), steps=500, batch_tokens=64, optimizer="adam", lr=50.0,
        weight_decay=0.0, held_out=0, progress=False,
    )  # fmt: skip
    assert lens.matrix is not None
    lens_kl = analysis.logit_lens(model.run_with_cache(lens_prompts())[1]).kl.mean(1)
    np.testing.assert_allclose(lens_kl, ROTATED_TRUTH.lens_kl, atol=1e-5)
    result = lens.lens(model.run_with_cache(lens_prompts())[1])
    assert result.kl.max() < 1e-4
    real = torch.eye(16, dtype=torch.float64) - 1 / 16
    for depth, truth in enumerate(translators()[:4]):
        learned = real @ (lens.matrix[depth].double() + torch.eye(16)) @ real
        goal = real @ truth @ real
        factor = (learned * goal).sum() / (goal * goal).sum()
        assert factor > 0
        assert (learned - factor * goal).norm() / (factor * goal).norm() < 0.02, depth


def test_where_the_logit_lens_is_right_it_stays_the_identity() -> None:
    model = ns.load(rotated())
    lens = TunedLens.train(model, lens_prompts(), steps=40, held_out=0, progress=False)
    depth = ROTATED_TRUTH.exact_depths[0]
    assert lens.matrix is not None
    assert lens.matrix[depth].abs().max() < 1e-5
    assert lens.matrix[ROTATED_TRUTH.turned_depths[0]].abs().max() > 0.05


def test_it_is_nearer_than_the_logit_lens_at_every_depth_on_held_out_text(
    model: HookedGPTNeo, lens: TunedLens
) -> None:
    debiased = TunedLens.train(
        model, TEXTS, epochs=2, batch_tokens=512, bias_only=True, progress=False
    )
    found = lens.evaluate(model, HELD, debiased=debiased, progress=False)
    assert found.lenses == ("logit", "tuned", "debiased")
    logit, tuned, offset = found.kl
    assert (tuned < logit).all()
    assert (offset < logit).all()
    assert (tuned < offset).all()
    assert (found.bias[1] < found.bias[0]).all()
    assert debiased.kind == "debiased"
    assert debiased.matrix is None
    assert found.labels == ("embed", "0", "1", "2")
    assert list(found.to_dataframe().columns)[:4] == [
        "layer",
        "kl_logit",
        "kl_tuned",
        "kl_debiased",
    ]


def test_evaluation_is_the_mean_of_what_the_lenses_say(
    model: HookedGPTNeo, lens: TunedLens
) -> None:
    found = lens.evaluate(model, HELD, batch_tokens=100, progress=False)
    with torch.no_grad():
        cache = model.run_with_cache(list(HELD))[1]
    plain, tuned = analysis.logit_lens(cache), analysis.tuned_lens(cache, lens)
    assert tuned.lens == "tuned"
    assert tuned.caveat == ""
    np.testing.assert_allclose(found.kl[0], plain.kl[:-1].mean(1), rtol=1e-4)
    np.testing.assert_allclose(found.kl[1], tuned.kl[:-1].mean(1), rtol=1e-4)
    np.testing.assert_allclose(found.bias[0], plain.bias[:-1], rtol=1e-3)
    np.testing.assert_allclose(found.bias[1], tuned.bias[:-1], rtol=1e-3)
    assert found.n_tokens == tuned.kl.shape[1]


def test_last_row_of_a_tuned_lens_is_the_models_own(model: HookedGPTNeo, lens: TunedLens) -> None:
    with torch.no_grad():
        logits, cache = model.run_with_cache(HELD[0])
    found = lens.lens(cache, k=3)
    assert np.array_equal(found.top_logits[-1], logits[0].topk(3).values)
    before = analysis.tuned_lens(cache, lens, site="resid_pre", layers=[1])
    np.testing.assert_allclose(before.kl[0], found.kl[1], atol=1e-5)


def test_card_says_how_well_it_does(model: HookedGPTNeo, lens: TunedLens) -> None:
    held = lens.card["held_out"]
    assert len(held["tuned"]) == len(held["logit"]) == 4
    assert all(t < p for t, p in zip(held["tuned"], held["logit"], strict=True))
    assert held["tokens"] > 50
    assert lens.card["steps"] == len(lens.card["losses"])
    first, last = lens.card["losses"][0], lens.card["losses"][-1]
    assert all(b < a for a, b in zip(first, last, strict=True))
    assert lens.card["fingerprint"] == model.fingerprint()


def test_one_step_of_sgd_is_that_of_the_package(model: HookedGPTNeo) -> None:
    """Nesterov with a rate of lr (1 - momentum), clipped, decaying to 0, from the identity."""
    found = streams(model, list(read_pieces(model, TEXTS[:5]).ids))
    bias = torch.zeros(4, model.config.d_model, requires_grad=True)
    expected = torch.optim.SGD([bias], 0.1, 0.9, weight_decay=1e-3, nesterov=True)
    for factor in (1.0, 0.5):
        bias.grad = Objective(model, "float32")(found, None, bias.detach())[1][0]
        torch.nn.utils.clip_grad_norm_([bias], 1.0)
        expected.param_groups[0]["lr"] = 0.1 * factor
        expected.step()
    lens = TunedLens.train(
        model, TEXTS[:5], steps=2, bias_only=True, held_out=0, seed=0, progress=False
    )
    order = read_pieces(model, TEXTS[:5]).batches(2048, 0, 0)
    assert len(order) == 1
    torch.testing.assert_close(lens.bias, bias.detach(), atol=1e-6, rtol=1e-4)
