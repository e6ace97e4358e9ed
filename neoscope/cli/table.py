"""The table of the cells of largest effect, in whatever width there is."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from neoscope.patching.results.result import PatchingResult

_LABEL = 12
"""Letters that a label is left at least."""
_GAP = 2


def show_cells(console: Console, result: PatchingResult, top: int) -> None:
    """Print the cells of largest effect.

    Args:
        console: Its width decides what is left out.
        result: What was measured.
        top: How many at most.
    """
    rows = result.top(top).to_dict("records")
    # What provably cannot move is told of in a note.
    rows = [row for row in rows if row["ran"]] or rows
    if not rows:
        console.print("no cell was done")
        return
    columns = {axis.name: [str(row[axis.name]) for row in rows] for axis in result.axes}
    words = {axis.name for axis in result.axes if isinstance(rows[0][axis.name], str)}
    columns["effect"] = [_signed(row["effect"]) for row in rows]
    if result.n_pairs > 1:
        columns["±"] = [number(row["stderr"]) for row in rows]
        columns["95 % interval"] = [_interval(row["low"], row["high"]) for row in rows]
        columns["p"] = [_p(row["p"]) for row in rows]
    columns[result.metric] = [number(row["patched"]) for row in rows]
    for name in result.components:
        columns[name] = [number(row[f"logit_{name}"]) for row in rows]
    optional = ["±", result.metric, "95 % interval", *result.components, "p"]
    while optional and _width(columns, words) > console.width:
        columns.pop(optional.pop(0), None)
    room = console.width - _width(columns, words)
    long = {name for name in words & columns.keys() if max(map(len, columns[name])) > _LABEL}
    longest = _LABEL + max(0, room) // max(1, len(long))
    table = new_table([(name, "left" if name in words else "right") for name in columns])
    for row in zip(*(_cut(columns[name], longest, name in long) for name in columns), strict=True):
        table.add_row(*map(_plain, row))
    console.print(table, highlight=False)


def _width(columns: Mapping[str, Sequence[str]], words: Collection[str]) -> int:
    """Return the width that a table needs at least."""
    widths = [max(map(len, (name, *cells))) for name, cells in columns.items()]
    least = [
        min(x, _LABEL) if name in words else x for name, x in zip(columns, widths, strict=True)
    ]
    return sum(least) + _GAP * (len(columns) - 1)


def _cut(cells: Sequence[str], longest: int, is_long: bool) -> Sequence[str]:
    return [
        f"{cell[: longest - 1].rstrip('…')}…" if is_long and len(cell) > longest else cell
        for cell in cells
    ]


def _plain(text: str) -> Text:
    from rich.text import Text

    return Text(visible(text))


def new_table(columns: Sequence[tuple[str, Any]]) -> Table:
    """Return a table without lines.

    Args:
        columns: Names, and ``"left"`` or ``"right"``.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, justify in columns:
        table.add_column(_plain(name), justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def visible(token: str) -> str:
    """Return a token as one can see it: a terminal would obey control characters.

    Args:
        token: What it stands for in its text.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in token)


def number(x: float) -> str:
    """Return a number in a few digits; "" for one that is not known.

    Args:
        x: NaN where it is not known.

    Example:
        >>> number(12.3456), number(0.0004321), number(-1e-17)
        ('12.346', '0.00043', '-1e-17')
    """
    if math.isnan(x):
        return ""
    if abs(x) >= 99.95:
        return f"{x:,.1f}"
    return f"{x:.3f}" if abs(x) >= 0.00995 or x == 0 else f"{x:.2g}"


def _interval(low: float, high: float) -> str:
    if math.isnan(low):
        return ""
    return " to ".join(number(x) if abs(x) < 9.995 else f"{x:.2f}" for x in (low, high))


def _signed(x: float) -> str:
    return f"+{number(x)}" if x > 0 else number(x)


def _p(x: float) -> str:
    return "" if math.isnan(x) else f"{x:.4f}"
