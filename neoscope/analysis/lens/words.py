"""The likeliest token of each row of a lens as a grid: rows down, positions that fit across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neoscope.analysis.words import visible

if TYPE_CHECKING:
    from neoscope.analysis.lens.result import LensResult

GAP = 2
_WIDE, _NARROW = 10, 4
_WIDTH, _MOST_ROWS = 80, 40


def cell(token: str, width: int) -> str:
    """Return a token without the space around it, cut to a width.

    Example:
        >>> cell(" Wednesday", 6), cell(" Mary", 6), cell(" ", 6)
        ('Wedne…', 'Mary', ' ')
    """
    said = visible(token).strip() or visible(token)
    return said if len(said) <= width else f"{said[: width - 1]}…"


def places(lens: LensResult, width: int) -> tuple[dict[int, int], int]:
    """Return which tokens of the first text are shown, each with its width, and how many it has.

    Args:
        lens: What was read.
        width: Of the grid, with the labels of its rows.
    """
    first = [i for i, text in enumerate(lens.text.tolist()) if text == lens.text[0]]
    words = lens.top_tokens
    wide = {i: _width([lens.tokens[i], *words[:, i, 0]]) for i in first}
    label = max(len("layer"), *map(len, lens.labels))
    kept = thinned(first, wide, width - label)
    return {i: wide[i] for i in kept}, len(first)


def thinned(tokens: Sequence[int], width: dict[int, int], room: int) -> list[int]:
    """Return as many tokens as fit, evenly spread, the last always among them.

    Args:
        tokens: All.
        width: Of the column of each.
        room: For all columns, each with a gap before it.
    """
    last = len(tokens) - 1
    for n in range(len(tokens), 0, -1):
        kept = [tokens[last - round(i * last / max(1, n - 1))] for i in range(n)][::-1]
        if sum(width[i] + GAP for i in kept) <= room:
            return kept
    return [tokens[last]]


def _width(tokens: Sequence[str]) -> int:
    return min(_WIDE, max(_NARROW, *(len(visible(token).strip()) for token in tokens)))


def grid(lens: LensResult) -> tuple[str, list[list[str]]]:
    """Return what is shown, in a line, and the cells: positions, tokens, then each row's token.

    Args:
        lens: What was read. Of one with very many rows, such as all heads, nothing is shown.
    """
    if len(lens.labels) > _MOST_ROWS:
        return "", []
    shown, n = places(lens, _WIDTH)
    rows = [
        ["layer", *(str(lens.position[i]) for i in shown)],
        ["", *(cell(lens.tokens[i], width) for i, width in shown.items())],
    ]
    words = lens.top_tokens
    for row, label in enumerate(lens.labels):
        rows.append([label, *(cell(words[row, i, 0], width) for i, width in shown.items())])
    texts = len(set(lens.text.tolist()))
    where = f" at {len(shown)} of {n} positions" if len(shown) < n else ""
    where += f" of the first of {texts:,} texts" if texts > 1 else ""
    return f"the likeliest token of each row{where}", rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Return cells in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        (" " * GAP).join(x.ljust(width) for x, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
