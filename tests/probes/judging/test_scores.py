from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from neoscope.errors import ProbeError
from probes.judging import scores


def classes_of(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    p = rng.dirichlet(np.ones(k), n) + 0.8 * np.eye(k)[y] * rng.random((n, 1))
    return y, p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("k", [2, 3, 17])
def test_class_scores_equal_those_of_scikit_learn(k: int) -> None:
    y, p = classes_of(400, k)
    names = np.array([f"class {i:02}" for i in range(k)])
    said = p.argmax(1)
    found = scores(names[y], names[said], p)
    auc = metrics.roc_auc_score(y, p[:, 1] if k == 2 else p, multi_class="ovr")
    expected = {
        "accuracy": metrics.accuracy_score(y, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, said),
        "f1": metrics.f1_score(y, said, average="macro"),
        "log_loss": metrics.log_loss(y, p),
        "auc": auc,
    }
    assert found == pytest.approx(expected, rel=1e-12)


def test_tied_scores_count_half_in_auc() -> None:
    rng = np.random.default_rng(1)
    y, p = rng.integers(2, size=200), rng.integers(5, size=200) / 4
    found = scores(y, (p > 0.5).astype(int), p)["auc"]
    assert found == pytest.approx(metrics.roc_auc_score(y, p), rel=1e-12)


def test_a_class_that_is_only_predicted_counts_as_in_scikit_learn() -> None:
    y, said = [0, 0, 1, 1], [0, 2, 1, 1]
    found = scores(y, said)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["f1"] == pytest.approx(metrics.f1_score(y, said, average="macro"))
        assert found["balanced_accuracy"] == metrics.balanced_accuracy_score(y, said)


def test_label_scores_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(300, 4))
    p = 0.6 * rng.random((300, 4)) + 0.4 * y * rng.random((300, 4))
    said = (p > 0.4).astype(int)
    expected = {
        "accuracy": metrics.accuracy_score(y, said),
        "f1": metrics.f1_score(y, said, average="macro"),
        "auc": metrics.roc_auc_score(y, p, average="macro"),
    }
    assert scores(y, said, p) == pytest.approx(expected, rel=1e-12)


def test_number_scores_equal_those_of_scikit_learn_and_scipy() -> None:
    rng = np.random.default_rng(0)
    y = 1e3 + rng.normal(size=200).round(1)
    said = y + rng.normal(size=200).round(1)
    expected = {
        "r2": metrics.r2_score(y, said),
        "mae": metrics.mean_absolute_error(y, said),
        "spearman": spearmanr(y, said).statistic,
    }
    assert scores(y, said) == pytest.approx(expected, rel=1e-9)


def test_several_numbers_are_averaged_over_outputs() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(100, 3))
    said = y + rng.normal(size=(100, 3))
    found = scores(y, said)
    assert found["r2"] == pytest.approx(metrics.r2_score(y, said))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, said))


def test_what_is_undefined_is_nan() -> None:
    one_class = scores([1, 1], [1, 1], [[0.2, 0.8], [0.1, 0.9]], [0, 1])
    assert np.isnan(one_class["auc"])
    constant = scores([1.5, 1.5], [1.0, 2.0], kind="regression")
    assert np.isnan(constant["r2"]) and np.isnan(constant["spearman"])


def test_a_class_unseen_in_training_is_wrong_and_has_probability_epsilon() -> None:
    found = scores(["a", "c"], ["a", "a"], [[0.9, 0.1], [0.9, 0.1]], ["a", "b"])
    assert found["accuracy"] == 0.5
    eps = np.finfo(float).eps
    assert found["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(eps)) / 2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (([0, 1], [0]), "predictions of shape"),
        (([0, 1], [0, 1], [[0.5, 0.5]]), "probabilities of shape"),
        (([0, 1], [0, 1], [[0.5, 0.5], [np.nan, 1]]), "probability of row 1"),
        (([0.5, np.nan], [0.5, 1.0]), "row 1 has none"),
        (([], []), "the data is empty"),
        (([None, "a"], ["a", "a"]), "row 0 has none"),
    ],
)
def test_bad_input_is_named(given: tuple, told: str) -> None:
    y = np.array(given[0], object) if None in given[0] else given[0]
    with pytest.raises(ProbeError, match=told):
        scores(y, *given[1:])


def test_an_unknown_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(ProbeError, match="did you mean 'multiclass'"):
        scores([0, 1], [0, 1], kind="multi-class")
