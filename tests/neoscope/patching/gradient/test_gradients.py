"""Gradients at sites are those of plain autograd, and cost the weights nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neoscope.edits import replace
from neoscope.errors import PatchingError
from neoscope.model import HookedGPTNeo
from neoscope.patching import metrics
from neoscope.patching.gradient.gradients import run, trace
from neoscope.patching.gradient.problem import Problem, read_problem
from neoscope.patching.prompts.pairs import read_prompts
from tests.neoscope.patching.gradient import oracle


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return oracle.small()


def problem(model: HookedGPTNeo, metric: object = None, n: int = 3) -> Problem:
    metric = metrics.logit_diff(oracle.ANSWER, oracle.WRONG) if metric is None else metric
    return read_problem(model, read_prompts(model, *oracle.prompts(n)), metric)


@pytest.mark.parametrize("site", oracle.SITES)
def test_gradients_are_those_of_plain_autograd(model: HookedGPTNeo, site: str) -> None:
    _, corrupted = oracle.prompts()
    ids = torch.tensor(corrupted)
    asked = problem(model)
    traced = trace(asked, torch.arange(3), site)
    found = traced.gradients()
    _, cache = model.run_with_cache(ids, sites=site)
    torch.testing.assert_close(traced.values.detach(), oracle.diff(model(ids)).detach())
    for layer in (None,) if site == "embed" else range(3):
        name = traced.name(site, layer)
        torch.testing.assert_close(traced.at(site, layer), cache[name])
        value = cache[name].clone().requires_grad_(True)
        logits = model.run_with_edits(ids, [replace(site, layer, value)])
        (expected,) = torch.autograd.grad(oracle.diff(logits).sum(), [value])
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=1e-5)


def test_no_weight_gets_a_gradient_and_none_is_computed(model: HookedGPTNeo) -> None:
    seen: list[Tensor] = []
    handles = [p.register_hook(seen.append) for p in model.parameters()]
    try:
        trace(problem(model), torch.arange(3), ["resid_pre", "z"]).gradients()
    finally:
        for handle in handles:
            handle.remove()
    assert not seen
    assert all(p.grad is None for p in model.parameters())


def test_frozen_weights_change_nothing(model: HookedGPTNeo) -> None:
    expected = trace(problem(model), torch.arange(3), "z").gradients()
    frozen = oracle.small()
    frozen.requires_grad_(False)
    found = trace(problem(frozen), torch.arange(3), "z").gradients()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


def test_gradients_are_there_inside_no_grad_and_inference_mode(model: HookedGPTNeo) -> None:
    expected = trace(problem(model), torch.arange(3), "z").gradients()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = trace(problem(model), torch.arange(3), "z").gradients()
            run(problem(model), torch.arange(3), "z")
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=0, rtol=0)


def test_copies_and_chunks_give_the_same_rows(model: HookedGPTNeo) -> None:
    asked = problem(model)
    whole = trace(asked, torch.arange(3), "z").gradients()
    twice = trace(asked, torch.arange(3), "z", copies=2).gradients()
    chunks = asked.chunks(batch_tokens=7)
    assert [chunk.tolist() for chunk in chunks] == [[0], [1], [2]]
    parts = [trace(asked, chunk, "z").gradients() for chunk in chunks]
    for name, gradient in whole.items():
        torch.testing.assert_close(twice[name], gradient.repeat(2, 1, 1, 1))
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), gradient)


def test_a_run_may_start_in_the_middle(model: HookedGPTNeo) -> None:
    asked, pairs = problem(model), torch.arange(3)
    base = run(asked, pairs, "resid_pre")
    whole = trace(asked, pairs, "z").gradients()
    stream = base.at("resid_pre", 1)
    late = trace(asked, pairs, "z", layers=[1, 2], stream=stream, start_at_layer=1).gradients()
    assert len(late) == 2
    for name, gradient in late.items():
        torch.testing.assert_close(gradient, whole[name])


@pytest.mark.parametrize(
    "metric",
    [
        metrics.logit(3),
        metrics.probability(3),
        metrics.log_prob(3),
        metrics.kl(),
        metrics.loss(),
        metrics.normalised(metrics.logit_diff(3, 7)),
        lambda logits: logits[:, -1, 3] * logits[:, -1, 7],
    ],
)
def test_every_differentiable_metric_has_its_gradient(model: HookedGPTNeo, metric: object) -> None:
    asked = problem(model, metric)
    traced = trace(asked, torch.arange(3), "resid_pre", layers=0)
    (gradient,) = traced.gradients().values()
    assert traced.values.shape == (3,)
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))
    step = 5e-4
    ends = []
    for sign in (1, -1):
        moved = traced.at("resid_pre", 0) + sign * step * direction
        shifted = trace(asked, torch.arange(3), "z", stream=moved, start_at_layer=0)
        ends.append(shifted.values.detach())
    slope = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum((1, 2)), slope, atol=1e-2, rtol=2e-2)


def test_a_joint_metric_runs_all_pairs_at_once(model: HookedGPTNeo) -> None:
    asked = problem(model, lambda logits: logits[:, -1, 3] - logits[:, -1, 3].mean())
    assert [len(chunk) for chunk in asked.chunks()] == [3]
    with pytest.raises(PatchingError, match=r"batch_tokens=20 is too small: the 3 pairs.*21"):
        asked.chunks(batch_tokens=20)


def test_a_budget_too_small_for_one_row_is_refused(model: HookedGPTNeo) -> None:
    with pytest.raises(PatchingError, match=r"batch_tokens=6 is too small: one row of 7 tokens"):
        problem(model).chunks(batch_tokens=6)


def test_a_metric_without_a_gradient_is_refused(model: HookedGPTNeo) -> None:
    with pytest.raises(PatchingError, match=r"'rank' has no gradient"):
        problem(model, metrics.rank(3))
    cut = problem(model, lambda logits: logits[:, -1].argmax(-1).float())
    with pytest.raises(PatchingError, match="argmax"):
        trace(cut, torch.arange(3), "z").gradients()


def test_what_cannot_be_differentiated_is_refused(model: HookedGPTNeo) -> None:
    clean, corrupted = oracle.prompts()
    metric = metrics.logit_diff(3, 7)
    with pytest.raises(PatchingError, match="corrupted"):
        read_problem(model, read_prompts(model, clean), metric)
    with pytest.raises(PatchingError, match="denoise"):
        read_problem(model, read_prompts(model, clean, corrupted), metric, direction="denois")
    with model.edits(replace("z", 0, 0.0)), pytest.raises(PatchingError, match="edits"):
        problem(model)
