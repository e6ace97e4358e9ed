"""Checks of what a view is given: the kind of result, a text that is there, a known option."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from neoscope.errors import ViewError, nearest
from neoscope.indices import listed, whole

if TYPE_CHECKING:
    Flag = bool
else:
    Flag = Any


def is_a(result: object, kind: str) -> bool:
    """Whether something is of a class of that name, or of one derived from it.

    Args:
        result: Anything.
        kind: The class's name: it need not be imported to be recognised.
    """
    return any(base.__name__ == kind for base in type(result).__mro__)


def expect(result: object, view: str, kinds: dict[str, str]) -> None:
    """Refuse what a view cannot draw, and name the view that can.

    Args:
        result: What was given.
        view: The view's name, for the message.
        kinds: Class names that it draws, and what returns each.

    Raises:
        ViewError: It is something else.
    """
    if any(is_a(result, kind) for kind in kinds):
        return
    from neoscope.views.dispatch import view_of

    other = view_of(result)
    hint = f"; views.{other} draws it" if other else ""
    if is_a(result, "ActivationCache"):
        maker = next((source for source in kinds.values() if _reads_a_cache(source)), "")
        hint = f"; use {maker.split()[0]}(cache)" if maker else hint
    wanted = ", or ".join(f"{kind} ({source})" for kind, source in kinds.items())
    raise ViewError(f"views.{view} draws {wanted}; found {type(result).__name__}{hint}")


def _reads_a_cache(source: str) -> bool:
    """Whether ``"analysis.logit_lens or tuned_lens"`` begins with what takes a cache."""
    from neoscope import analysis

    home, _, name = source.split()[0].partition(".")
    maker = getattr(analysis, name, None) if home == "analysis" else None
    return callable(maker) and next(iter(inspect.signature(maker).parameters), "") == "cache"


def flag(value: object, name: str, view: str) -> bool:
    """Return True or False.

    Args:
        value: What was given.
        name: The option's.
        view: The view's name, for the message.

    Raises:
        ViewError: It is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ViewError(f"views.{view}: {name}={value!r}; expected True or False")
    return bool(value)


def one_of(value: object, name: str, known: Sequence[str], view: str) -> str:
    """Return an option's value if it is one of those known.

    Args:
        value: What was given.
        name: The option's.
        known: What it may be.
        view: The view's name, for the message.

    Raises:
        ViewError: It is none of them.
    """
    if isinstance(value, str) and value in known:
        return value
    hint = nearest(str(value), known)
    raise ViewError(f"views.{view}: {name}={value!r}; it is one of {', '.join(known)}{hint}")


def number(value: object, name: str, view: str, least: int = 1) -> int:
    """Return a whole number of at least so much.

    Raises:
        ViewError: It is none.
    """
    found = whole(value)
    if found is None or found < least:
        raise ViewError(
            f"views.{view}: {name}={value!r}; expected a whole number of at least {least}"
        )
    return found


def row_of(text: object, n: int, view: str) -> int:
    """Return the number of a text, counted from 0; a negative one counts from the end.

    Args:
        text: Which.
        n: How many there are.
        view: The view's name, for the message.

    Raises:
        ViewError: There is no such text.
    """
    found = whole(text)
    if found is None or not -n <= found < n:
        have = "no text" if n == 0 else "only text 0" if n == 1 else f"texts 0 to {n - 1}"
        raise ViewError(f"views.{view}: there is no text {text!r}; this result holds {have}")
    return found % n


def tokens_of(texts: Int[np.ndarray, " token"], text: object, view: str) -> list[int]:
    """Return the places of the tokens of one text.

    Args:
        texts: Of each token, in which text it stands.
        text: Which text, by its place among those that have tokens.
        view: The view's name, for the message.

    Raises:
        ViewError: There is no such text.
    """
    numbers = list(dict.fromkeys(texts.tolist()))
    if not numbers:
        raise ViewError(f"views.{view}: this result holds no token")
    wanted = numbers[row_of(text, len(numbers), view)]
    return [int(i) for i in np.flatnonzero(texts == wanted)]


def window(positions: Any, n: int, view: str) -> list[int]:
    """Return which of a text's tokens are shown, in order.

    Args:
        positions: None for all, one position, several, a range or a slice; negative ones count
            from the end.
        n: How many tokens there are.
        view: The view's name, for the message.

    Raises:
        ViewError: A position is not there, or there is none.
    """
    if positions is None:
        return list(range(n))
    if isinstance(positions, slice):
        found = list(range(n))[positions]
    else:
        given = [whole(item) for item in listed(positions)]
        found = [i for i in given if i is not None]
        if len(found) < len(given):
            raise ViewError(f"views.{view}: positions={positions!r}; expected whole numbers")
    if not found:
        raise ViewError(f"views.{view}: positions={positions!r} names no token of the {n}")
    outside = [i for i in found if not -n <= i < n]
    if outside:
        raise ViewError(f"views.{view}: there is no position {outside[0]}; the text has {n} tokens")
    return sorted({i % n for i in found})
