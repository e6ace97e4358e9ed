"""Labels are read once, and what is wrong with them is said by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from neoscope.errors import ProbeError
from probes.data.dataset import ProbeData
from probes.data.labels import read_labels


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (["a", "b", "a", "b"], "binary"),
        ([True, False, True, True], "binary"),
        ([0, 1, 2, 2], "multiclass"),
        ([0.0, 1.0, 2.0, 2.0], "multiclass"),
        ([0.5, 1, 2, 2], "regression"),
        ([[0, 1], [1, 0], [1, 1], [0, 0]], "multilabel"),
        (pd.Series(["a", "b", "c", "a"]), "multiclass"),
        (pd.Categorical(["a", "b", "b", "a"]), "binary"),
    ],
)
def test_kinds_are_told_from_labels(y: Any, kind: str) -> None:
    assert ProbeData(np.ones((4, 1)), y).kind == kind


def test_whole_numbers_are_numbers_if_so_said() -> None:
    one = ProbeData(np.ones((4, 1)), [3, 1, 2, 2], kind="regression")
    assert one.kind == "regression" and one.y.dtype == np.float64 and not len(one.classes)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([], "the data is empty"),
        (["a", "a", "a", "a"], "all 4 labels are a: a probe needs at least 2 classes"),
        (["a", None, "b", "a"], "row 1 has none"),
        ([0.5, 1.0, float("nan"), 2.0], "row 2 has none"),
        (np.array([0.5, np.nan, 1.0, 2.0]), "row 1 has none"),
        (pd.Series(["a", "b", None, "b"]), "row 2 has none"),
        (["a", "b", 3, "a"], r"row 0 is a text \('a'\), row 2 a whole number \(3\)"),
        ([0, 1, True, 1], "row 2 a truth value"),
        ([[0, 1], [1], [0, 0], [1, 1]], "between 1 and 2 values"),
        ([[0, 1], [1, 1], [0, 1], [1, 1]], "label 1 is 1 in every row"),
        ([[0, 2], [1, 1], [0, 1], [1, 1]], "0 and 1"),
        ("abab", "expected a list, found str"),
        ([{}, {}, {}, {}], "labels are dict"),
        (["a", "b"], "features of 4 rows for 2 labels"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(y: Any, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData(np.ones((4, 1)), y)


@pytest.mark.parametrize(
    ("y", "kind", "said"),
    [
        ([2.5] * 4, None, r"all 4 labels are 2\.5: there is nothing to predict"),
        ([2] * 4, "regression", "all 4 labels are 2: there is nothing"),
        (np.array([[0.5, 1.5]] * 2 + [[1.0, 1.5]] * 2), None, r"values of label 1 are 1\.5"),
    ],
)
def test_numbers_that_never_vary_are_refused(y: Any, kind: str | None, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData(np.ones((4, 1)), y, kind=kind)


def test_short_labels_are_blamed_rather_than_groups() -> None:
    with pytest.raises(ProbeError, match="X: features of 5 rows for 4 labels"):
        ProbeData(np.ones((5, 1)), [0, 1, 0, 1], np.arange(5))


@pytest.mark.parametrize(
    ("y", "kind"),
    [(["a"] * 3, "binary"), ([2.5] * 3, "regression"), ([[0, 1]] * 3, "multilabel")],
)
def test_what_is_only_judged_may_be_all_alike(y: Any, kind: str) -> None:
    assert read_labels(y, varied=False)[1] == kind
    with pytest.raises(ProbeError):
        read_labels(y)
    assert read_labels(list("abc"), "binary", varied=False)[1] == "binary"
