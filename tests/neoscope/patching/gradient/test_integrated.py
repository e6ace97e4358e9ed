"""Integrated gradients: the known numbers of the induction circuit, and completeness."""

from __future__ import annotations

import numpy as np
import pytest

import neoscope as ns
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.patching.engine.cells import Cell
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.gradient.integrated import nodes
from neoscope.patching.metrics import logit_diff
from tests.neoscope.patching.gradient import oracle

METRIC = logit_diff(oracle.ANSWER, oracle.WRONG)


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return oracle.small()


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, 45.786), (5, 9.157), (20, 2.289), (100, 0.478), (1000, 1.020)]
)
def test_integrated_gradients_of_the_induction_circuit(steps: int, expected: float) -> None:
    """The softmax jumps within a thousandth of the path: few steps see only its beginning."""
    asked, truth = compiled.pairs(1, "key", seed=2), compiled.INDUCTION_TRUTH.key
    metric = logit_diff(asked.answer, asked.wrong)
    found = attribution(
        ns.load("induction"),
        *(asked.clean, asked.corrupted, metric),
        layers=0,
        positions="all",
        steps=steps,
        path="site",
    )
    scores = found.mean[0] / (truth.clean - truth.corrupted)
    assert scores[0] == pytest.approx(expected, abs=6e-4)
    assert not scores[1:].any()


def test_integrated_gradients_of_the_induction_circuit_converge() -> None:
    asked, truth = compiled.pairs(1, "key", seed=2), compiled.INDUCTION_TRUTH.key
    metric = logit_diff(asked.answer, asked.wrong)
    for path, site in (("site", "z"), ("inputs", "embed")):
        found = attribution(
            ns.load("induction"),
            *(asked.clean, asked.corrupted, metric, site),
            positions="all",
            steps=1000,
            rule="midpoint",
            path=path,
        )
        scores = found.mean / (truth.clean - truth.corrupted)
        expected = np.asarray(truth.denoise) if site == "z" else 1.0
        np.testing.assert_allclose(scores, np.asarray(expected), atol=1e-2)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_embedding_scores_add_up_to_the_whole_difference(
    model: HookedGPTNeo, direction: str
) -> None:
    found = attribution(
        model,
        *(*oracle.prompts(), METRIC, "embed"),
        steps=400,
        rule="midpoint",
        direction=direction,
    )
    whole = found.clean - found.corrupted
    whole = whole if direction == "denoise" else -whole
    assert np.abs(whole).max() > 0.5
    np.testing.assert_allclose(found.values.sum(-1), whole, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("site", ["resid_mid", "z", "q", "k", "v", "pattern", "mlp_out", "post"])
def test_scores_along_the_site_add_up_to_the_exact_effect_of_a_layer(
    model: HookedGPTNeo, site: str
) -> None:
    found = attribution(
        model, *oracle.prompts(), METRIC, site, steps=400, rule="midpoint", path="site"
    )
    assert found.problem is not None
    for layer in range(3):
        exact = oracle.exact(model, found.problem.prompts, Cell(site, layer))
        scores = found.values[:, layer].reshape(3, -1).sum(-1)
        np.testing.assert_allclose(scores, exact, atol=1e-2, rtol=1e-2)


def test_better_rules_come_nearer(model: HookedGPTNeo) -> None:
    errors = {}
    for rule in ("left", "midpoint", "trapezoid"):
        found = attribution(model, *oracle.prompts(), METRIC, "embed", steps=40, rule=rule)
        whole = found.clean - found.corrupted
        errors[rule] = np.abs(found.values.sum(-1) - whole).max()
    assert max(errors["midpoint"], errors["trapezoid"]) < errors["left"]


def test_one_left_step_is_the_plain_gradient(model: HookedGPTNeo) -> None:
    for site in ("z", "embed", "pattern"):
        plain = attribution(model, *oracle.prompts(), METRIC, site)
        for path in ("inputs", "site"):
            one = attribution(model, *oracle.prompts(), METRIC, site, steps=1, path=path)
            np.testing.assert_allclose(one.values, plain.values, atol=2e-5)
    assert "integrated gradients (site, 1 steps, left)" in one.method


def test_nodes_integrate_straight_lines() -> None:
    for rule in ("left", "midpoint", "trapezoid"):
        alphas, weights = nodes(7, rule)
        assert sum(weights) == pytest.approx(1.0)
        line = sum(a * w for a, w in zip(alphas, weights, strict=True))
        assert line == pytest.approx(0.5 if rule != "left" else 3 / 7)
