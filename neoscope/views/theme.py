"""One look for every figure: colours, fonts, an opaque card, and the same in the dark."""

from __future__ import annotations

import textwrap
from typing import Any

import plotly.graph_objects as go

from neoscope.views.labels import escaped

INK = "#1b2430"
"""Text and strong lines on the light card."""
MUTED = "#7d8794"
"""Secondary lines and marks: readable on the light card and on the dark one."""
PAPER, NIGHT = "#ffffff", "#14181f"
DAWN = "#eef1f5"
"""In the dark, what colour scales stand on: their darkest colour would vanish on the dark card."""
_QUIET, _FAINT = "#5d6876", "#a9b2be"
"""MUTED for texts, which need more contrast: on the light card, and on the dark one."""

SEQUENTIAL: tuple[tuple[float, str], ...] = (
    (0.0, "#f7fafc"), (0.15, "#d3e6ee"), (0.35, "#8cc3d3"), (0.55, "#4596b5"),
    (0.75, "#1f648f"), (0.9, "#123f66"), (1.0, "#0a2440"),
)  # fmt: skip
"""From nothing to most: one hue, lightness falling evenly, so that it survives grey printing."""
DIVERGING: tuple[tuple[float, str], ...] = (
    (0.0, "#7a3203"), (0.15, "#b35806"), (0.32, "#f1a340"), (0.44, "#fbdcb0"), (0.5, "#f7f7f7"),
    (0.56, "#c4dcea"), (0.68, "#67a9cf"), (0.85, "#2166ac"), (1.0, "#0b3763"),
)  # fmt: skip
"""Below zero orange, zero white, above zero blue: safe for the common kinds of colour blindness."""
CATEGORICAL = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7d8794")
"""Okabe and Ito's colours, without the two that vanish on a light or a dark card."""

FONT = "Inter, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
MONOSPACE = "'JetBrains Mono', Consolas, Menlo, 'DejaVu Sans Mono', monospace"
_USUAL_WIDTH = 760
"""Of a notebook's or a report's column, in pixels: what texts are wrapped to."""
CLOUD_BUTTONS = ("sendChartToCloud", "sendDataToCloud", "lasso2d", "select2d", "autoScale2d")
"""Buttons that would send private text away, or that nobody needs."""


