"""Templates of sentences, and the choices that a caller may make in place of chance."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from neoscope.errors import ArgumentError, nearest
from neoscope.indices import whole

Piece = str | tuple[str, str]
"""Words, or words and their role."""

_T = TypeVar("_T")


def fill(template: str, roles: Mapping[str, str], **slots: str) -> list[Piece]:
    """Return a template's words, each filled slot with its role.

    Args:
        template: Words and slots such as ``{A}``.
        roles: The role of what stands in a slot; by default the slot's own name.
        slots: What stands in each.

    Example:
        >>> fill("{N} smiled .", {"N": "antecedent"}, N="Mary")
        [('Mary', 'antecedent'), 'smiled', '.']
    """
    pieces: list[Piece] = []
    for word in template.split():
        if word.startswith("{"):
            slot = word[1:-1]
            pieces.append((slots[slot], roles.get(slot, slot)))
        else:
            pieces.append(word)
    return pieces


def one_of(option: str, value: str, known: Iterable[str]) -> str:
    """Return ``value``, or raise ``ArgumentError`` unless it is known."""
    known = tuple(known)
    if value not in known:
        raise ArgumentError(
            f"{option} is {value!r}; expected one of {', '.join(map(repr, known))}"
            f"{nearest(str(value), known)}"
        )
    return value


def chosen(rng: random.Random, option: str, value: str | None, known: Sequence[str]) -> str:
    """Return the caller's choice if there is one, else one by chance."""
    return rng.choice(known) if value is None else one_of(option, value, known)


def pick(rng: random.Random, items: Sequence[_T], template: int | None) -> int:
    """Return the number of the caller's template, else one by chance.

    Raises:
        ArgumentError: There is no such template.
    """
    if template is None:
        return rng.randrange(len(items))
    k = whole(template)
    if k is None or not 0 <= k < len(items):
        raise ArgumentError(
            f"template is {template!r}; expected a whole number from 0 to {len(items) - 1}"
        )
    return k
