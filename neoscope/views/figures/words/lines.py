"""Tokens laid out in lines of a fixed-width font: words stay whole, newlines break lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neoscope.views.figures.words.cells import BREAK, columns, written

COLUMNS = 96
"""Of a line."""


@dataclass(frozen=True)
class Piece:
    """A token, or the part of it that stands in one line."""

    token: int
    """Its number."""
    line: int
    start: int
    """First column."""
    width: int
    """Columns."""
    text: str
    """As it is written, not yet escaped."""


def lines(tokens: Sequence[str], width: int = COLUMNS) -> list[Piece]:
    r"""Lay tokens out, one after another.

    A word that does not fit goes to the next line; a word of more than a line is broken between
    its tokens. A token with a newline inside is several pieces.

    Args:
        tokens: Token strings.
        width: Columns of a line.

    Example:
        >>> [(piece.line, piece.start, piece.text) for piece in lines(["a\n", "b", "c"])]
        [(0, 0, 'a⏎'), (1, 0, 'b'), (1, 1, 'c')]
    """
    shown = [written(token) for token in tokens]
    pieces: list[Piece] = []
    line = at = 0
    for first, end in _spans(tokens):
        parts = [_parts(shown[i]) for i in range(first, end)]
        needed = sum(columns(part[0]) for part in parts)
        if at and at + needed > width >= needed:
            line, at = line + 1, 0
        for i, token in enumerate(parts, first):
            for part in token:
                size = columns(part)
                if at and at + size > width:
                    line, at = line + 1, 0
                pieces.append(Piece(i, line, at, size, part))
                at += size
                if part.endswith(BREAK):
                    line, at = line + 1, 0
    return pieces


def _parts(text: str) -> list[str]:
    """Split after every newline."""
    parts = text.split(BREAK)
    return [part + BREAK for part in parts[:-1]] + [part for part in parts[-1:] if part]


def _spans(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return where words begin and end: at tokens that begin with white space or end with one."""
    starts = [
        i
        for i, token in enumerate(tokens)
        if not i or token[:1].isspace() or tokens[i - 1][-1:].isspace()
    ]
    return list(zip(starts, [*starts[1:], len(tokens)], strict=False))
