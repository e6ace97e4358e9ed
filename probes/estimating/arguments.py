"""What the constructors and `fit` of all probes ask of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError, nearest

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])


def checked_in_fit(init: F) -> F:
    """Mark a constructor that stores whatever it is given, as scikit-learn wants; `fit` checks."""
    init.__no_type_check__ = True  # type: ignore[attr-defined]
    return init


def whole_number(name: str, value: object, least: int = 1) -> int:
    """Return a whole number that is at least ``least``.

    Raises:
        ProbeError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ProbeError(f"{name} must be a whole number from {least} on, not {value!r}")
    return int(value)


def number(name: str, value: object, *, positive: bool = False) -> float:
    """Return a finite number from 0 on or, if ``positive``, above 0.

    Raises:
        ProbeError: It is something else.
    """
    kinds = (int, float, np.integer, np.floating)
    good = isinstance(value, kinds) and not isinstance(value, bool) and np.isfinite(value)
    if not (good and (value > 0 if positive else value >= 0)):  # type: ignore[operator]
        wanted = "above 0" if positive else "from 0 on"
        raise ProbeError(f"{name} must be a number {wanted}, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def one_of(name: str, value: object, known: Collection[str]) -> str:
    """Return a string that is one of the known ones.

    Raises:
        ProbeError: It is something else; the message names the nearest.
    """
    if not isinstance(value, str) or value not in known:
        hint = nearest(value, known) if isinstance(value, str) else ""
        raise ProbeError(f"{name} must be one of {', '.join(known)}, not {value!r}{hint}")
    return value


def check_weighted_classes(targets: Array, weights: Array, classes: Array, kind: str) -> None:
    """Check that the weights leave samples of at least two classes.

    Args:
        targets: [rows, outputs] of 0 and 1.
        weights: [rows].
        classes: The classes, sorted.
        kind: ``binary``, ``multiclass`` or ``multilabel``, which asks for nothing.

    Raises:
        ProbeError: All weight lies on one class.
    """
    if kind == "multilabel":
        return
    if kind == "binary":
        targets = np.concatenate([1 - targets, targets], 1)
    left = classes[weights @ targets > 0]
    if len(left) < 2:
        raise ProbeError(
            "a probe needs samples of at least 2 classes; the sample weights and class weights "
            f"leave one class: {left.tolist()}"
        )
