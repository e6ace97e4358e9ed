"""Labels as they come, checked: which kind they are, and what is wrong with which row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from neoscope.errors import ProbeError, nearest

Array = NDArray[Any]
KINDS = ("binary", "multiclass", "multilabel", "regression")


def read_labels(y: Any, kind: str | None = None, *, varied: bool = True) -> tuple[Array, str]:
    """Return labels as an array, and their kind.

    Args:
        y: One label a row: strings, whole numbers or truth values for classes, fractions for
            regression; or a matrix [rows, labels] of 0 and 1 (several labels at once) or of
            fractions.
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``, where it cannot be told:
            whole numbers are classes unless ``regression`` is said.
        varied: Labels that are all alike are refused, as nothing can be learned of them; what is
            only judged may hold one class, or more classes than ``kind`` says.

    Returns:
        [rows] or [rows, labels], and the kind.

    Raises:
        ProbeError: No rows, a missing label (its row is named), labels of several types, of one
            class only, or numbers that are all the same.

    Example:
        >>> read_labels(["cat", "dog", "cat"])[1], read_labels([0.5, 1.5])[1]
        ('binary', 'regression')
    """
    if kind is not None:
        read_kind(kind)
    values = _array(y)
    if not len(values):
        raise ProbeError("there are no labels: the data is empty")
    found = _kind(values) if kind is None else kind
    if found == "regression":
        return _numbers(values, varied), found
    if found == "multilabel":
        return _matrix(values, varied), found
    if values.ndim != 1:
        raise ProbeError(f"kind={found!r} takes one label a row; found shape {values.shape}")
    if not varied and kind is not None:
        return values, kind
    n_classes = len(np.unique(values))
    if n_classes < 2 and varied:
        raise ProbeError(
            f"all {len(values)} labels are {values[0]!s:.40}: a probe needs at least 2 classes"
        )
    if kind == "binary" and n_classes > 2:
        raise ProbeError(f"kind='binary', but there are {n_classes} classes")
    return values, "multiclass" if kind == "multiclass" or n_classes > 2 else "binary"


def read_kind(kind: str) -> str:
    """Return a kind of label that is known.

    Args:
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``.

    Raises:
        ProbeError: It is none of them.
    """
    if kind not in KINDS:
        raise ProbeError(
            f"kind={kind!r} is unknown{nearest(kind, KINDS)}; known: {', '.join(KINDS)}"
        )
    return kind


def is_missing(value: Any) -> bool:
    """Whether a label says that there is none: None, NaN, or pandas' NA and NaT."""
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return type(value).__name__ in ("NAType", "NaTType")


def read_groups(
    groups: Any, n_rows: int, what: str = "groups"
) -> tuple[Int[np.ndarray, " _rows"], Array]:
    """Return group numbers from 0, and what each group is called.

    Args:
        groups: One value a row; None for a group of each row's own.
        n_rows: How many there must be.
        what: Named in errors.

    Raises:
        ProbeError: Another number of values than rows, or a missing one.
    """
    if groups is None:
        return np.arange(n_rows), np.arange(n_rows)
    values = one_column(groups, n_rows, what)
    names, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), names


def one_column(given: Any, n_rows: int, what: str) -> Array:
    """Return one value a row, of one type, none missing.

    Args:
        given: A list, an array or a column of a frame.
        n_rows: How many there must be.
        what: Named in errors.

    Raises:
        ProbeError: Another number of values than rows, several columns, or a missing value.
    """
    values = _array(given, what)
    if values.ndim != 1 or len(values) != n_rows:
        n = len(values)
        shape = f"{n} value{'s' * (n != 1)}" if values.ndim == 1 else f"shape {values.shape}"
        raise ProbeError(f"{what}: {shape} for {n_rows} row{'s' * (n_rows != 1)}; give one a row")
    return values


def same_length(first: Sequence[Any], second: Sequence[Any], what: str, other: str) -> None:
    """See that two lists are of one length.

    Raises:
        ProbeError: They are not.

    Example:
        >>> same_length([1], ["x"], "texts", "labels")
    """
    if len(first) != len(second):
        raise ProbeError(f"{len(first)} {what}, but {len(second)} {other}: one for each is needed")


def repeatable(given: Any) -> Any:
    """Return what may be gone through several times: of an iterator its values, else the same.

    Example:
        >>> repeatable(iter("ab")), repeatable("c")
        (['a', 'b'], 'c')
    """
    return list(given) if isinstance(given, Iterator) else given


