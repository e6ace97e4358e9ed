"""Column: the features of one place, read a few rows at a time from memory or from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from neoscope.errors import ProbeError

Array = NDArray[Any]
Rows = Int[np.ndarray, " _rows"]
"""Numbers of rows; two of them need not be as many."""
_AT_ONCE = 8192
"""Rows gathered at once, so that no second copy of what is read is held."""


@dataclass(frozen=True, eq=False)
class Column:
    """Where the features of one place stand, and which of what stands there makes each row."""

    open: Callable[[], Array]
    """Returns [stored rows, stored width], in memory or mapped: what is not used is not read."""
    part: tuple[int, int] | None = None
    """Which numbers [start, stop) of a stored row, such as those of one head; None for all."""
    start: Int[np.ndarray, " _all"] | None = None
    """The first stored row of each row; None where rows are as they are stored."""
    stop: Int[np.ndarray, " _all"] | None = None
    """One past its last stored row, where a row is the mean of several; None for one each."""

    def read(self, rows: Rows | None = None) -> Array:
        """Return features, [rows, width], contiguous, float32 or float64, and a copy.

        Args:
            rows: Which rows; None for all.
        """
        stored = self.open()
        if self.part is not None:
            # A view: what is mapped is not read yet.
            stored = stored[:, slice(*self.part)]
        start = _chosen(self.start, rows)
        stop = _chosen(self.stop, rows)
        if start is None and rows is not None:
            start = rows
        if start is None:
            return _floats(stored)
        if stop is not None and bool((stop - start > 1).any()):
            return self._means(stored, start, stop)
        return self._gather(stored, start)

    def _gather(self, stored: Array, start: Rows) -> Array:
        n = len(start)
        if n and start[-1] - start[0] == n - 1 and bool((np.diff(start) == 1).all()):
            return _floats(stored[int(start[0]) : int(start[-1]) + 1])
        out = np.empty((n, stored.shape[1]), _float_type(stored))
        # In the order of the file, so that what is mapped is read from front to back.
        order = np.argsort(start, kind="stable")
        for at in range(0, n, _AT_ONCE):
            some = order[at : at + _AT_ONCE]
            out[some] = stored[start[some]]
        return out

    def _means(self, stored: Array, start: Rows, stop: Rows) -> Array:
        out = np.empty((len(start), stored.shape[1]), _float_type(stored))
        order = np.argsort(start, kind="stable")
        for at in range(0, len(start), _AT_ONCE):
            some = order[at : at + _AT_ONCE]
            size = stop[some] - start[some]
            first = np.cumsum(size) - size
            flat = np.repeat(start[some] - first, size) + np.arange(size.sum())
            values = stored[flat].astype(out.dtype, copy=False)
            out[some] = np.add.reduceat(values, first, axis=0) / size[:, None].astype(out.dtype)
        return out


def _chosen(all_rows: Rows | None, rows: Rows | None) -> Rows | None:
    return all_rows if all_rows is None or rows is None else all_rows[rows]


def _float_type(stored: Array) -> np.dtype[Any]:
    """Half precision and whole numbers are read as float32, which the solvers take."""
    return np.dtype(np.float64 if stored.dtype == np.float64 else np.float32)


def _floats(values: Array) -> Array:
    return np.array(values, _float_type(values), order="C")


def rows_not_finite(X: Array) -> Rows:
    """Return the numbers of the rows that hold NaN or an infinity.

    Args:
        X: [rows, width].
    """
    with np.errstate(all="ignore"):
        # One pass: a sum is finite only if all is, and may overflow if all is.
        if np.isfinite(X.sum()):
            return np.zeros(0, np.int64)
    return np.flatnonzero(~np.isfinite(X).all(1))


def as_array(given: Any) -> Array:
    """Return numbers as an array: those of a tensor without its gradient, from any device.

    Args:
        given: An array, a tensor (bfloat16, which arrays lack, becomes float32), a frame, lists.

    Raises:
        ProbeError: Rows are of different lengths.
    """
    if isinstance(given, np.ndarray):
        return given
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ProbeError(f"no array can be made of {type(given).__name__}: {error}") from None


def as_column(given: Any, n_rows: int, what: str) -> Column:
    """Return features as a column.

    Args:
        given: An array [rows, features], in memory or mapped; or a column.
        n_rows: How many rows there must be.
        what: Named in errors.

    Raises:
        ProbeError: Another number of rows, another shape, or no numbers.
    """
    if isinstance(given, Column):
        if given.start is not None and len(given.start) != n_rows:
            raise ProbeError(f"{what}: features of {len(given.start)} rows for {n_rows} labels")
        return given
    array = as_array(given)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ProbeError(
            f"{what}: features are {array.dtype} of shape {array.shape}; expected numbers "
            "[rows, features]"
        )
    if len(array) != n_rows:
        raise ProbeError(f"{what}: features of {len(array)} rows for {n_rows} labels")
    return Column(lambda: array)
