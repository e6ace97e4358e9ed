"""Text in the cells of a heatmap, each in ink that is readable on its colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.ink import inks


def write_cells(
    figure: go.Figure,
    texts: Sequence[Sequence[str]] | str,
    *,
    trace: int = 0,
    size: int = 11,
    family: str | None = None,
) -> go.Figure:
    """Write into the cells of a heatmap, and return the figure; the last thing done to its axes.

    Plotly's own texts of a heatmap are white or grey, which on its middle tones cannot be read.

    Args:
        figure: It is changed; the heatmap's colour axis is set already.
        texts: [rows, columns] escaped texts, or how numbers are written (``".2f"``); a cell that
            holds no number stays empty.
        trace: Which of its traces is the heatmap.
        size: Of the letters, in pixels.
        family: Of the font; the figure's own by default.
    """
    cells = figure.data[trace]
    values = np.asarray(cells.z, np.float64)
    rows, columns = (at.tolist() for at in np.nonzero(np.isfinite(values)))
    x_axis, y_axis = cells.xaxis or "x", cells.yaxis or "y"
    _hold(figure, x_axis, y_axis, values.shape)
    if not rows:
        return figure
    known = [float(values[i, j]) for i, j in zip(rows, columns, strict=True)]
    said = [
        format(value, texts) if isinstance(texts, str) else str(texts[i][j])
        for i, j, value in zip(rows, columns, known, strict=True)
    ]
    scale = figure.layout[cells.coloraxis].to_plotly_json()
    font: dict[str, Any] = {"size": size, "color": inks(known, scale)}
    written = go.Scatter(
        x=[cells.x[j] for j in columns], y=[cells.y[i] for i in rows], text=said, mode="text",
        textfont=font if family is None else {**font, "family": family},
        hoverinfo="skip", showlegend=False, cliponaxis=False, xaxis=x_axis, yaxis=y_axis,
    )  # fmt: skip
    return figure.add_trace(written)


def _hold(figure: go.Figure, x_axis: str, y_axis: str, shape: tuple[int, ...]) -> None:
    """Fix the axes to the cells: around texts plotly leaves room."""
    rows, columns = shape
    down = {"autorange": False, "range": [rows - 0.5, -0.5]}
    figure.layout[y_axis.replace("y", "yaxis", 1)].update(down)
    figure.layout[x_axis.replace("x", "xaxis", 1)].update(range=[-0.5, columns - 0.5])