def template(*, night: bool = False, scaled: bool = False) -> go.layout.Template:
    """Return the look as a plotly template.

    Args:
        night: Light text on a dark card.
        scaled: For a figure that has a colour scale: its plot area stays light on a dark card.
    """
    paper, ink = (NIGHT, "#e6e9ee") if night else (PAPER, INK)
    line, grid = ("#3a4350", "#262d37") if night else ("#c3c9d1", "#e8ebef")
    muted = _FAINT if night else _QUIET
    plot = DAWN if night and scaled else paper
    # What is written without a colour of its own stands in the plot area.
    inside = {"textfont": {"color": INK if plot == DAWN else ink}}
    ruled = "#d5dae1" if plot == DAWN else grid
    axis = {
        "linecolor": line, "gridcolor": ruled, "zerolinecolor": line, "tickcolor": line,
        "ticks": "outside", "ticklen": 4, "automargin": True,
        "title": {"standoff": 10, "font": {"size": 13}},
        "showgrid": True,
    }  # fmt: skip
    bar = {"thickness": 12, "outlinewidth": 0, "ticks": "outside", "ticklen": 4, "len": 0.9}
    layout = go.Layout(
        paper_bgcolor=paper,
        plot_bgcolor=plot,
        font={"family": FONT, "size": 13, "color": ink},
        colorway=list(CATEGORICAL),
        title={"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 18, "t": 16}, "y": 1,
               "yanchor": "top", "font": {"size": 17, "weight": 600},
               "subtitle": {"font": {"size": 13, "color": muted}}},
        margin={"l": 64, "r": 32, "t": 84, "b": 56},
        xaxis=axis,
        yaxis=axis,
        legend={"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}},
        hoverlabel={"font": {"family": MONOSPACE, "size": 12}, "align": "left"},
        coloraxis={"colorbar": bar},
        modebar={"remove": list(CLOUD_BUTTONS), "bgcolor": "rgba(0,0,0,0)", "color": muted,
                 "activecolor": ink},
        annotationdefaults={"font": {"color": ink, "size": 12}, "arrowcolor": MUTED},
    )  # fmt: skip
    return go.layout.Template(
        layout=layout,
        data={
            "heatmap": [go.Heatmap(colorbar=bar)],
            "scatter": [go.Scatter(inside)],
            "table": [_table(paper, ink, grid)],
        },
    )


def has_scale(figure: go.Figure) -> bool:
    """Whether a figure has a colour scale, so that its plot area stays light in the dark.

    Args:
        figure: Any figure.
    """
    layout = figure.layout.to_plotly_json()
    return any(name.startswith("coloraxis") for name in layout) or any(
        trace.type == "heatmap" for trace in figure.data
    )


def new_figure(
    title: str,
    subtitle: str = "",
    *,
    note: str = "",
    width: int | None = None,
    height: int = 460,
) -> go.Figure:
    """Return an empty figure in the house's look.

    Args:
        title: What is shown; plain text, escaped here.
        subtitle: Of which model, text, unit: a second line.
        note: What the reader must know to read it rightly (cells that were not measured, values
            that were merged): a line below.
        width: In pixels; by default as wide as the page allows.
        height: In pixels.
    """
    figure = go.Figure()
    figure.update_layout(template=template(), width=width, height=height)
    titled(figure, title, subtitle)
    if note:
        add_note(figure, note)
    return figure


def titled(figure: go.Figure, title: str, subtitle: str = "") -> go.Figure:
    """Give a figure its title and a second line, wrapped to its width, and return the figure.

    Args:
        figure: It is changed.
        title: What is shown; plain text, escaped here.
        subtitle: Of which model, text, unit.
    """
    letters = (figure.layout.width or _USUAL_WIDTH) - 40
    first = _wrapped(title, int(letters / 8.6))
    second = _wrapped(subtitle, int(letters / 6.4))
    shown: dict[str, Any] = {"text": "<br>".join(first)}
    if second:
        shown["subtitle"] = {"text": "<br>".join(second)}
    figure.update_layout(title=shown)
    _make_room(figure)
    return figure


def add_note(figure: go.Figure, note: str) -> go.Figure:
    """Write a note below the subtitle, wrapped to the figure's width, and return the figure.

    Args:
        figure: What it is about; it is changed.
        note: What the reader must know to read it rightly; plain text.
    """
    letters = (figure.layout.width or _USUAL_WIDTH) - 40
    lines = _wrapped(note, int(letters / 6.4))
    already = figure.layout.title.subtitle.text
    written = "<br>".join([already, *lines] if already else lines)
    figure.update_layout(title={"subtitle": {"text": written}})
    _make_room(figure)
    return figure


def _wrapped(text: str, letters: int) -> list[str]:
    return [escaped(line) for line in textwrap.wrap(text, max(letters, 20))]


def _make_room(figure: go.Figure) -> None:
    """Keep the top margin as high as the title and what stands below it."""
    title = figure.layout.title
    below = title.subtitle.text.count("<br>") + 1 if title.subtitle.text else 0
    above = title.text.count("<br>") + 1 if title.text else 0
    figure.update_layout(margin={"t": 42 + 22 * above + 18 * below})


def dark(figure: go.Figure) -> go.Figure:
    """Return a copy of a figure on a dark card; below a colour scale the plot area stays light.

    Args:
        figure: Any figure of :mod:`neoscope.views`.
    """
    copy = go.Figure(figure)
    copy.update_layout(template=template(night=True, scaled=has_scale(figure)))
    return copy


def _table(paper: str, ink: str, line: str) -> go.Table:
    cells = {"fill": {"color": paper}, "font": {"color": ink}, "line": {"color": line}}
    return go.Table(header=cells, cells=cells)
