"""A table of queries and keys as a figure: the future blank, what cannot be seen grey and edged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Shaped

from neoscope.views.heatmaps import colours, gaps, panel, shrunk
from neoscope.views.labels import ticks
from neoscope.views.theme import MUTED, add_note, new_figure

Table = Shaped[np.ndarray, "query key"]
Blocks = Shaped[np.ndarray, "query_block key_block"]
VEIL = "rgba(125, 135, 148, 0.26)"
"""Over what a head cannot see: the muted grey, on a light and on a dark card."""


def scale_of(values: Any, usual: str = "share") -> str:
    """Return the scale on which nothing is cut off: edits may have left shares outside 0 to 1.

    Args:
        values: What will be drawn.
        usual: The scale where nothing is out of the ordinary.
    """
    finite = np.asarray(values)[np.isfinite(values)]
    if finite.size and finite.min() < -1e-6:
        return "signed"
    return "amount" if finite.size and finite.max() > 1 + 1e-3 else usual


def blocks(names: Sequence[str], starts: Sequence[int]) -> list[str]:
    """Return a name for each block of tokens: its first and its last one.

    Args:
        names: Of the tokens.
        starts: Where blocks begin.
    """
    ends = [*starts[1:], len(names)]
    pairs = zip(starts, ends, strict=True)
    return [names[a] if b - a == 1 else f"{names[a]} … {names[b - 1]}" for a, b in pairs]


def square(
    values: Table,
    *,
    hidden: Bool[np.ndarray, "query key"],
    future: Bool[np.ndarray, "query key"],
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    title: str,
    subtitle: str,
    hidden_says: str,
    scale: str | None = None,
    missing: str = "the model gave no number",
    names: tuple[str, str] = ("from", "to"),
    axes: tuple[str, str] = ("from (looks)", "to (is looked at)"),
) -> go.Figure:
    """Draw how much each query gets from each key.

    Args:
        values: One number for each pair.
        hidden: Earlier keys that cannot be seen: grey, with a line at their edge.
        future: Keys after the query: blank.
        rows: The queries' names.
        columns: The keys' names.
        unit: Of the values.
        title: What is shown.
        subtitle: Of which model, text.
        hidden_says: Why keys are hidden, on hover.
        scale: As of :func:`~neoscope.views.heatmaps.heatmap`; by default a share, where values
            are shares.
        missing: Why a number may be missing, for the note.
        names: What queries and keys are, on hover.
        axes: What they are, at the axes.
    """
    scale = scale or scale_of(values)
    values = np.where(hidden | future, np.nan, np.asarray(values, np.float32))
    shown, at_rows, at_columns, merged = shrunk(values, scale)
    veiled = veiled_blocks(hidden, shown, (at_rows, at_columns))
    row_names, column_names = blocks(rows, at_rows), blocks(columns, at_columns)
    width, height = size(*shown.shape)
    figure = new_figure(title, subtitle, width=width, height=height)
    figure.add_trace(
        panel(shown, rows=row_names, columns=column_names, unit=unit, row_title=names[0],
              column_title=names[1])
    )  # fmt: skip
    figure.update_layout(coloraxis=colours(values, scale, unit))
    if np.isfinite(veiled).any():
        figure.add_trace(veil(veiled, row_names, column_names, hidden_says, names))
        figure.add_shape(type="path", path=edge(np.isfinite(veiled)), line=EDGE)
    plain = {"type": "category", "showgrid": False, "tickfont": {"size": 11}}
    across = ticks(column_names, [columns[i] for i in at_columns])
    down = ticks(row_names, [rows[i] for i in at_rows], max(4, height // 17))
    angle = -90 if len(across["tickvals"]) > 30 else -45
    figure.update_xaxes(plain, title=axes[1], constrain="domain", tickangle=angle, **across)
    figure.update_yaxes(plain, title=axes[0], autorange="reversed", **down)
    if len(rows) == len(columns):
        figure.update_yaxes(scaleanchor="x", constrain="domain")
    for note in (merged, gaps(np.where(hidden | future, 0, values), missing)):
        if note:
            add_note(figure, note)
    return figure


def size(n: int, m: int) -> tuple[int | None, int]:
    """Return a figure's width and height: cells of 28 pixels, or all the page's width.

    Args:
        n: Rows.
        m: Columns.
    """
    if n == m and 28 * m <= 560:
        return max(460, 260 + 28 * m), 200 + 28 * max(n, 4)
    return None, int(min(900, max(300, 190 + 22 * n)))


EDGE = {"color": MUTED, "width": 1.6, "dash": "solid"}


def veiled_blocks(hidden: Table, shown: Blocks, at: tuple[list[int], list[int]]) -> Blocks:
    """Return 1 where a block holds nothing but hidden cells (or the future), NaN elsewhere.

    Args:
        hidden: Which cells are hidden.
        shown: The blocks' values.
        at: Rows and columns at which blocks begin.
    """
    if hidden.shape == shown.shape:
        return np.where(hidden, np.float32(1), np.float32(np.nan))
    some = np.add.reduceat(np.add.reduceat(hidden.astype(int), at[0], 0), at[1], 1) > 0
    return np.where(some & np.isnan(shown), np.float32(1), np.float32(np.nan))


def veil(
    veiled: Table,
    rows: Sequence[str],
    columns: Sequence[str],
    says: str,
    names: tuple[str, str] = ("from", "to"),
) -> go.Heatmap:
    """Return a grey layer over the cells that cannot hold anything.

    Args:
        veiled: 1 where the layer lies, NaN elsewhere.
        rows: The rows' names.
        columns: The columns' names.
        says: Why, on hover.
        names: What rows and columns are, on hover.
    """
    gap = 1 if max(veiled.shape) <= 64 else 0
    return go.Heatmap(
        z=veiled, x=list(columns), y=list(rows), xgap=gap, ygap=gap, showscale=False,
        hoverongaps=False,
        colorscale=[[0, VEIL], [1, VEIL]], zmin=0, zmax=2,
        hovertemplate=f"{names[0]} %{{y}}<br>{names[1]} %{{x}}<br>{says}<extra></extra>",
    )  # fmt: skip


def edge(veiled: Bool[np.ndarray, "query key"], down: int = 0, across: int = 0) -> str:
    """Return the line between hidden keys and those that are seen, as plotly's path.

    Args:
        veiled: Which cells are hidden; in each row they come first.
        down: Rows above the table.
        across: Columns left of it.
    """
    count = veiled.sum(1)
    rows = count.nonzero()[0]
    steps = [f"M {across - 0.5:g},{down + rows[0] - 0.5:g}"] if rows.size else []
    for row in range(rows[0], rows[-1] + 1) if rows.size else ():
        x, y = f"{across + count[row] - 0.5:g}", down + row
        steps += [f"L {x},{y - 0.5:g}", f"L {x},{y + 0.5:g}"]
    return " ".join(steps)
