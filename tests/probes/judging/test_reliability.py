from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from neoscope.errors import ProbeError
from probes.judging import apply_temperature, calibration, fit_temperature


def test_two_classes_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = (rng.random(500) < p**2).astype(int)
    found = calibration(y, p, n_bins=10)
    came, said = calibration_curve(y, p, n_bins=10)
    assert [b.accuracy for b in found.bins] == pytest.approx(came.tolist())
    assert [b.confidence for b in found.bins] == pytest.approx(said.tolist())
    assert found.brier == pytest.approx(brier_score_loss(y, p))
    assert found.log_loss == pytest.approx(log_loss(y, p))
    assert found.ece == pytest.approx(
        sum(b.count * abs(b.accuracy - b.confidence) for b in found.bins) / 500
    )
    assert found.mce == pytest.approx(np.abs(came - said).max())


def test_more_classes_go_by_the_likeliest() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 600)
    y = rng.integers(4, size=600)
    found = calibration(y, p)
    assert sum(b.count for b in found.bins) == 600
    assert found.brier == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(1).mean())
    # Labels have nothing to do with p: every bin is right a quarter of the time.
    assert found.ece == pytest.approx(p.max(1).mean() - 0.25, abs=0.04)


def test_frequencies_as_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 20_000)
    y = (p.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert calibration(y, p).ece < 0.015


def test_a_temperature_undoes_what_was_scaled() -> None:
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 3))
    y = (softmax(logits, 1).cumsum(1) < rng.random((20_000, 1))).sum(1).clip(max=2)
    for factor in (0.5, 3.0):
        p = softmax(factor * logits, 1)
        found = fit_temperature(y, p)
        assert found == pytest.approx(factor, rel=0.05)
        better = apply_temperature(p, found)
        assert log_loss(y, better) <= log_loss(y, p)
        assert calibration(y, better).ece < calibration(y, p).ece
        assert all(
            log_loss(y, better) <= log_loss(y, apply_temperature(p, found * f)) for f in (0.9, 1.1)
        )


def test_a_temperature_stays_in_bounds() -> None:
    y = np.array([0, 1] * 20)
    right = np.where(np.eye(2)[y] > 0, 0.9, 0.1)
    assert fit_temperature(y, right) == 0.01
    assert fit_temperature(1 - y, right) == 100


def test_results_are_plain_json_also_with_empty_bins() -> None:
    found = calibration([0, 1], [0.05, 0.95])
    assert json.loads(json.dumps(found.record()))["bins"][7]["accuracy"] is None


def test_bad_input_is_told() -> None:
    with pytest.raises(ProbeError, match="n_bins=0"):
        calibration([0, 1], [0.1, 0.9], n_bins=0)
    with pytest.raises(ProbeError, match="none of the classes"):
        fit_temperature(["a", "c"], np.full((2, 2), 0.5), ["a", "b"])
    with pytest.raises(ProbeError, match="needs probabilities"):
        calibration([0, 1], None)


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (np.full(4, 2.0), "probability of row 0 is 2; expected 0 to 1"),
        ([0.5, 0.5, -0.1, 0.5], r"probability of row 2 is -0\.1"),
        ([[0.5, 0.5], [0.8, 0.8]] * 2, r"of row 1 sum to 1\.6; expected 1"),
        ([["a", "b"]] * 4, "expected numbers"),
    ],
)
def test_impossible_probabilities_are_named(p: object, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        calibration([0, 1, 0, 1], p)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rounded_probabilities_are_possible(dtype: type) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(50), 200).astype(dtype)
    found = calibration(np.arange(200) % 50, p)
    assert repr(found).startswith("Calibration(ece 0.") and repr(found).endswith("; 15 bins)")
