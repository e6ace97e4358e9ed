"""Numbers as a caller gives them: whole and within bounds, or an error that says what was found."""

from __future__ import annotations

from neoscope.errors import AnalysisError
from neoscope.indices import whole


def whole_number(value: object, name: str, least: int = 1, most: int | None = None) -> int:
    """Return a whole number as an int, numpy's and tensors' too.

    Args:
        value: What the caller gave.
        name: The argument, for the error.
        least: The smallest that means something.
        most: The largest; None for no bound.

    Raises:
        AnalysisError: It is no whole number, or out of bounds.

    Example:
        >>> whole_number(3, "k")
        3
        >>> whole_number(0, "k", most=500)
        Traceback (most recent call last):
        neoscope.errors.AnalysisError: k=0; expected a whole number from 1 to 500
    """
    number = whole(value)
    if number is None or number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise AnalysisError(f"{name}={value!r:.80}; expected a whole number {bounds}")
    return number
