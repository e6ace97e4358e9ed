"""Reading the options of tasks: what is mistyped must not become a sentence with wrong labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from neoscope.errors import ArgumentError, nearest
from neoscope.indices import whole


def checked(
    task: str, draw: Callable[..., Any], options: Mapping[str, Any], unlisted: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the options as the task's generator takes them.

    Args:
        task: Its name, for errors.
        draw: What draws a sentence; its options are its keyword-only parameters, and their
            annotations tell what each takes.
        options: What was asked for. Yes and no may be numpy's, as may whole numbers, and a range
            may be one number.
        unlisted: Options that an error does not offer.

    Raises:
        ArgumentError: The generator does not take such an option, or not with such a value.
    """
    parameters = inspect.signature(draw, eval_str=True).parameters.values()
    kinds = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    for option in options:
        if option not in kinds:
            known = [name for name in kinds if name not in set(unlisted)]
            raise ArgumentError(
                f"{task} has no option {option!r}; there are {', '.join(known)}"
                f"{nearest(option, known)}"
            )
    return {option: _read(option, value, kinds[option]) for option, value in options.items()}


def _read(option: str, value: Any, kind: Any) -> Any:
    if kind in (bool, bool | None):
        return _yes_or_no(option, value, optional=kind is not bool)
    if kind in (int, int | None):
        number = whole(value)
        if number is None and (kind is int or value is not None):
            raise ArgumentError(f"{option} is {value!r}; expected a whole number")
        return number
    if kind == tuple[int, int]:
        return _range(option, value)
    return value  # Words, which each task looks up.


def _yes_or_no(option: str, value: Any, *, optional: bool) -> bool | None:
    if value is None and optional:
        return None
    scalar = "bool" in str(getattr(value, "dtype", "")) and not tuple(value.shape)
    if isinstance(value, bool) or scalar:
        return bool(value)
    also = ", or None to leave it to chance" if optional else ""
    raise ArgumentError(f"{option} is {value!r}; expected True or False{also}")


def _range(option: str, value: Any) -> tuple[int, int]:
    one = whole(value)
    ends = (one, one) if one is not None else value
    if isinstance(ends, tuple | list) and len(ends) == 2:
        low, high = map(whole, ends)
        if low is not None and high is not None:
            return low, high
    raise ArgumentError(f"{option} is {value!r}; expected a whole number or (low, high)")
