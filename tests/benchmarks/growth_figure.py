"""The figure of growth: time and peak memory against work, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from neoscope import views
from neoscope.views.theme import CATEGORICAL, MUTED, new_figure
from tests.benchmarks import targets

_SIZE = 940, 570
_TITLE = "Time and peak memory against work"
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_PANELS = (("x", "y", (0.0, 0.445)), ("x2", "y2", (0.555, 1.0)))


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the measured curves.

    Args:
        rows: Rows of the benchmark ``growth`` that were measured.
        path: The picture.
    """
    width, height = _SIZE
    figure = new_figure(
        _TITLE,
        "Each point is a process of its own, libraries and model included; 1 x is what stands "
        "behind each name.",
        width=width,
        height=height,
    )
    for colour, row in zip(CATEGORICAL, rows, strict=False):
        first = row["points"][0]
        work = [point["work"] / first["work"] for point in row["points"]]
        name = targets.find("growth", row["name"]).work.replace("`", "")
        unit = row["unit"].removesuffix("s" * (first["work"] == 1))
        shown = f"{name} ({first['work']:,} {unit})"
        for (x, y, _), of in zip(_PANELS, ("seconds", "peak"), strict=True):
            values = [point[of] / (1e9 if of == "peak" else 1) for point in row["points"]]
            figure.add_trace(
                go.Scatter(
                    x=work,
                    y=values,
                    xaxis=x,
                    yaxis=y,
                    name=shown,
                    legendgroup=shown,
                    showlegend=of == "seconds",
                    mode="lines+markers",
                    line={"color": colour, "width": 2},
                    marker={"size": 7},
                )
            )
    _guide(figure, [row["points"] for row in rows])
    _axes(figure)
    views.save(figure, path, width=width, height=height)


def _guide(figure: go.Figure, curves: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """A dotted line along which ten times the work is ten times of it, in both panels."""
    for (x, y, _), of, size in zip(_PANELS, ("seconds", "peak"), (1, 1e9), strict=True):
        low = min(curve[0][of] for curve in curves) / size / (2 if of == "seconds" else 1)
        figure.add_trace(
            go.Scatter(
                x=[1, 100],
                y=[low, 100 * low],
                xaxis=x,
                yaxis=y,
                name="in proportion to the work",
                legendgroup="guide",
                showlegend=of == "seconds",
                mode="lines",
                line={"color": MUTED, "width": 1.5, "dash": "dot"},
            )
        )


def _axes(figure: go.Figure) -> None:
    for (x, y, domain), title in zip(
        _PANELS, ("time (s)", "peak memory of the process (GB)"), strict=True
    ):
        x_name, y_name = x.replace("x", "xaxis"), y.replace("y", "yaxis")
        figure.update_layout({
            x_name: {"type": "log", "domain": domain, "anchor": y, "title": "work",
                     "tickvals": [1, 10, 100], "ticktext": ["1 x", "10 x", "100 x"]},
            y_name: {"type": "log", "anchor": x, "title": title, "tickvals": _TICKS,
                     "ticktext": [f"{tick:g}" for tick in _TICKS]},
        })  # fmt: skip
    figure.update_layout(
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "entrywidth": 355},
        margin={"b": 150},
    )
