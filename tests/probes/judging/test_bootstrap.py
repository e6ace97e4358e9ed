from __future__ import annotations

import json
import time
import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics

from neoscope.errors import ProbeError
from probes.judging import bootstrap_scores, resampled_scores


def explicit(groups: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
    """Rows of each resample, drawn as the module says: whole groups with replacement."""
    codes = np.unique(groups, return_inverse=True)[1]
    count = codes.max() + 1
    drawn = np.random.default_rng(seed).integers(count, size=(n, count))
    return [np.concatenate([np.flatnonzero(codes == g) for g in one]) for one in drawn]


def test_a_resample_has_the_scores_of_scikit_learn_on_the_drawn_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=120)
    p = rng.dirichlet(np.ones(3), 120)
    p = (p + 0.5 * np.eye(3)[y]).round(1)
    p /= p.sum(1, keepdims=True)
    groups = rng.integers(20, size=120)
    found = resampled_scores(y, p.argmax(1), p, groups, n_bootstrap=8, seed=3)
    for i, rows in enumerate(explicit(groups, 8, 3)):
        a, b, q = y[rows], p.argmax(1)[rows], p[rows]
        expected = {
            "accuracy": metrics.accuracy_score(a, b),
            "balanced_accuracy": metrics.balanced_accuracy_score(a, b),
            "f1": metrics.f1_score(a, b, average="macro"),
            "log_loss": metrics.log_loss(a, q),
            "auc": metrics.roc_auc_score(a, q, multi_class="ovr"),
        }
        assert {name: values[i] for name, values in found.items()} == pytest.approx(expected)


def test_a_resample_of_numbers_has_the_scores_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=60).round(1) + 0.05
    said = (y + rng.normal(size=60)).round(1)
    groups = rng.integers(12, size=60)
    found = resampled_scores(y, said, groups=groups, n_bootstrap=6, seed=1)
    for i, rows in enumerate(explicit(groups, 6, 1)):
        expected = {
            "r2": metrics.r2_score(y[rows], said[rows]),
            "mae": metrics.mean_absolute_error(y[rows], said[rows]),
            "spearman": spearmanr(y[rows], said[rows]).statistic,
        }
        assert {name: values[i] for name, values in found.items()} == pytest.approx(expected)


def test_a_resample_of_labels_has_the_scores_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(60, 3))
    p = (rng.random((60, 3)) + y) / 2
    groups = rng.integers(12, size=60)
    found = resampled_scores(y, (p > 0.5).astype(int), p, groups, n_bootstrap=5, seed=1)
    for i, rows in enumerate(explicit(groups, 5, 1)):
        assert found["accuracy"][i] == pytest.approx(metrics.accuracy_score(y[rows], p[rows] > 0.5))
        assert found["auc"][i] == pytest.approx(metrics.roc_auc_score(y[rows], p[rows]))


def test_intervals_of_rows_are_those_of_the_binomial() -> None:
    y = np.zeros(2000, int)
    said = (np.arange(2000) % 5 == 0).astype(int)
    found = bootstrap_scores(y, said, kind="binary")["accuracy"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert found.low == pytest.approx(0.8 - half, abs=0.003)
    assert found.high == pytest.approx(0.8 + half, abs=0.003)


def test_rows_of_one_group_count_as_one_draw() -> None:
    # 50 groups of 40 rows that are all right or all wrong: the interval is that of 50 draws.
    right = np.repeat(np.arange(50) % 5 != 0, 40)
    groups = np.repeat(np.arange(50), 40)
    y = np.arange(2000) % 2
    found = bootstrap_scores(y, np.where(right, y, 1 - y), groups=groups)["accuracy"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 50), rel=0.15)
    assert found.n_groups == 50


def test_one_group_has_no_interval() -> None:
    found = bootstrap_scores([0, 1, 1], [0, 1, 0], groups=[7, 7, 7])["accuracy"]
    assert np.isnan(found.low) and np.isnan(found.high) and found.n_groups == 1
    assert json.loads(json.dumps(found.record()))["low"] is None


def test_draws_depend_on_the_seed_alone() -> None:
    y, said = np.arange(40) % 2, (np.arange(40) % 3 > 0).astype(int)
    first = resampled_scores(y, said, n_bootstrap=50, seed=5)["accuracy"]
    assert (first == resampled_scores(y, said, n_bootstrap=50, seed=5)["accuracy"]).all()
    assert (first != resampled_scores(y, said, n_bootstrap=50, seed=6)["accuracy"]).any()


def test_a_layer_takes_about_a_second() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(17), 5000)
    y = rng.integers(17, size=5000)
    start = time.process_time()
    bootstrap_scores(y, p.argmax(1), p, rng.integers(300, size=5000))
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("options", "told"),
    [({"n_bootstrap": 0}, "n_bootstrap=0"), ({"confidence": 95.0}, "confidence=95")],
)
def test_options_that_mean_nothing_are_refused(options: dict, told: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ProbeError, match=told):
        bootstrap_scores([0, 1], [0, 1], **options)
