"""What a section of the report is made of: figures, tables, paragraphs and code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Cell = Any
"""A number, a text, or markupsafe's Markup of a label that is escaped already."""
_NOT_KNOWN = "–"
_LONGEST = 200
"""Letters of a cell."""


class Unavailable(Exception):  # noqa: N818  # no error: the page says why there is nothing to show
    """A section that this model has nothing for; the message says why."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure and what it shows, in words for those who cannot see it."""

    figure: Any
    """A plotly figure."""
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    shut: bool = False
    """Shown only when asked for: the numbers behind a figure."""
    note: str = ""


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    kind: str = ""
    """``"warn"`` for what must not be overlooked."""


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


Block = Picture | Table | Prose | Code


@dataclass(frozen=True)
class Section:
    """A part of the report, as it came out."""

    name: str
    """By which it is asked for."""
    title: str
    seen: str
    """What is seen here."""
    read: str
    """How to read it, and how not to."""
    blocks: tuple[Block, ...] = ()
    """Of a section that failed: what there was until then."""
    status: str = "done"
    """``"done"``, ``"skipped"`` (this model has nothing for it) or ``"failed"``."""
    note: str = ""
    """Why it was skipped, or what went wrong."""


def table(
    caption: str,
    frame: pd.DataFrame,
    *,
    most: int = 40,
    shut: bool = False,
    more: str = "",
    digits: int = 3,
) -> Table:
    """Return a frame as a table.

    Args:
        caption: What it shows.
        frame: Its columns are shown in order.
        most: Rows shown.
        shut: Show it only when asked for.
        more: Where the rest is, if there are more rows.
        digits: Significant digits of numbers.
    """
    rows = [
        tuple(said(value, digits) for value in row)
        for row in frame.head(most).itertuples(index=False, name=None)
    ]
    left = len(frame) - len(rows)
    note = f"{left:,} more rows{f': {more}' if more else ''}." if left > 0 else ""
    columns = tuple(str(name).replace("_", " ") for name in frame.columns)
    return Table(caption, columns, tuple(rows), shut, note)


def grid(
    caption: str, values: Any, rows: Sequence[Any], columns: Sequence[Any], corner: str
) -> Table:
    """Return a matrix of numbers as a table, shut.

    Args:
        caption: What it shows, with the unit.
        values: ``[row][column]``; NaN where there is none.
        rows: Names of the rows.
        columns: Names of the columns.
        corner: What rows are.
    """
    body = tuple(
        (name, *(said(value) for value in line))
        for name, line in zip(rows, np.asarray(values), strict=True)
    )
    return Table(caption, (corner, *(str(name) for name in columns)), body, shut=True)


def said(value: Any, digits: int = 3) -> Cell:
    """Return a value as it stands in a table.

    Args:
        value: A number, a text, None.
        digits: Significant digits of a number.

    Example:
        >>> said(0.123456), said(3), said(float("nan")), said(True)
        ('0.123', '3', '–', 'yes')
    """
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return _NOT_KNOWN
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{float(value):.{digits}g}"
    if hasattr(value, "__html__"):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