def as_list(given: Any, what: str) -> list[Any]:
    """Return a list, an array, a tensor or a column of a frame as a list.

    Raises:
        ProbeError: It is one text, a mapping, or no sequence.
    """
    if isinstance(given, str | bytes | dict):
        raise ProbeError(f"{what}: expected a list, found {type(given).__name__}: {given!r:.60}")
    for method in ("tolist", "to_pylist"):
        if hasattr(given, method):
            return list(getattr(given, method)())
    try:
        return list(given)
    except TypeError:
        raise ProbeError(f"{what}: expected a list, found {type(given).__name__}") from None


def _array(given: Any, what: str = "labels") -> Array:
    """Return values as an array of one type."""
    if not (isinstance(given, np.ndarray) and given.dtype.kind in "biufU"):
        items = as_list(given, what)
        _check_each(items, what)
        kinds = {_type(item) for row in items for item in (row if _is_row(row) else [row])}
        if len(kinds) > 1 and kinds != {"whole number", "fraction"}:
            raise ProbeError(_mixed(items, what))
        if kinds and not kinds <= {"whole number", "fraction", "text", "truth value"}:
            raise ProbeError(f"{what} are {min(kinds)}; expected strings, numbers or truth values")
        try:
            given = np.array(items)
        except ValueError:
            lengths = sorted({len(row) if _is_row(row) else 1 for row in items})
            raise ProbeError(
                f"{what}: rows have between {lengths[0]} and {lengths[-1]} values; every row needs "
                "as many"
            ) from None
    if given.ndim not in (1, 2):
        raise ProbeError(f"{what} have shape {given.shape}; expected [rows] or [rows, labels]")
    if given.dtype.kind == "f" and np.isnan(given).any():
        raise ProbeError(_missing(int(np.argwhere(np.isnan(given))[0][0]), what))
    if given.ndim == 2 and given.shape[1] == 1:
        return np.asarray(given[:, 0])
    return np.asarray(given)


def _check_each(items: list[Any], what: str) -> None:
    for row, item in enumerate(items):
        if any(is_missing(value) for value in (item if _is_row(item) else [item])):
            raise ProbeError(_missing(row, what))


def _missing(row: int, what: str) -> str:
    return f"{what}: row {row} has none (None or NaN); leave such rows out"


def _mixed(items: list[Any], what: str) -> str:
    flat = [(row, v) for row, item in enumerate(items) for v in (item if _is_row(item) else [item])]
    row, value = flat[0]
    other, second = next((r, v) for r, v in flat if _type(v) != _type(value))
    return (
        f"{what} are of several types: row {row} is a {_type(value)} ({value!r:.40}), row {other} "
        f"a {_type(second)} ({second!r:.40})"
    )


def _is_row(item: Any) -> bool:
    return isinstance(item, list | tuple | np.ndarray)


def _type(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "truth value"
    if isinstance(value, int | np.integer):
        return "whole number"
    if isinstance(value, float | np.floating):
        return "fraction"
    return "text" if isinstance(value, str) else type(value).__name__


def _kind(values: Array) -> str:
    whole = values.dtype.kind != "f" or bool((values == np.floor(values)).all())
    if values.ndim == 1:
        return "classes" if whole else "regression"
    return "multilabel" if whole else "regression"


def _numbers(values: Array, varied: bool) -> Array:
    if values.dtype.kind not in "biuf":
        raise ProbeError(f"regression needs numbers; found {values.tolist()[0]!r:.40}")
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ProbeError(f"labels: row {row} is not finite")
    constant = np.flatnonzero((values == values[:1]).reshape(len(values), -1).all(0))
    if varied and len(constant):
        which = f"all {len(values)} labels"
        if values.ndim == 2:
            which = f"all {len(values)} values of label {int(constant[0])}"
        raise ProbeError(
            f"{which} are {values[0].tolist() if values.ndim == 1 else values[0, constant[0]]!s}: "
            "there is nothing to predict"
        )
    return values.astype(np.float64)


def _matrix(values: Array, varied: bool) -> Array:
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise ProbeError(
            "several labels at once are a matrix [rows, labels] of 0 and 1; found shape "
            f"{values.shape}" + ("" if values.ndim != 2 else " with other values")
        )
    constant = np.flatnonzero((values == values[:1]).all(0))
    if varied and len(constant):
        raise ProbeError(
            f"label {int(constant[0])} is {int(values[0, constant[0]])} in every row: a probe "
            "needs both"
        )
    return values.astype(np.int64)
