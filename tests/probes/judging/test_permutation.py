from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB

from neoscope.errors import ProbeError
from probes.judging import permutation_test, permuted_labels


class Means(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The nearest class mean, without the checks that cost most of so small a fit."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Means:
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == name].mean(0) for name in self.classes_])
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[((X[:, None] - self.means_) ** 2).sum(2).argmin(1)]


def test_a_planted_label_has_the_smallest_p_value() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=120)
    X = y[:, None] + 0.5 * rng.normal(size=(120, 2))
    found = permutation_test(Means(), X, y, n_permutations=39)
    assert found.p_value == pytest.approx(1 / 40)
    assert found.score > 0.7 and found.null.mean() == pytest.approx(0.5, abs=0.06)
    assert found.unit == "row"
    assert len(json.loads(json.dumps(found.record()))["null"]) == 39


def test_p_values_of_random_labels_are_uniform() -> None:
    values = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(40, 2)), rng.integers(2, size=40)
        values.append(permutation_test(Means(), X, y, n_permutations=19, cv=3, seed=seed).p_value)
    assert np.mean(values) == pytest.approx(0.52, abs=0.15)
    assert min(values) >= 1 / 20


def test_labels_of_groups_are_permuted_between_groups() -> None:
    groups = np.repeat(np.arange(30), 5)
    labels = np.arange(30) % 3
    permuted, unit = permuted_labels(labels[groups], groups, seed=1)
    assert unit == "group"
    each = permuted.reshape(30, 5)
    assert (each == each[:, :1]).all()
    assert sorted(each[:, 0]) == sorted(labels)
    assert permuted_labels(np.arange(150) % 3, groups)[1] == "row"


def test_labels_that_are_constant_in_groups_are_not_found_significant_by_repetition() -> None:
    # Features tell the group and nothing else: rows alone would make this look decodable.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 15)
    X = rng.normal(size=(20, 3))[groups] + 0.01 * rng.normal(size=(300, 3))
    y = rng.integers(2, size=20)[groups]
    found = permutation_test(Means(), X, y, groups, n_permutations=39)
    assert found.unit == "group" and found.p_value > 0.05


def test_a_loss_is_better_when_lower() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    X = y[:, None] + rng.normal(size=(100, 2))
    assert (
        permutation_test(GaussianNB(), X, y, n_permutations=19, metric="log_loss").p_value == 0.05
    )


def test_numbers_have_a_test_too() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    found = permutation_test(Ridge(), X, X[:, 0] + 0.1, n_permutations=19, metric="r2")
    assert found.p_value == 0.05 and found.score > 0.9


def test_a_constant_probe_is_never_significant() -> None:
    y = np.arange(60) % 2
    found = permutation_test(DummyClassifier(), np.zeros((60, 1)), np.sort(y), n_permutations=19)
    assert found.p_value > 0.05


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"metric": "acuracy"}, "did you mean 'accuracy'"),
        ({"metric": "auc"}, "predict_proba"),
        ({"cv": 50}, "50 folds of 40 groups"),
        ({"n_permutations": 0}, "n_permutations must be a whole number from 1"),
    ],
)
def test_bad_options_are_told(options: dict, told: str) -> None:
    from sklearn.linear_model import RidgeClassifier

    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ProbeError, match=told):
        permutation_test(RidgeClassifier(), X, np.arange(40) % 2, **options)


def test_the_metric_goes_by_the_labels() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    assert permutation_test(Ridge(), X, X[:, 0], n_permutations=2).metric == "r2"
    several = (X + rng.normal(size=X.shape) > 0).astype(int)
    assert permutation_test(DummyClassifier(), X, several, n_permutations=2).metric == "f1"
    assert (
        permutation_test(DummyClassifier(), X, several[:, 0], n_permutations=2).metric == "accuracy"
    )


@pytest.mark.parametrize("columns", [1, 2])
def test_classes_are_not_judged_by_what_predicts_numbers(columns: int) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, :columns] > 0).astype(int)
    with pytest.raises(ProbeError, match=r"Ridge predicts numbers, and labels are (bin|multil)"):
        permutation_test(Ridge(), X, y, n_permutations=2)


def test_a_result_is_shown_in_one_line() -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    found = permutation_test(Means(), X, np.arange(40) % 2, n_permutations=19)
    assert repr(found).startswith("PermutationResult(accuracy 0.") and len(repr(found)) < 100
    assert "of 19 permutations of rows" in repr(found)
