"""What is marked in a patching figure: cells that cannot move, gaps, significance, tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.figures.patching.cells import Cells
from neoscope.views.figures.patching.layout import Panel
from neoscope.views.figures.patching.names import Names
from neoscope.views.theme import INK, MUTED

_MOST_CROSSED = 64
"""Cells along an axis of a panel that leave room for crosses."""
DIFFER = "#cc79a7"
"""Marks positions whose tokens differ; no colour of the diverging scale."""
_STILL_FILL, GAP_FILL = "rgba(125,135,148,0.28)", "rgba(90,98,110,0.85)"


def still_cells(
    rows: Names, columns: Names, still: Any, why: str, fill: str = _STILL_FILL
) -> go.Heatmap:
    """Return cells of one grey, such as those where nothing can move.

    Args:
        rows: The rows' names.
        columns: The columns' names.
        still: True at such cells.
        why: What they are called.
        fill: The grey.
    """
    gap = 1 if max(still.shape) <= 64 else 0
    return go.Heatmap(
        z=np.where(still, 0.0, np.nan).astype(np.float32), x=list(columns.names),
        y=list(rows.names), colorscale=[[0, fill], [1, fill]], showscale=False,
        zmin=0, zmax=1, hoverongaps=False, xgap=gap, ygap=gap, name=why,
        hovertemplate=f"{rows.title} %{{y}}<br>{columns.title} %{{x}}<br>{why}<extra></extra>",
    )  # fmt: skip


def mark_gaps(
    figure: go.Figure, rows: Names, columns: Names, absent: Any, where: dict[str, int]
) -> None:
    """Cross out cells that hold no number; where cells are small, make them dark grey.

    Args:
        figure: It is changed.
        rows: The rows' names.
        columns: The columns' names.
        absent: True at such cells.
        where: Row and column of the panel.
    """
    if crossed(absent):
        mark(figure, rows, columns, absent, where, symbol="x-thin", size=7, color=MUTED,
             line={"color": MUTED, "width": 1.5})  # fmt: skip
    elif absent.any():
        figure.add_trace(still_cells(rows, columns, absent, "no number", GAP_FILL), **where)


def crossed(absent: Any) -> bool:
    """Return whether a panel's cells are large enough for crosses.

    Args:
        absent: ``[rows, columns]``.
    """
    return bool(max(absent.shape) <= _MOST_CROSSED)


def mark(
    figure: go.Figure, rows: Names, columns: Names, at: Any, where: dict[str, int], **marker: Any
) -> None:
    """Put a mark on cells.

    Args:
        figure: It is changed.
        rows: The rows' names.
        columns: The columns' names.
        at: True at the cells to mark.
        where: Row and column of the panel.
        **marker: As plotly takes it.
    """
    if at.any():
        y, x = np.nonzero(at)
        figure.add_trace(go.Scatter(
            x=[columns.names[i] for i in x], y=[rows.names[i] for i in y], mode="markers",
            marker=marker, hoverinfo="skip", showlegend=False,
        ), **where)  # fmt: skip


def strip(figure: go.Figure, columns: Names, where: dict[str, int]) -> None:
    """Draw a strip above a panel: where tokens differ, and, shaded, where they agree."""
    agree = columns.agree
    if agree is None or all(agree):
        return
    x, y = refs(figure, where)
    edges = [0, *(i for i in range(1, len(agree)) if agree[i] != agree[i - 1]), len(agree)]
    for first, stop in itertools.pairwise(edges):
        figure.add_shape(
            type="rect", xref=x, x0=first - 0.5, x1=stop - 0.5, yref=f"{y} domain",
            ysizemode="pixel", yanchor=1, y0=2, y1=7, line={"width": 0},
            fillcolor=_STILL_FILL if agree[first] else DIFFER,
        )  # fmt: skip


def refs(figure: go.Figure, where: dict[str, int]) -> tuple[str, str]:
    """Return the names of a panel's axes, as shapes call them."""
    cell = figure.get_subplot(**where)
    x, y = (str(axis.plotly_name).replace("axis", "") for axis in (cell.xaxis, cell.yaxis))
    return x, y


def notes_of(panels: Sequence[Panel], significance: float | None) -> list[str]:
    """Return the notes on gaps, significance and single pairs."""
    notes, first = [], panels[0].cells
    still = sum(int((~one.cells.ran).sum()) for one in panels)
    gaps = sum(int((np.isnan(one.cells.effect) & one.cells.ran).sum()) for one in panels)
    size = sum(one.cells.effect.size for one in panels)
    if still == size:
        notes.append("Nothing that is shown can move: no cell was run.")
    if gaps:
        why = first.missing if first.complete else "the sweep was interrupted"
        notes.append(
            f"{gaps:,} of {size:,} cells hold no number ({why}); they are "
            + ("crossed out." if crossed(first.effect) else "dark grey.")
        )
    elif not first.complete:
        notes.append("The run was interrupted.")
    if significance is not None:
        notes.append(significant([one.cells for one in panels], significance))
    return notes


def significant(cells: Sequence[Cells], significance: float) -> str:
    """Say what a mark of significance means, or why there is none.

    Args:
        cells: All that is shown.
        significance: Below which p-value cells are marked.
    """
    n = cells[0].n_pairs
    if n == 1 or not any(np.isfinite(one.p).any() for one in cells):
        return f"No cell is marked: {'one pair' if n == 1 else 'sizes'} cannot be tested."
    least = 2.0 ** (1 - n)
    if least >= significance:
        return f"No cell is marked: with {n} pairs no p-value is below {least:g}."
    tested = " or ".join(f"{one:,}" for one in dict.fromkeys(one.n_tested for one in cells))
    return f"Marked cells: p < {significance:g}, sign flips corrected over {tested} cells."


def add_keys(figure: go.Figure, panels: Sequence[Panel], significance: float | None) -> None:
    """Add a legend of the marks that occur."""
    first = panels[0].cells
    some = any((~one.cells.ran).any() for one in panels)
    gaps = any((np.isnan(one.cells.effect) & one.cells.ran).any() for one in panels)
    marked = significance is not None and any(
        ((one.cells.p < significance) & one.cells.ran).any() for one in panels
    )
    differ = any(
        names.agree is not None and not all(names.agree)
        for one in panels
        for names in one.cells.axes
    )
    keys: list[tuple[bool, str, dict[str, Any]]] = [
        (differ, first.differs, {"symbol": "square", "color": DIFFER}),
        (some, first.still, {"symbol": "square", "color": _STILL_FILL}),
        (gaps, first.missing, {"symbol": "x-thin", "line": {"color": MUTED, "width": 1.5}}
         if crossed(first.effect) else {"symbol": "square", "color": GAP_FILL}),
        (marked, f"p < {significance}", {"symbol": "circle", "color": "#ffffff", "size": 6,
                                         "line": {"color": INK, "width": 1.2}}),
    ]  # fmt: skip
    for shown, name, marker in keys:
        if shown:
            figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name,
                                        marker={"size": 11, **marker}, hoverinfo="skip",
                                        showlegend=True))  # fmt: skip
