"""Arrays of whatever kind as real numbers, and what rounding is worth in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neoscope.errors import AnalysisError

Array = NDArray[Any]

_DOUBLE, _SINGLE = (float(np.finfo(kind).eps) for kind in (np.float64, np.float32))


def as_array(x: Any, what: str = "the array") -> Array:
    """Return an array or a tensor of any device and dtype as numpy has it.

    Args:
        x: An array, a tensor, or lists of numbers.
        what: Named in errors.

    Raises:
        AnalysisError: Rows of unequal length, or what is no real number.
    """
    if hasattr(x, "detach"):
        check_numbers(x, what)
        x = x.detach().cpu()
        return np.asarray((x.double() if x.is_floating_point() else x).numpy())
    try:
        found = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise AnalysisError(f"{what} is no array: {error}") from error
    check_numbers(found, what)
    return found


def check_numbers(x: Any, what: str) -> None:
    """Refuse an array or a tensor that does not hold real numbers.

    Raises:
        AnalysisError: It holds complex numbers, texts or other objects.
    """
    is_real = not x.is_complex() if isinstance(x, torch.Tensor) else x.dtype.kind in "fiub"
    if not is_real:
        is_complex = "complex" in str(x.dtype)
        hint = "; give real and imaginary parts as columns of their own" if is_complex else ""
        raise AnalysisError(f"{what} holds {x.dtype}; expected real numbers{hint}")


def rounding_of(x: Any) -> float:
    """Return what the last digit of an array's or a tensor's numbers is worth, beside 1."""
    if isinstance(x, torch.Tensor):
        return torch.finfo(x.dtype).eps if x.is_floating_point() else _DOUBLE
    return max(float(np.finfo(x.dtype).eps), _DOUBLE) if x.dtype.kind == "f" else _DOUBLE


def flat_share(rounding: float = _DOUBLE) -> float:
    """Return the share of squared numbers that is no variance, but what rounding makes of them.

    Half precision counts as single: what it rounds away is as large as what many sites say.

    Args:
        rounding: What the last digit of a number is worth, beside the number.
    """
    return (8 * min(rounding, _SINGLE)) ** 2


def real_number(given: Any) -> float | None:
    """Return a real number as a float; None for what is none, texts included."""
    if isinstance(given, bool | str) or not hasattr(given, "__float__"):
        return None
    try:
        return float(given)
    except (TypeError, ValueError, RuntimeError):
        return None
