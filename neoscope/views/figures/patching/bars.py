"""Bars: effects along one axis with their intervals, or those of a single cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.figures.patching.cells import Cells
from neoscope.views.figures.patching.layout import column_ticks
from neoscope.views.figures.patching.marks import DIFFER, significant
from neoscope.views.figures.patching.panels import hovered
from neoscope.views.theme import CATEGORICAL, INK, MUTED, add_note, new_figure

MOST_BARS = 80
"""Above so many, effects are points: bars would be thinner than their gaps."""
POSITIVE, NEGATIVE = "#2166ac", "#b35806"
"""The ends of the diverging scale."""


def bars(
    cells: Cells, title: str, subtitle: str, *, significance: float | None = None
) -> go.Figure:
    """Draw effects of one axis, or of none.

    Args:
        cells: With one axis at most.
        title: What is shown.
        subtitle: Of which model, texts.
        significance: Cells whose p-value is below it have a mark; None: none.
    """
    names = list(cells.axes[0].names) if cells.axes else ["the one cell"]
    effect = cells.effect.reshape(-1)
    still, absent = ~cells.ran.reshape(-1), np.isnan(effect)
    hover, data = hovered(cells.details)
    data = None if data is None else data.reshape(len(effect), -1)
    axis = cells.axes[0].title if cells.axes else ""
    figure = new_figure(title, subtitle, height=420)
    lines = [f"{axis} %{{x}}" if axis else "", "<b>%{y:.4g}</b> " + cells.unit, hover]
    given = {
        "x": names, "y": effect, "customdata": data, "showlegend": False,
        "hovertemplate": "<br>".join(filter(None, lines)) + "<extra></extra>",
        **_whiskers(cells, effect),
    }  # fmt: skip
    colour = [POSITIVE if x > 0 else NEGATIVE for x in np.nan_to_num(effect)]
    if len(effect) <= MOST_BARS:
        figure.add_trace(go.Bar(**given, marker={"color": colour}, width=0.72))
    else:
        given["error_y"] = None
        figure.add_trace(go.Scatter(**given, mode="markers", marker={"color": colour, "size": 5}))
        _name_largest(figure, names, effect)
    _marks(figure, cells, names, still, absent)
    _strip(figure, cells, names)
    figure.update_xaxes(
        type="category", showgrid=False, title=axis, categoryorder="array", categoryarray=names,
        **(column_ticks(cells.axes[0], 1)[0] if cells.axes else {}),
    )  # fmt: skip
    figure.update_yaxes(title=cells.unit, zeroline=True, zerolinewidth=1)
    for note in _notes(cells, still, absent, significance):
        add_note(figure, note)
    if significance is not None:
        _significance(figure, cells, names, significance)
    figure.update_layout(legend={"orientation": "h", "y": 1.03, "x": 0, "yanchor": "bottom"})
    if any(trace.showlegend for trace in figure.data):
        figure.update_layout(margin={"t": int(figure.layout.margin.t) + 20})
    return figure


def _whiskers(cells: Cells, effect: Any) -> dict[str, Any]:
    interval = next((d.arrays for d in cells.details if d.template.startswith("95 %")), None)
    if interval is None:
        return {}
    low, high = (np.asarray(x).reshape(-1) for x in interval)
    return {"error_y": {"type": "data", "symmetric": False, "array": high - effect,
                        "arrayminus": effect - low, "color": MUTED, "thickness": 1.4,
                        "width": 3}}  # fmt: skip


def _name_largest(figure: go.Figure, names: list[str], effect: Any, most: int = 5) -> None:
    size = np.nan_to_num(np.abs(effect))
    for i in np.argsort(-size, kind="stable")[:most]:
        if size[i]:
            figure.add_annotation(x=int(i), y=float(effect[i]), text=names[i], showarrow=False,
                                  yshift=11 if effect[i] > 0 else -11)  # fmt: skip


def _marks(figure: go.Figure, cells: Cells, names: list[str], still: Any, absent: Any) -> None:
    """Mark what cannot move and what was not measured, on the zero line."""
    for at, name, symbol in ((still, cells.still, "line-ew"),
                             (absent & ~still, cells.missing, "x-thin")):  # fmt: skip
        if at.any():
            where = [names[i] for i in np.flatnonzero(at)]
            figure.add_trace(go.Scatter(
                x=where, y=[0.0] * len(where), mode="markers", name=name, showlegend=True,
                marker={"symbol": symbol, "size": 8, "line": {"color": MUTED, "width": 2}},
                hovertemplate=f"%{{x}}<br>{name}<extra></extra>",
            ))  # fmt: skip


def _strip(figure: go.Figure, cells: Cells, names: list[str]) -> None:
    agree = cells.axes[0].agree if cells.axes else None
    if agree is None or all(agree):
        return
    for i, same in enumerate(agree):
        if not same:
            figure.add_shape(type="rect", xref="x", x0=i - 0.5, x1=i + 0.5, yref="y domain",
                             ysizemode="pixel", yanchor=1, y0=1, y1=6, line={"width": 0},
                             fillcolor=DIFFER)  # fmt: skip
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=cells.differs,
                                marker={"symbol": "square", "size": 11, "color": DIFFER},
                                showlegend=True, hoverinfo="skip"))  # fmt: skip


def _notes(cells: Cells, still: Any, absent: Any, significance: float | None) -> list[str]:
    notes, gaps = [], int((absent & ~still).sum())
    if gaps:
        why = cells.missing if cells.complete else "the sweep was interrupted"
        notes.append(f"{gaps:,} of {len(absent):,} cells hold no number ({why}).")
    if len(absent) > MOST_BARS:
        notes.append("Intervals stand in the hover box; the largest effects are named.")
    elif cells.n_pairs > 1:
        notes.append("Whiskers: 95 % bootstrap intervals over pairs.")
    if significance is not None:
        notes.append(significant([cells], significance).replace("Marked cells", "Starred"))
    return notes


def _significance(figure: go.Figure, cells: Cells, names: list[str], below: float) -> None:
    effect, p = cells.effect.reshape(-1), cells.p.reshape(-1)
    at = np.flatnonzero((p < below) & cells.ran.reshape(-1) & ~np.isnan(effect))
    if len(at):
        figure.add_trace(go.Scatter(
            x=[names[i] for i in at], y=effect[at], mode="markers", hoverinfo="skip",
            marker={"symbol": "star", "size": 9, "color": CATEGORICAL[4],
                    "line": {"color": INK, "width": 0.8}},
            name=f"p < {below}", showlegend=True,
        ))  # fmt: skip
