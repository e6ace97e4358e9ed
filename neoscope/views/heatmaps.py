"""Heatmaps: one way to draw a table of numbers; labels thin out, and gaps are named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Shaped

from neoscope.errors import ViewError, nearest
from neoscope.views.labels import ticks
from neoscope.views.theme import DIVERGING, SEQUENTIAL, add_note, new_figure

MAX_CELLS = 250_000
"""Above so many cells, blocks of cells are shown as one: a page would no longer scroll."""
SCALES = ("share", "amount", "signed")

Table = Shaped[np.ndarray, "row column"]


def heatmap(
    values: Table,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    scale: str,
    unit: str,
    title: str,
    subtitle: str = "",
    row_title: str = "",
    column_title: str = "",
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    hover: str = "",
    missing: str = "not measured",
    square: bool = False,
    height: int | None = None,
) -> go.Figure:
    """Draw one table of numbers.

    Args:
        values: One number a cell; NaN leaves the cell blank and is counted in the note.
        rows: The rows' names, unique and escaped (:func:`neoscope.views.labels.numbered`).
        columns: The columns' names, likewise.
        scale: ``"share"`` (0 to 1), ``"amount"`` (0 to the largest) or ``"signed"`` (symmetric
            about 0).
        unit: Of the values, for the colour bar and on hover.
        title: What is shown.
        subtitle: Of which model, text.
        row_title: What a row is.
        column_title: What a column is.
        row_labels: What to write at the rows; their names if not given.
        column_labels: What to write at the columns.
        hover: More lines for the hover box, as a plotly template (``%{customdata[0]}``).
        missing: Why a cell may hold no number, for the note; ``""`` where it explains itself.
        square: Give cells equal sides.
        height: In pixels; by default it follows the number of rows.

    Raises:
        ViewError: There is no cell, or names and values differ in number.
    """
    values = checked(values, rows, columns)
    shown, at_rows, at_columns, merged = shrunk(values, scale)
    rows, columns = [rows[i] for i in at_rows], [columns[i] for i in at_columns]
    row_labels = [row_labels[i] for i in at_rows] if row_labels else rows
    column_labels = [column_labels[i] for i in at_columns] if column_labels else columns
    height = height or int(min(900, max(260, 170 + 22 * len(rows))))
    figure = new_figure(title, subtitle, height=height)
    figure.add_trace(panel(shown, rows=rows, columns=columns, unit=unit, hover=hover,
                           row_title=row_title, column_title=column_title))  # fmt: skip
    figure.update_layout(coloraxis=colours(values, scale, unit))
    figure.update_xaxes(
        title=column_title, type="category", showgrid=False, **ticks(columns, column_labels)
    )
    figure.update_yaxes(title=row_title, type="category", autorange="reversed", showgrid=False,
                        **ticks(rows, row_labels, most=max(4, height // 16)))  # fmt: skip
    if square:
        figure.update_yaxes(scaleanchor="x", constrain="domain")
        figure.update_xaxes(constrain="domain")
    for note in (merged, gaps(values, missing)):
        if note:
            add_note(figure, note)
    return figure


def panel(
    values: Table,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    unit: str,
    row_title: str = "row",
    column_title: str = "column",
    hover: str = "",
    coloraxis: str = "coloraxis",
    **options: Any,
) -> go.Heatmap:
    """Return one heatmap trace, for a figure of several that share a colour scale.

    Args:
        values: One number a cell; NaN leaves it blank.
        rows: The rows' unique names.
        columns: The columns' unique names.
        unit: On hover.
        row_title: What a row is, on hover.
        column_title: What a column is, on hover.
        hover: More lines for the hover box.
        coloraxis: The scale it shares.
        **options: What else ``go.Heatmap`` takes.
    """
    lines = [f"{row_title} %{{y}}", f"{column_title} %{{x}}", f"<b>%{{z:.4g}}</b> {unit}", hover]
    gap = 1 if max(values.shape) <= 64 else 0
    return go.Heatmap(
        z=np.asarray(values, np.float32), x=list(columns), y=list(rows), coloraxis=coloraxis,
        hovertemplate="<br>".join(filter(None, lines)) + "<extra></extra>", xgap=gap, ygap=gap,
        hoverongaps=False, **options,
    )  # fmt: skip


def colours(values: Any, scale: str, unit: str) -> dict[str, Any]:
    """Return plotly's ``coloraxis`` for values.

    Args:
        values: All that share the scale.
        scale: ``"share"``, ``"amount"`` or ``"signed"``.
        unit: The colour bar's title.

    Raises:
        ViewError: There is no such scale.
    """
    if scale not in SCALES:
        close = nearest(scale, SCALES)
        raise ViewError(f"scale is {scale!r}; it is one of {', '.join(SCALES)}{close}")
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    bar = {"title": {"text": unit, "side": "right", "font": {"size": 13}}}
    if scale == "signed":
        most = max(abs(low), abs(high)) or 1.0
        return {"colorscale": DIVERGING, "cmin": -most, "cmax": most, "colorbar": bar}
    top = 1.0 if scale == "share" else high or 1.0
    start = 0.0 if scale == "share" or low >= 0 else low
    return {"colorscale": SEQUENTIAL, "cmin": start, "cmax": top, "colorbar": bar}


def checked(values: Table, rows: Sequence[str], columns: Sequence[str]) -> Table:
    """Return the values if there is a cell to draw and every row and column has one name.

    Raises:
        ViewError: Otherwise.
    """
    if values.ndim != 2 or not values.size:
        raise ViewError(f"there is nothing to draw: the values have shape {values.shape}")
    if values.shape != (len(rows), len(columns)):
        raise ViewError(
            f"values have shape {values.shape}, but there are {len(rows)} names for rows and "
            f"{len(columns)} for columns"
        )
    return values


def shrunk(
    values: Table, scale: str, most: int | None = None, *, most_columns: int | None = None
) -> tuple[Shaped[np.ndarray, "block_row block_column"], list[int], list[int], str]:
    """Merge blocks of cells where there are more than a page can show.

    A block shows its largest value, or where values have signs the one farthest from 0, so that
    nothing that stands out vanishes.

    Args:
        values: One number a cell.
        scale: As in :func:`heatmap`.
        most: Most cells that are drawn; ``MAX_CELLS`` if not given.
        most_columns: Most columns: more than a figure has pixels would flicker.

    Returns:
        The values to draw, the rows and the columns at which they begin, and what to tell the
        reader (nothing if all cells are drawn).
    """
    n, m = values.shape
    most = most or MAX_CELLS
    down, across = _blocks(n, m, most)
    across = max(across, math.ceil(m / most_columns)) if most_columns else across
    if down == across == 1:
        return values, list(range(n)), list(range(m)), ""
    padded = np.full((-(-n // down) * down, -(-m // across) * across), np.nan)
    padded[:n, :m] = values
    parted = padded.reshape(len(padded) // down, down, -1, across).swapaxes(1, 2)
    blocks = parted.reshape(*parted.shape[:2], down * across)
    weight = np.abs(blocks) if scale == "signed" else blocks
    weight = np.where(np.isnan(weight), -np.inf, weight)
    merged = np.take_along_axis(blocks, weight.argmax(-1)[..., None], -1)[..., 0]
    which = "the value farthest from 0" if scale == "signed" else "the largest value"
    note = f"{n:,} × {m:,} cells, drawn in blocks of {down} × {across}: each shows {which} in it."
    return merged, list(range(0, n, down)), list(range(0, m, across)), note


def _blocks(n: int, m: int, most: int) -> tuple[int, int]:
    """How many rows and columns make a block, so that there are at most so many blocks."""
    if n * m <= most:
        return 1, 1
    side = math.sqrt(most)
    down, across = (max(1, math.ceil(one / side)) for one in (n, m))
    if down == 1:
        return 1, math.ceil(n * m / most)
    return (math.ceil(n * m / most), 1) if across == 1 else (down, across)


def gaps(values: Any, why: str) -> str:
    """Say how many cells hold no number.

    Args:
        values: One number a cell.
        why: Why that may be; nothing is said of gaps that explain themselves (``""``).
    """
    absent: Bool[np.ndarray, "..."] = ~np.isfinite(np.asarray(values, float))
    n = int(absent.sum())
    if not n or not why:
        return ""
    return f"{n:,} of {absent.size:,} cells hold no number ({why}); they are left blank."
