from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from neoscope.errors import ProbeError
from probes.judging import LearningCurve, learning_curve, sample_complexity


def planted(n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n)
    return np.eye(3)[y] + 0.6 * rng.normal(size=(n, 3)), y, rng.integers(n // 6, size=n)


def test_more_rows_make_a_better_probe_up_to_its_best() -> None:
    X, y, groups = planted()
    curve = learning_curve(LogisticRegression(), X, y, groups, n_bootstrap=200)
    assert list(curve.sizes) == sorted(set(curve.sizes))
    assert curve.scores[-1] > curve.scores[0]
    assert all(i.low <= s <= i.high for i, s in zip(curve.intervals, curve.scores, strict=True))
    assert json.loads(json.dumps(curve.record()))["metric"] == "accuracy"


def test_the_last_point_is_the_score_of_all_training_rows() -> None:
    X, y, groups = planted()
    test = np.flatnonzero(groups % 5 == 0)
    train = np.setdiff1d(np.arange(len(y)), test)
    curve = learning_curve(LogisticRegression(), X, y, groups, test=test, n_bootstrap=50)
    assert curve.sizes[-1] == len(train)
    fitted = LogisticRegression().fit(X[train], y[train])
    assert curve.scores[-1] == pytest.approx(fitted.score(X[test], y[test]), abs=0.01)


def test_sizes_take_whole_groups() -> None:
    X, y, _ = planted()
    curve = learning_curve(LogisticRegression(), X, y, np.repeat(np.arange(60), 10), sizes=[15, 99])
    assert curve.sizes == (20, 100)


def test_one_class_in_a_prefix_is_predicted() -> None:
    X, y, _ = planted()
    curve = learning_curve(LogisticRegression(), X, y, sizes=[1, 200], n_bootstrap=50)
    assert curve.scores[0] == pytest.approx(1 / 3, abs=0.1)


def test_an_exact_probe_needs_as_many_rows_as_there_are_unknowns() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    y = X @ rng.normal(size=6) + 0.5
    sizes = list(range(3, 12))
    curve = learning_curve(LinearRegression(), X, y, sizes=sizes, metric="r2", n_bootstrap=50)
    assert sample_complexity(curve, 1e-6).size == 7
    loss = learning_curve(LinearRegression(), X, y, sizes=sizes, metric="mae", n_bootstrap=50)
    assert sample_complexity(loss, target=1e-6).size == 7


def test_a_target_that_is_never_reached_has_no_size() -> None:
    curve = LearningCurve((10, 100), (0.5, 0.8), (), "accuracy")
    assert sample_complexity(curve, target=0.9).size is None
    assert sample_complexity(curve, 0.3).size == 10
    assert sample_complexity(curve, 0.1).target == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"test": [0, 1]}, "both sides"),
        ({"sizes": [0, 5]}, "sizes="),
        ({"metric": "r2"}, "for multiclass labels"),
    ],
)
def test_bad_input_is_told(options: dict, told: str) -> None:
    X, y, _ = planted()
    with pytest.raises(ProbeError, match=told):
        learning_curve(LogisticRegression(), X, y, np.arange(600) // 10, **options)


def test_numbers_are_judged_by_r2() -> None:
    X, _, _ = planted()
    curve = learning_curve(LinearRegression(), X, X[:, 0] + 0.1, n_bootstrap=20, sizes=[50])
    assert curve.metric == "r2"
    assert repr(curve) == "LearningCurve(r2 1.000 of 50 rows, 1 size)"


def test_test_rows_are_numbers_or_a_mask() -> None:
    X, y, _ = planted()
    test = np.arange(len(y)) % 5 == 0
    numbers, mask = (
        learning_curve(LogisticRegression(), X, y, test=one, n_bootstrap=20, sizes=[50])
        for one in (np.flatnonzero(test), test)
    )
    assert numbers == mask
    with pytest.raises(ProbeError, match="row 2000 does not exist"):
        learning_curve(LogisticRegression(), X, y, test=[2000])
    with pytest.raises(ProbeError, match="1 group is on both sides"):
        learning_curve(LogisticRegression(), X, y, np.arange(len(y)) // 2, test=[0])
