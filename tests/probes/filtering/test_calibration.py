"""A threshold keeps its promise, whatever scores look like, or says what it takes to."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

import probes
from neoscope.errors import ProbeError
from probes.filtering.calibration import (
    FilterCalibration,
    choose_threshold,
    clopper_pearson,
    most_missed,
    needed,
)


@pytest.mark.parametrize(("share", "confidence"), [(0.05, 0.95), (0.01, 0.99), (0.2, 0.5)])
def test_fewest_texts_are_those_of_the_binomial(share: float, confidence: float) -> None:
    n = needed(share, confidence)
    assert (1 - share) ** n <= 1 - confidence < (1 - share) ** (n - 1)
    assert most_missed(n, share, confidence) == 0
    assert most_missed(n - 1, share, confidence) == -1


@pytest.mark.parametrize("n", [59, 100, 300, 1000])
def test_one_more_miss_would_break_the_clopper_pearson_bound(n: int) -> None:
    missed = most_missed(n, 0.05, 0.95)
    assert clopper_pearson(missed, n, 0.95)[1] <= 0.05
    assert clopper_pearson(missed + 1, n, 0.95)[1] > 0.05


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (17, 200)])
def test_bounds_are_those_of_scipy(k: int, n: int) -> None:
    low, high = clopper_pearson(k, n, 0.975)
    expected = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("shape", ["uniform", "skewed", "tied"])
def test_promise_holds_as_often_as_it_says(shape: str) -> None:
    random = np.random.default_rng(0)
    n, share, confidence, draws = 120, 0.1, 0.9, 2000
    scores = random.random((draws, n))
    if shape == "skewed":
        scores = scores**20
    if shape == "tied":
        scores = np.floor(scores * 7) / 7
    broken = 0
    for row in scores:
        t = choose_threshold(row, share, confidence)
        # The share of all texts that would score below it, in closed form.
        true = {
            "uniform": t,
            "skewed": t ** (1 / 20),
            "tied": math.ceil(t * 7 - 1e-9) / 7,
        }[shape]
        broken += true > share
    # Three standard errors above the stated tenth.
    assert broken / draws <= (1 - confidence) + 3 * math.sqrt(0.09 / draws)
    if shape == "uniform":
        assert broken > 0  # it gives away no more than it must


def test_score_that_wavers_by_a_hair_is_still_caught() -> None:
    scores = np.linspace(0.2, 0.9, 59)
    t = choose_threshold(scores, 0.05, 0.95)
    assert 0.1999 > t > 0.199
    assert choose_threshold(np.zeros(59), 0.05, 0.95) == 0.0
    assert choose_threshold(np.ones(59), 0.05, 0.95) < 1.0


@pytest.mark.parametrize("n", [0, 1, 58])
def test_too_few_texts_are_refused_with_the_number_it_takes(n: int) -> None:
    with pytest.raises(ProbeError, match=rf"^{n} different texts .* needs 59$"):
        choose_threshold(np.ones(n), 0.05, 0.95)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_shares_that_mean_nothing_are_refused(value: float) -> None:
    with pytest.raises(ProbeError, match=r"max_false_negative_rate=.* must be above 0 and below 1"):
        choose_threshold(np.ones(99), value, 0.95)
    with pytest.raises(ProbeError, match=r"confidence=.* must be above 0 and below 1"):
        choose_threshold(np.ones(99), 0.05, value)


def test_calibration_comes_back_equal(tmp_path: Path) -> None:
    made = FilterCalibration(
        0.3, "bad", 0.05, 0.95, 60, 0, 2, 0, 0.0, (0.0, 0.0487), math.nan, (0.0, 1.0), "p", "m"
    )
    assert made.save(tmp_path / "c.json") == tmp_path / "c.json"
    with pytest.raises(ProbeError, match=r"a saved FilterCalibration: FilterCalibration\.load"):
        probes.load(tmp_path / "c.json")
    found = FilterCalibration.load(tmp_path / "c.json")
    assert math.isnan(found.fpr)
    assert {**vars(found), "fpr": 0} == {**vars(made), "fpr": 0}
    assert "at most 0.05 of 'bad' pass (confidence 0.95, 60 texts)" in str(made)
    for bad in ("{", "{}", '{"format": "x"}', "[]"):
        (tmp_path / "c.json").write_text(bad)
        with pytest.raises(ProbeError, match="is no calibration"):
            FilterCalibration.load(tmp_path / "c.json")
    with pytest.raises(ProbeError, match="cannot read"):
        FilterCalibration.load(tmp_path / "none.json")
