"""Panels: heatmaps of effects side by side, with what cannot move and what was not measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.views.figures.patching.cells import Cells, safe
from neoscope.views.figures.patching.detail import Detail
from neoscope.views.figures.patching.layout import HEAD, Layout, Panel, column_ticks
from neoscope.views.figures.patching.marks import (
    add_keys,
    mark,
    mark_gaps,
    notes_of,
    refs,
    still_cells,
    strip,
)  # fmt: skip
from neoscope.views.figures.patching.names import Names
from neoscope.views.heatmaps import colours, panel, shrunk
from neoscope.views.theme import INK, add_note, template, titled

MOST_DETAILS = 60_000
"""Cells of a figure that can hold intervals and logits; above, hovering tells the effect alone."""


def drawn(
    panels: Sequence[Panel],
    layout: Layout,
    title: str,
    subtitle: str,
    *,
    significance: float | None = None,
    places: Sequence[tuple[int, int]] | None = None,
    spans: Sequence[Sequence[Any]] | None = None,
    notes: Sequence[str] = (),
) -> go.Figure:
    """Draw panels that share one scale of colours.

    Args:
        panels: Each with two axes.
        layout: From :func:`arranged`, or made for them.
        title: What is shown.
        subtitle: Of which model, texts, unit.
        significance: Cells whose p-value is below it are marked; None: none.
        places: Row and column of each panel, counted from 1; row by row if not given.
        spans: plotly's ``specs``, for panels of several columns.
        notes: More to tell the reader.
    """
    across = layout.n_columns
    places = places or [(1 + i // across, 1 + i % across) for i in range(len(panels))]
    figure = make_subplots(
        rows=len(layout.heights), cols=across,
        specs=[list(row) for row in spans] if spans else None,
        horizontal_spacing=min(0.06, 0.3 / across), vertical_spacing=0.0,
    )  # fmt: skip
    figure.update_layout(template=template())
    titled(figure, title, subtitle)
    first = panels[0].cells
    figure.update_layout(coloraxis=scale_of([one.cells for one in panels], layout.inner))
    told: list[str] = []
    detailed = sum(one.cells.effect.size for one in panels) <= MOST_DETAILS
    for one, place in zip(panels, places, strict=True):
        told += _add(figure, one, place, layout, places, detailed, significance)
    if not detailed and first.details:
        told.append("Hovering tells the effect alone: there are too many cells for more.")
    told += [*notes, *notes_of(panels, significance)]
    add_keys(figure, panels, significance)
    head = HEAD if any(one.title for one in panels) else 8
    _frame(figure, layout, head, list(dict.fromkeys(told)))
    return figure


def scale_of(cells: Sequence[Cells], height: int) -> dict[str, Any]:
    """Return one scale of colours for all.

    Args:
        cells: What shares it.
        height: Of the panels that do, in pixels.
    """
    every = np.concatenate([one.effect.reshape(-1) for one in cells])
    scale = colours(every, cells[0].scale, cells[0].unit)
    bar = {"lenmode": "pixels", "len": int(min(360, max(150, height))), "y": 1, "yanchor": "top",
           "nticks": 7, "title": {"text": cells[0].unit, "side": "top"}}  # fmt: skip
    scale["colorbar"] = {**scale["colorbar"], **bar}
    return scale


def _add(
    figure: go.Figure,
    one: Panel,
    place: tuple[int, int],
    layout: Layout,
    places: Sequence[tuple[int, int]],
    detailed: bool,
    significance: float | None,
) -> list[str]:
    """Add a panel and return what must be said of it."""
    cells = one.cells
    effect, at_rows, at_columns, merged = shrunk(cells.effect, cells.scale)
    rows, columns = one.rows.take(at_rows), one.columns.take(at_columns)
    whole = not merged
    row, col = place
    where = {"row": row, "col": col}
    hover, data = hovered(cells.details) if whole and detailed else ("", None)
    still = ~cells.ran if whole else np.zeros(effect.shape, bool)
    measured = np.where(still, np.nan, effect)
    if np.isfinite(measured).any() or not still.any():
        figure.add_trace(panel(
            measured, rows=rows.names, columns=columns.names, unit=cells.unit, hover=hover,
            row_title=rows.title, column_title=columns.title, customdata=data,
            name=one.title or safe(cells.what),
        ), **where)  # fmt: skip
    if still.any():
        figure.add_trace(still_cells(rows, columns, still, cells.still), **where)
    mark_gaps(figure, rows, columns, np.isnan(effect) & ~still, where)
    if significance is not None and whole:
        found = (cells.p < significance) & ~still & ~np.isnan(effect)
        mark(figure, rows, columns, found, where, symbol="circle", size=5, color="#ffffff",
              line={"color": INK, "width": 1.2})  # fmt: skip
    _axes(figure, rows, columns, where, layout, places)
    if whole:
        strip(figure, columns, where)
    if one.title:
        x, y = refs(figure, where)
        figure.add_annotation(text=f"<b>{one.title}</b>", x=0, y=1, xref=f"{x} domain",
                              yref=f"{y} domain", xanchor="left", yanchor="bottom", yshift=8,
                              showarrow=False)  # fmt: skip
    return [merged] if merged else []


def hovered(details: Sequence[Detail]) -> tuple[str, Any]:
    """Return details as lines of a hover template, and the numbers that they take.

    Args:
        details: Of the cells of one trace.
    """
    lines: list[str] = []
    arrays: list[Any] = []
    for one in details:
        line, *rest = re.split(r"\{(:?[^}]*)\}", one.template)
        for k, (form, text) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
            line += f"%{{customdata[{len(arrays)}]{form}}}" + text
            arrays.append(np.asarray(one.arrays[k], np.float32))
        lines.append(line)
    return "<br>".join(lines), np.stack(arrays, -1) if arrays else None


def _axes(
    figure: go.Figure,
    rows: Names,
    columns: Names,
    where: dict[str, int],
    layout: Layout,
    places: Sequence[tuple[int, int]],
) -> None:
    """Name the axes; labels stand only where no panel with the same ones stands beyond."""
    row, col = where["row"], where["col"]
    across = layout.across[row - 1]
    lowest = (row + 1, col) not in places or layout.below[row - 1] > HEAD + 20
    figure.update_xaxes(
        type="category", showgrid=False, showticklabels=lowest, automargin=False,
        title=columns.title if lowest else None, categoryorder="array",
        categoryarray=list(columns.names), range=[-0.5, len(columns) - 0.5],
        ticks="outside" if lowest else "", **column_ticks(columns, across)[0], **where,
    )  # fmt: skip
    height = layout.heights[row - 1]
    figure.update_yaxes(
        type="category", showgrid=False, showticklabels=col == 1, categoryorder="array",
        title=rows.title if col == 1 else None, categoryarray=list(rows.names),
        range=[len(rows) - 0.5, -0.5], domain=layout.domain(row - 1),
        ticks="outside" if col == 1 else "",
        **rows.ticks(max(2, height // 15), flat=True), **where,
    )  # fmt: skip


def _frame(figure: go.Figure, layout: Layout, head: int, notes: Sequence[str]) -> None:
    """Set height, margins and the place of the legend."""
    for note in notes:
        add_note(figure, note)
    legend = any(trace.showlegend for trace in figure.data)
    top = int(figure.layout.margin.t) - 16
    margin = top + (30 if legend else 14) + head
    height = margin + layout.inner + layout.below[-1]
    figure.update_layout(
        height=height,
        margin={"t": margin, "b": layout.below[-1], "r": 96},
        legend={"orientation": "h", "x": 0, "y": 1 - top / height, "yref": "container",
                "yanchor": "top", "xanchor": "left"},
    )  # fmt: skip
