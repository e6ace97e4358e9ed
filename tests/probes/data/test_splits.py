from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoscope.errors import ProbeError
from probes.data.splits import check_leak, group_folds, group_split

ROWS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=80)


@given(ROWS, st.integers(2, 5), st.integers(0, 3))
def test_folds_keep_groups_together_and_validate_each_row_once(
    rows: list[tuple[int, int]], n: int, seed: int
) -> None:
    groups, y = np.array(rows).T
    if len(np.unique(groups)) < n:
        with pytest.raises(ProbeError, match=f"{n} folds need at least {n} groups"):
            group_folds(groups, y, n, seed=seed)
        return
    folds = group_folds(groups, y, n, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([v for _, v in folds])), np.arange(len(y)))
    for train, valid in folds:
        check_leak(groups[train], groups[valid])
        assert len(train) and len(valid)
        assert len(train) + len(valid) == len(y)


@given(ROWS, st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_split_keeps_groups_together_and_leaves_no_side_empty(
    rows: list[tuple[int, int]], test_size: float, seed: int
) -> None:
    groups, y = np.array(rows).T
    if len(np.unique(groups)) < 2:
        with pytest.raises(ProbeError, match="and there is 1"):
            group_split(groups, y, test_size=test_size, seed=seed)
        return
    train, test = group_split(groups, y, test_size=test_size, seed=seed)
    check_leak(groups[train], groups[test])
    assert len(train) and len(test)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))


def test_rows_of_their_own_are_stratified_exactly() -> None:
    y = np.repeat(["a", "b", "c"], [500, 300, 200])
    for _, valid in group_folds(np.arange(1000), y, 5):
        assert np.unique(y[valid], return_counts=True)[1].tolist() == [100, 60, 40]
    _, test = group_split(np.arange(1000), y, test_size=0.2)
    assert np.unique(y[test], return_counts=True)[1].tolist() == [100, 60, 40]


def test_sentences_of_many_lengths_are_stratified_nearly() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 40, 400))
    y = rng.choice(6, len(groups), p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    for _, valid in group_folds(groups, y, 5):
        share = np.bincount(y[valid], minlength=6) / np.bincount(y)
        np.testing.assert_allclose(share, 0.2, atol=0.02)
        assert abs(len(valid) / len(y) - 0.2) < 0.01


def test_a_seed_repeats_and_another_differs() -> None:
    groups = np.repeat(np.arange(30), np.arange(1, 31))
    y = np.arange(len(groups)) % 3
    same, again, other = (group_split(groups, y, seed=seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_a_class_of_one_group_is_missing_from_all_folds_but_one() -> None:
    y = np.array([1, *[0] * 11])
    folds = group_folds(np.arange(12), y, 4)
    assert sum(1 in y[valid] for _, valid in folds) == 1


def test_every_label_of_several_is_spread() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((500, 4)) < [0.5, 0.2, 0.1, 0.02]).astype(int)
    for _, valid in group_folds(np.arange(500), y, 5):
        np.testing.assert_allclose(y[valid].sum(0) / y.sum(0), 0.2, atol=0.05)


def test_numbers_are_spread_by_tenths() -> None:
    y = np.random.default_rng(0).normal(size=1000)
    for _, valid in group_folds(np.arange(1000), y, 5, regression=True):
        assert abs(np.quantile(y[valid], 0.9) - np.quantile(y, 0.9)) < 0.1


def test_many_groups_are_split_in_seconds() -> None:
    groups = np.arange(50_000)
    assert len(group_folds(groups, groups % 7, 5)) == 5


def test_a_leak_is_named() -> None:
    check_leak(["a", "b"], ["c"])
    with pytest.raises(ProbeError, match="group b leaks: 2 of its rows are trained on and 1"):
        check_leak(["a", "b", "b"], ["c", "b"])
    with pytest.raises(ProbeError, match=r"group doc-1 leaks.*and 1 more group does"):
        check_leak([0, 1], [1, 0, 1], names=["doc-1", "doc-2"])


@pytest.mark.parametrize("n", [1, 0, True])
def test_a_number_of_folds_that_is_none_is_refused(n: int) -> None:
    with pytest.raises(ProbeError, match="whole number from 2"):
        group_folds(np.arange(9), np.arange(9) % 2, n)


@pytest.mark.parametrize("size", [0.0, 1.0, -0.5])
def test_a_test_size_outside_0_to_1_is_refused(size: float) -> None:
    with pytest.raises(ProbeError, match="between 0 and 1"):
        group_split(np.arange(9), np.arange(9) % 2, test_size=size)


def test_groups_that_are_names_leak_by_their_own_name() -> None:
    with pytest.raises(ProbeError, match="group a leaks"):
        check_leak(["a"], ["a"], ["x"])
    with pytest.raises(ProbeError, match="group 7 leaks"):
        check_leak([7], [7], ["x"])
