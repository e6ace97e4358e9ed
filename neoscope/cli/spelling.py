"""How words are spelled on the command line: ``-`` and ``_`` are one letter to every option."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeVar

import typer

from neoscope.errors import nearest

W = TypeVar("W", bound=StrEnum)


def spelled(word: str, known: Iterable[str]) -> str:
    """Return a word as it is known; one that is not known is returned as it was written.

    Example:
        >>> spelled("weighted-mean", ["mean", "weighted_mean"]), spelled("men", ["mean"])
        ('weighted_mean', 'men')
    """
    plain = _plain(word)
    return next((one for one in known if _plain(one) == plain), word)


def word_of(kind: type[W]) -> Callable[[Any], W]:
    """Return what reads an option's word as one of a few: a ``parser`` of typer's.

    Args:
        kind: The words.

    Returns:
        A function of the word, which raises ``typer.BadParameter`` for another word; it names the
        nearest.
    """

    def read(value: Any) -> W:
        known = [str(one.value) for one in kind]
        if (found := spelled(str(value), known)) in known:
            return kind(found)
        listed = ", ".join(map(repr, known))
        raise typer.BadParameter(
            f"{str(value)!r} is not one of {listed}{nearest(str(value), known)}"
        )

    return read


def one_of(kind: type[StrEnum]) -> dict[str, Any]:
    """Return what ``typer.Option`` is given for an option that takes one of a few words.

    Args:
        kind: The words; ``--help`` lists them.
    """
    return {"parser": word_of(kind), "metavar": f"<{'|'.join(kind)}>"}


def underscored(value: str | None) -> str | None:
    """Return a name of the library's, which have ``_``: what an option's ``callback`` calls."""
    return None if value is None else value.replace("-", "_")


def hyphened(value: str | None) -> str | None:
    """Return a name of the organism's tasks, which have ``-``, as a ``callback`` too."""
    return None if value is None else value.replace("_", "-")


def _plain(word: str) -> str:
    return word.strip().replace("-", "_")
