from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from neoscope.errors import ProbeError
from probes.judging import code_blocks, codelength_from, online_codelength, true_log2


class Frequencies(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the training rows' label frequencies."""

    def fit(self, X: Any, y: Any) -> Frequencies:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.shares_ = counts / len(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.repeat(self.classes_[self.shares_.argmax()], len(X))

    def predict_proba(self, X: Any) -> Any:
        return np.repeat(self.shares_[None], len(X), 0)


def probe() -> LogisticRegression:
    return LogisticRegression(C=1.0, max_iter=500)


def test_blocks_end_at_the_fractions_of_the_paper() -> None:
    y = np.arange(10_000) % 3
    blocks = code_blocks(y)
    assert blocks.edges == (10, 20, 40, 80, 160, 320, 625, 1250, 2500, 5000, 10_000)
    assert sorted(blocks.order) == list(range(10_000))


def test_no_group_is_in_two_blocks() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(90, size=2000)
    blocks = code_blocks(rng.integers(3, size=2000), groups)
    for train, coded in blocks.steps():
        assert not set(groups[train]) & set(groups[coded])
    assert np.abs(np.diff(groups[blocks.order])).astype(bool).sum() == 89


def test_a_group_larger_than_a_block_stays_whole() -> None:
    groups = np.repeat([0, 1, 2], [5, 980, 15])
    blocks = code_blocks(np.arange(1000) % 2, groups)
    ends = np.flatnonzero(np.diff(groups[blocks.order])) + 1
    assert set(blocks.edges[:-1]) <= set(ends.tolist())
    assert blocks.edges[-1] == 1000


def test_of_constant_features_the_code_is_the_adaptive_code_of_frequencies() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(4, size=3000, p=[0.6, 0.25, 0.1, 0.05])
    found = online_codelength(Frequencies(), np.zeros((3000, 1)), y, smoothing=0.5)
    blocks = code_blocks(y)
    expected = blocks.edges[0] * np.log2(4)
    for train, coded in blocks.steps():
        counts = np.bincount(y[train], minlength=4)
        expected -= np.log2((counts[y[coded]] + 0.5) / (len(train) + 2)).sum()
    assert found.bits == pytest.approx(expected, rel=1e-12)
    assert found.uniform_bits == 6000


def test_a_separable_label_costs_the_first_block_and_little_more() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=4000)
    X = np.eye(2)[y] * 20
    found = online_codelength(LogisticRegression(C=100.0, max_iter=500), X, y)
    first = found.blocks[0]
    assert first.bits == first.stop
    assert found.bits < first.bits + 20
    assert found.compression > 100


def test_random_labels_are_not_compressed() -> None:
    rng = np.random.default_rng(0)
    found = online_codelength(probe(), rng.normal(size=(4000, 5)), rng.integers(4, size=4000))
    assert 0.97 < found.compression < 1.005


def test_names_of_labels_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 4))
    y = (X[:, :3] + 0.5 * rng.normal(size=(800, 3))).argmax(1)
    first = online_codelength(probe(), X, y)
    renamed = online_codelength(probe(), X, np.array(["z", "a", "m"])[y])
    assert renamed.bits == pytest.approx(first.bits, rel=1e-4)


def test_the_better_features_have_the_shorter_code() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=1500)
    clean, noise = np.eye(3)[y], rng.normal(size=(1500, 3))
    lengths = [online_codelength(probe(), clean + s * noise, y).bits for s in (0.3, 0.8, 5)]
    assert lengths == sorted(lengths)


def test_a_class_that_a_prefix_lacks_costs_finitely_many_bits() -> None:
    y = np.zeros(1000, int)
    y[:3] = 1
    found = online_codelength(probe(), np.random.default_rng(0).normal(size=(1000, 2)), y)
    assert np.isfinite(found.bits) and found.bits < 100


def test_parts_add_up_and_are_plain_json() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=600)
    found = online_codelength(probe(), y[:, None] + rng.normal(size=(600, 1)), y)
    assert sum(block.bits for block in found.blocks) == pytest.approx(found.bits)
    assert found.model_bits + found.data_bits == pytest.approx(found.bits)
    assert [block.start for block in found.blocks[1:]] == [b.stop for b in found.blocks[:-1]]
    record = json.loads(json.dumps(found.record()))
    assert record["compression"] == pytest.approx(600 / found.bits)


def test_several_labels_cost_the_sum_of_their_codes() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(500, 3))
    blocks = code_blocks(y)
    rows = blocks.order
    whole = true_log2(blocks, rows, np.full((500, 3), 0.25), None, 100, smoothing=1.0)
    each = np.where(y[rows] > 0, 26 / 102, 76 / 102)
    assert whole == pytest.approx(np.log2(each).sum(1))
    from sklearn.multiclass import OneVsRestClassifier

    found = online_codelength(OneVsRestClassifier(probe()), y + 0.1, y)
    assert found.uniform_bits == 1500 and found.compression > 5


def test_a_joint_solver_can_fill_in_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = (X[:, 0] > 0).astype(int)
    blocks = code_blocks(y)
    parts = []
    for train, coded in blocks.steps():
        if len(set(y[train])) == 1:
            p, known = np.ones((len(coded), 1)), np.unique(y[train])
        else:
            fitted = probe().fit(X[train], y[train])
            p, known = fitted.predict_proba(X[coded]), fitted.classes_
        parts.append(true_log2(blocks, coded, p, known, len(train)))
    fitted = probe().fit(X, y)
    rows = np.arange(500)
    data = -true_log2(blocks, rows, fitted.predict_proba(X), None, 500).sum()
    assert codelength_from(blocks, parts, data).bits == pytest.approx(
        online_codelength(probe(), X, y).bits, rel=1e-4
    )
    with pytest.raises(ProbeError, match="blocks of"):
        codelength_from(blocks, parts[:-1], data)


@pytest.mark.parametrize(
    ("y", "options", "told"),
    [
        (np.linspace(0.1, 1, 20), {}, "codelengths are of classes"),
        (np.zeros(20, int), {}, "nothing to code"),
        (np.arange(20) % 2, {"groups": np.zeros(20)}, "one group"),
        (np.arange(20) % 2, {"fractions": (0.5, 0.2, 1.0)}, "rising"),
        (np.arange(20) % 2, {"smoothing": 0.0}, "above 0"),
        (np.arange(19) % 2, {}, "20 rows of features for 19 labels"),
    ],
)
def test_what_has_no_code_is_refused(y: Any, options: dict, told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        online_codelength(probe(), np.zeros((20, 1)), y, **options)


@pytest.mark.parametrize("estimator", [RidgeClassifier(), LinearRegression()])
def test_a_probe_without_probabilities_is_refused(estimator: Any) -> None:
    with pytest.raises((ProbeError, AttributeError)):
        online_codelength(estimator, np.eye(40), np.arange(40) % 2)


def test_numbers_cannot_be_coded() -> None:
    X, y = np.ones((40, 2)), np.arange(40) % 2
    with pytest.raises(ProbeError, match="LinearRegression predicts numbers, and labels are"):
        online_codelength(LinearRegression(), X, y)
    with pytest.raises(ProbeError, match="RidgeClassifier gives no probabilities"):
        online_codelength(RidgeClassifier(), X, y)
    with pytest.raises(ProbeError, match="all labels are 0: "):
        code_blocks(np.zeros(4, int))


def test_a_code_is_shown_in_one_line() -> None:
    code = online_codelength(probe(), np.ones((40, 2)), np.arange(40) % 2)
    assert repr(code).startswith("Codelength(") and len(repr(code)) < 110
    assert "bits (online) of 40 rows, compression " in repr(code)
