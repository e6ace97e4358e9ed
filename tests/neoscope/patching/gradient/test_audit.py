"""The audit: rank correlation, worst miss, and what it exposes on the induction circuit."""

from __future__ import annotations

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.patching.gradient.attribution import attribution
from neoscope.patching.gradient.audit import audit, spearman
from neoscope.patching.metrics import kl, logit_diff, normalised
from tests.neoscope.patching.gradient import oracle

METRIC = logit_diff(oracle.ANSWER, oracle.WRONG)


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return oracle.small()


def test_spearman_shares_ranks_among_ties() -> None:
    from scipy.stats import spearmanr

    x = np.array([3.0, 1.0, 1.0, 2.0, 5.0, 1.0])
    y = np.array([1.0, 2.0, 2.0, -1.0, 7.0, 0.0])
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert np.isnan(spearman(x, np.ones(6))) and np.isnan(spearman(x[:1], y[:1]))


def test_the_audit_exposes_first_order_on_the_induction_circuit() -> None:
    asked, truth = compiled.pairs(4, "key", seed=2), compiled.INDUCTION_TRUTH.key
    metric = logit_diff(asked.answer, asked.wrong)
    found = attribution(
        ns.load("induction"), asked.clean, asked.corrupted, metric, "z", positions="all"
    ).audit(k=2)
    assert found.labels[found.worst] == "layer 0, head 0"
    assert found.exact[found.worst] == pytest.approx(truth.clean, abs=1e-4)
    slope = truth.first_order[0][0]
    assert found.worst_miss == pytest.approx((slope - 1) * truth.clean, rel=1e-4)
    assert "431.2" in repr(found) and "9.418" in repr(found)
    table = found.to_dataframe()
    assert table["group"].tolist() == ["top", "top", "random", "random"]
    np.testing.assert_allclose(table["error"], found.approximate - found.exact)


@pytest.mark.parametrize("site", ["z", "resid_post", "attn_out", "q", "k", "v", "pattern", "embed"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_exact_effects_are_those_of_whole_runs(
    model: HookedGPTNeo, site: str, direction: str
) -> None:
    (long, long_other), (short, short_other) = oracle.prompts(2, 7), oracle.prompts(1, 5)
    pairs = (long + short, long_other + short_other)
    found = attribution(model, *pairs, METRIC, site, direction=direction)
    assert found.problem is not None and found.sums is not None
    by_engine = found.audit(k=5, seed=3)

    def plain(flat: list[int]) -> np.ndarray:
        assert found.problem is not None and found.sums is not None
        cells = [found.sums.cell(index) for index in flat]
        each = [oracle.exact(model, found.problem.prompts, cell, direction) for cell in cells]
        return np.stack(each, axis=1)

    by_loop = found.audit(k=5, seed=3, exact=plain)
    assert by_engine.labels == by_loop.labels
    np.testing.assert_array_equal(by_engine.approximate, by_loop.approximate)
    missing = np.isnan(found.values.reshape(3, -1)[:, by_loop.index]).any(0)
    np.testing.assert_allclose(by_engine.exact[~missing], by_loop.exact[~missing], atol=1e-4)


@pytest.mark.parametrize("metric", [kl(), normalised(METRIC), lambda x: x[:, -1, 3]])
def test_any_metric_can_be_audited(model: HookedGPTNeo, metric: object) -> None:
    found = attribution(model, *oracle.prompts(), metric, "resid_post", positions="all")
    checked = found.audit(k=3)
    assert np.isfinite(checked.exact).all()
    # All of the last layer's stream is the other run.
    last = checked.labels.index("layer 2")
    change = (found.clean - found.corrupted).mean()
    assert checked.exact[last] == pytest.approx(change, abs=1e-4)


def test_magnitudes_are_held_against_magnitudes(model: HookedGPTNeo) -> None:
    found = attribution(model, *oracle.prompts(), METRIC, "z", positions="all", grad_drop=True)
    checked = found.audit(k=3)
    assert (checked.exact >= 0).all() and (checked.approximate >= 0).all()


def test_the_draw_is_of_cells_that_can_move() -> None:
    scores = np.zeros((2, 10))
    scores[:, 3] = 5.0
    movable = np.arange(10) > 1
    asked: list[int] = []

    def exact(flat: list[int]) -> np.ndarray:
        asked.extend(flat)
        return np.ones((2, len(flat)))

    found = audit(scores, exact, str, k=4, seed=1, movable=movable)
    assert found.index[0] == 3 and found.n_cells == 8
    assert sorted(asked) == list(range(2, 10)) and found.top.sum() == 4
    again = audit(scores, exact, str, k=2, seed=1, movable=movable)
    assert (
        again.index.tolist()
        == audit(scores, exact, str, k=2, seed=1, movable=movable).index.tolist()
    )


def test_a_cell_that_no_pair_has_is_left_out() -> None:
    scores = np.array([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan]])

    def exact(flat: list[int]) -> np.ndarray:
        return np.array([[1.0, 2.0, 3.0], [1.0, np.nan, np.nan]])[:, flat]

    found = audit(scores, exact, str, k=5)
    assert sorted(found.index.tolist()) == [0, 2]
    assert dict(zip(found.labels, found.approximate, strict=True)) == {"0": 2.0, "2": 2.0}
    assert dict(zip(found.labels, found.exact, strict=True)) == {"0": 1.0, "2": 3.0}


def test_bad_audits_are_refused(model: HookedGPTNeo) -> None:
    found = attribution(model, *oracle.prompts(), METRIC, "z")
    with pytest.raises(PatchingError, match="k=0"):
        found.audit(k=0)
    with pytest.raises(PatchingError, match="shape"):
        found.audit(k=2, exact=lambda flat: np.zeros((3, len(flat) + 1)))
    with pytest.raises(PatchingError, match="nothing to audit"):
        audit(np.zeros((2, 3)), lambda flat: np.zeros((2, 1)), str, movable=np.zeros(3, bool))
