"""What judging is given, read and checked: labels, predictions and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.data.columns import as_array
from probes.data.labels import read_labels

Array = NDArray[Any]

_SLACK = 1e-3
"""How far from 1 the probabilities of a row may sum for rounding."""


def distinct(y: Array) -> Array:
    """Return the sorted distinct labels.

    Args:
        y: [rows].

    Raises:
        ProbeError: The labels cannot be sorted, such as strings mixed with None.
    """
    try:
        return np.unique(y)
    except TypeError:
        types = sorted({type(label).__name__ for label in y.tolist()})
        raise ProbeError(f"labels of several types ({', '.join(types)}); expected one") from None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was true and what a probe said, checked, with classes as codes."""

    kind: str
    true: Array
    """[rows] codes of `classes`; 0 and 1 [rows, labels]; numbers [rows, outputs]."""
    predicted: Array
    """Like ``true``."""
    classes: Array
    """All classes that occur anywhere, sorted; empty for regression."""
    proba: Array | None
    """[rows, columns] probabilities."""
    columns: NDArray[np.int64]
    """Which class each column of ``proba`` is: a code."""

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.true)


def read_outcome(
    y: Any, predicted: Any, proba: Any = None, classes: Any = None, kind: str | None = None
) -> Outcome:
    """Check what a probe is judged by, and turn labels into codes.

    Args:
        y: What is true, see `probes.data.labels.read_labels`.
        predicted: What the probe said, of the same shape.
        proba: [rows, classes] probabilities (of two classes also [rows] of the second), or None.
        classes: [classes] what the columns of ``proba`` are, ``probe.classes_``; the sorted labels
            of ``y`` if None.
        kind: Kind of label; None to go by ``y``.

    Raises:
        ProbeError: Shapes do not fit, a prediction or a probability is not a number, or
            probabilities are not from 0 to 1 or, of one label a row, do not sum to 1.
    """
    y, kind = read_labels(y, kind, varied=False)
    said = np.asarray(predicted)
    if said.ndim == 2 and said.shape[1] == 1 and y.ndim == 1:
        said = said[:, 0]
    if said.shape != y.shape:
        raise ProbeError(f"predictions of shape {said.shape} for labels of shape {y.shape}")
    nothing = np.zeros(0, np.int64)
    if kind == "regression":
        said = said.astype(np.float64)
        _finite("prediction", said)
        rows = len(y)
        return Outcome(kind, y.reshape(rows, -1), said.reshape(rows, -1), nothing, None, nothing)
    if kind == "multilabel":
        columns = np.arange(y.shape[1])
        p = None if proba is None else _read_proba(proba, len(y), len(columns), sums=False)
        return Outcome(kind, y.astype(np.int64), said.astype(np.int64), columns, p, columns)
    known = distinct(y) if classes is None else np.asarray(classes)
    everything = distinct(np.concatenate([distinct(y), distinct(said), known]))
    true, guess, columns = (np.searchsorted(everything, part) for part in (y, said, known))
    p = None if proba is None else _read_proba(proba, len(y), len(known), sums=True)
    return Outcome(kind, true, guess, everything, p, columns)


def _read_proba(proba: Any, rows: int, columns: int, *, sums: bool) -> Array:
    p = as_array(proba)
    if p.dtype.kind not in "biuf":
        raise ProbeError(f"probabilities of type {p.dtype}; expected numbers")
    if p.ndim == 1 and columns == 2:
        # The range is checked before there are two of it, so that what was given is named.
        _possible(p[:, None], sums=False)
        p = np.stack([1 - p, p], 1)
    if p.shape != (rows, columns):
        raise ProbeError(
            f"probabilities of shape {p.shape}; expected {(rows, columns)}, a column for each "
            "class: say in `classes` what the columns are"
        )
    _finite("probability", p)
    _possible(p, sums=sums)
    return p


def _possible(p: Array, *, sums: bool) -> None:
    """Check that probabilities are from 0 to 1 and, of one label a row, that rows sum to 1."""
    # Half precision is off by as much.
    slack = _SLACK if p.dtype != np.float16 else 0.03
    wrong: Array = (p < -slack) | (p > 1 + slack)
    if wrong.any():
        row = int(wrong.any(1).argmax())
        value = float(p[row][wrong[row]][0])
        raise ProbeError(f"the probability of row {row} is {value:.4g}; expected 0 to 1")
    total = p.sum(1, dtype=np.float64)
    off: Array = np.abs(total - 1)
    if sums and off.max(initial=0) > slack:
        row = int(np.argmax(off > slack))
        raise ProbeError(
            f"the probabilities of row {row} sum to {total[row]:.4g}; expected 1 over all classes"
        )


def _finite(what: str, values: Array) -> None:
    fine = np.isfinite(values).reshape(len(values), -1).all(1)
    if not fine.all():
        raise ProbeError(f"the {what} of row {int(np.argmin(fine))} is not a finite number")
