from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neoscope.errors import ProbeError
from probes.judging import judge, majority, shuffled


def test_the_commonest_class_is_predicted_with_the_training_frequencies() -> None:
    found = majority(["a"] * 6 + ["b"] * 4, ["a"] * 5 + ["b"] * 5, np.arange(10) // 2)
    assert found.scores["accuracy"] == 0.5 and found.scores["auc"] == 0.5
    assert found.scores["balanced_accuracy"] == 0.5
    assert found.scores["log_loss"] == pytest.approx(-(np.log(0.6) + np.log(0.4)) / 2)
    assert found.n_rows == 10 and found.n_groups == 5
    assert found.intervals["accuracy"].low <= 0.5 <= found.intervals["accuracy"].high


def test_a_class_that_only_the_test_rows_have_is_missed() -> None:
    found = majority([0, 0, 1], [0, 2, 2, 2])
    assert found.scores["accuracy"] == 0.25


def test_labels_have_each_their_own_majority() -> None:
    y = np.array([[1, 0], [1, 0], [0, 1]])
    found = majority(y, y)
    assert found.scores["accuracy"] == pytest.approx(2 / 3)


def test_numbers_are_predicted_by_their_mean() -> None:
    y = np.linspace(0.1, 1, 10)
    found = majority(y, y)
    assert found.scores["r2"] == pytest.approx(0)
    assert np.isnan(found.scores["spearman"])


def test_a_probe_of_shuffled_labels_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=2000)
    X = y[:, None] + 0.1 * rng.normal(size=(2000, 1))
    found = shuffled(LogisticRegression(), X[:1000], y[:1000], X[1000:], y[1000:], seed=1)
    assert LogisticRegression().fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) == 1
    assert found.scores["log_loss"] == pytest.approx(np.log(2), abs=0.02)


def test_a_judgement_is_plain_json() -> None:
    record = json.loads(json.dumps(judge([0, 1, 1], [0, 1, 0]).record()))
    assert record["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert set(record["intervals"]["accuracy"]) == {
        "low",
        "high",
        "confidence",
        "n_groups",
        "n_resamples",
    }


def test_an_unknown_option_is_told() -> None:
    with pytest.raises(ProbeError, match="seeed"):
        majority([0, 1], [0, 1], seeed=1)
