from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neoscope.errors import ProbeError
from probes.judging import control_labels, control_task, resampled_scores, selectivity, unseen_types

N_TYPES, PER_TYPE = 30, 20


def tagged() -> tuple[np.ndarray, np.ndarray]:
    """Types of which most rows have the type's own label, and some another one."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(N_TYPES), PER_TYPE)
    own = rng.integers(4, size=N_TYPES)[types]
    return types, np.where(rng.random(len(types)) < 0.15, rng.integers(4, size=len(types)), own)


def fitted_accuracy(X: np.ndarray, y: np.ndarray) -> float:
    return float(LogisticRegression(C=1e4, max_iter=2000).fit(X, y).score(X, y))


def test_of_one_hot_types_the_control_is_perfect_and_selectivity_is_closed_form() -> None:
    types, y = tagged()
    X = np.eye(N_TYPES)[types]
    control = fitted_accuracy(X, control_labels(types, y))
    assert control == 1
    # The best that types can do: the majority label of each type.
    best = sum(np.bincount(y[types == t]).max() for t in range(N_TYPES)) / len(y)
    found = selectivity(fitted_accuracy(X, y), control)
    assert found.value == pytest.approx(best - 1)


def test_of_the_labels_themselves_the_control_is_the_majority_of_each_label() -> None:
    types, y = tagged()
    control = control_labels(types, y)
    X = np.eye(4)[y]
    share = sum(np.bincount(control[y == k]).max() for k in range(4)) / len(y)
    assert fitted_accuracy(X, control) == pytest.approx(share)
    assert fitted_accuracy(X, y) == 1


def test_a_type_has_one_label_whatever_rows_and_types_are_beside_it() -> None:
    types, y = tagged()
    names = np.array([f"w{t}" for t in types])
    control = control_labels(names, y)
    assert all(len(set(control[names == name])) == 1 for name in set(names))
    order = np.random.default_rng(1).permutation(len(y))
    assert (control_labels(names[order], y[order]) == control[order]).all()
    renamed = np.where(types < 10, names, "another")
    kept = types < 10
    assert (control_labels(renamed, y)[kept] == control[kept]).all()


def test_labels_are_drawn_in_their_own_proportions() -> None:
    types = np.arange(20_000)
    y = np.where(types % 10 < 7, "a", np.where(types % 10 < 9, "b", "c"))
    control = control_labels(types, y)
    shares = [(control == label).mean() for label in "abc"]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.012)


def test_another_seed_is_another_map() -> None:
    types, y = tagged()
    assert (control_labels(types, y, 0) != control_labels(types, y, 1)).any()


def test_numbers_and_rows_of_labels_are_drawn_whole() -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(40, size=200)
    numbers = rng.normal(size=200)
    assert np.isin(control_labels(types, numbers), numbers).all()
    rows = np.eye(3, dtype=int)[rng.integers(3, size=200)]
    drawn = control_labels(types, rows)
    assert drawn.shape == rows.shape and (drawn.sum(1) == 1).all()


@pytest.mark.parametrize(
    ("types", "y", "told"),
    [
        (["a"] * 6, [0, 1] * 3, "one type"),
        (["a", "b"] * 3, [0] * 6, "same label"),
        (list("abcdef"), [0, 1, 2] * 2, "type of its own"),
    ],
)
def test_a_degenerate_control_says_why(types: list[str], y: list[int], told: str) -> None:
    task = control_task(types, y)
    assert task.undefined is not None and told in task.undefined
    found = selectivity(0.9, 0.5, undefined=task.undefined)
    assert np.isnan(found.value) and found.undefined == task.undefined
    assert json.loads(json.dumps(found.record()))["value"] is None


def test_selectivity_has_a_paired_interval() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=500)
    groups = rng.integers(60, size=500)
    said, worse = np.where(rng.random(500) < 0.9, y, 1 - y), np.where(rng.random(500) < 0.6, y, 0)
    drawn = tuple(resampled_scores(y, p, groups=groups)["accuracy"] for p in (said, worse))
    found = selectivity(
        (said == y).mean(), (worse == y).mean(), drawn=(drawn[0], drawn[1]), n_groups=60
    )
    assert found.interval is not None
    assert found.interval.low < found.value < found.interval.high


def test_unseen_types_are_counted_by_row() -> None:
    assert unseen_types(["a", "b"], ["a", "c", "c", "b"]) == 0.5


def test_types_and_labels_must_agree() -> None:
    with pytest.raises(ProbeError, match="types of shape"):
        control_labels(["a"], [0, 1])
