"""Axes of layers: where columns and places stand on them, and which of them make one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jaxtyping import Shaped
from numpy import ndarray

from neoscope.views.labels import escaped, ticks, visible
from neoscope.views.theme import CATEGORICAL, MUTED

_AT_THE_END = ("ln_final", "hidden", "logits")
_LONGEST = 40
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")


@dataclass(frozen=True)
class LayerAxis:
    """Items on an axis of layers; what has no layer stands at its ends, under its own name."""

    x: tuple[float, ...]
    """Of each item."""
    lines: dict[str, tuple[int, ...]]
    """What one line joins: its name, plain text, and its items from left to right."""
    settings: dict[str, Any]
    """Of the axis, for plotly."""
    ends: tuple[float, float]
    """Where lines across the whole panel begin and end."""


def layer_axis(items: Sequence[tuple[str, int | None]]) -> LayerAxis:
    """Lay items out by layer.

    Args:
        items: A line's name and a layer each; where there is no layer the item's own name.

    Example:
        >>> axis = layer_axis([("embed", None), ("resid_post", 0), ("resid_post", 1)])
        >>> axis.x, axis.lines["resid_post"]
        ((-1.0, 0.0, 1.0), (1, 2))
    """
    layers = sorted({layer for _, layer in items if layer is not None})
    single = list(dict.fromkeys(name for name, layer in items if layer is None))
    after = [name for name in single if name.startswith(_AT_THE_END)] if layers else []
    before = [name for name in single if name not in after]
    first, last = (layers[0], layers[-1]) if layers else (len(before), len(before) - 1)
    at = {name: float(first - len(before) + i) for i, name in enumerate(before)}
    at |= {name: float(last + 1 + i) for i, name in enumerate(after)}
    x = tuple(at[name] if layer is None else float(layer) for name, layer in items)
    marks = sorted([*((at[name], name) for name in at), *((float(k), str(k)) for k in layers)])
    lines: dict[str, list[int]] = {}
    for i, (name, layer) in enumerate(items):
        apart = layer is None and len(marks) > 1
        lines.setdefault("" if apart else name, []).append(i)
    shown = ticks([str(place) for place, _ in marks], [visible(name) for _, name in marks])
    settings = {
        "tickvals": [float(place) for place in shown["tickvals"]],
        "ticktext": shown["ticktext"],
        "title": {"text": "layer" if layers else "", "font": {"size": 13}},
        "range": [marks[0][0] - 0.5, marks[-1][0] + 0.5],
        "zeroline": False,
    }
    joined = {name: tuple(sorted(found, key=lambda i: x[i])) for name, found in lines.items()}
    return LayerAxis(x, joined, settings, (marks[0][0] - 0.5, marks[-1][0] + 0.5))


def split_name(name: str) -> tuple[str, int | None]:
    """Return the line that a column of vectors belongs to, and its layer.

    Example:
        >>> split_name("resid_post_3_mean"), split_name("length")
        (('resid_post_mean', 3), ('length', None))
    """
    from neoscope.analysis.similar.columns import place_of

    layer = place_of(name)[1]
    if layer is None:
        return name, None
    return re.sub(rf"_{layer}(?=_|$)", "", name, count=1), layer


def named_line(name: str) -> str:
    """Return a line's name for the legend: escaped, and cut where it is long."""
    # What stands in a hover template must not be taken for a part of it.
    return visible(name, _LONGEST).replace("%{", "%&#123;") if name else "without a layer"


def colour_of(number: int) -> str:
    """Return the colour of the nth line; the last one of the house is kept for what is beside."""
    return CATEGORICAL[number % (len(CATEGORICAL) - 1)]


def symbol_of(number: int) -> str:
    """Return the symbol of the nth group, so that no two of thirty look alike in colour and form.

    Args:
        number: From 0.
    """
    return SYMBOLS[(number + number // (len(CATEGORICAL) - 1)) % len(SYMBOLS)]


def line(
    axis: LayerAxis,
    values: Shaped[ndarray, " item"],
    name: str,
    items: Sequence[int],
    *,
    colour: str,
    label: str,
    hover: Sequence[str] = (),
    unit: str = "",
    dash: str = "solid",
    symbol: str = "circle",
    **options: Any,
) -> go.Scatter:
    """Return one line over layers; what has no layer is marked, and joined with nothing.

    Args:
        axis: Where the items stand.
        values: One number for each item of the axis.
        name: Which line; ``""`` for what has no layer.
        items: Which items it joins.
        colour: Of line and marks.
        label: In the legend; escaped.
        hover: More lines of the hover box for each item of the axis, escaped.
        unit: Of the values; escaped.
        dash: plotly's.
        symbol: plotly's.
        **options: What else ``go.Scatter`` takes.
    """
    more = [hover[i] if hover else "" for i in items]
    shown = f"<b>%{{y:.4g}}</b>{f' {unit}' if unit else ''}"
    return go.Scatter(
        x=[axis.x[i] for i in items], y=[float(values[i]) for i in items], name=label,
        mode="lines+markers" if name else "markers", customdata=more,
        line={"color": colour, "dash": dash, "width": 2}, legendgroup=label,
        marker={"color": colour, "symbol": symbol, "size": 7},
        hovertemplate=f"{label}<br>{shown}%{{customdata}}<extra></extra>", **options,
    )  # fmt: skip


def spans(
    x: Sequence[float], ends: Sequence[tuple[float, float]], colour: str, **options: Any
) -> go.Scatter:
    """Return intervals as upright strokes, which need not hold the value that they belong to.

    Args:
        x: Where.
        ends: From where to where; NaN where there is none.
        colour: Of the strokes.
        **options: What else ``go.Scatter`` takes.
    """
    xs: list[float | None] = []
    ys: list[float | None] = []
    for place, (a, b) in zip(x, ends, strict=True):
        if a == a and b == b:
            xs += [place, place, None]
            ys += [float(a), float(b), None]
    return go.Scatter(
        x=xs, y=ys, mode="lines", line={"color": colour, "width": 5}, opacity=0.35,
        hoverinfo="skip", showlegend=False, **options,
    )  # fmt: skip


def across(axis: LayerAxis, value: float, label: str, dash: str, hover: str = "") -> go.Scatter:
    """Return a line at one height over the whole panel.

    Args:
        axis: Of the panel.
        value: The height.
        label: In the legend; escaped.
        dash: plotly's.
        hover: More for the hover box; escaped.
    """
    middle = sum(axis.ends) / 2
    return go.Scatter(
        x=[axis.ends[0], middle, axis.ends[1]], y=[value] * 3, mode="lines", name=label,
        line={"color": MUTED, "width": 1.5, "dash": dash},
        hovertemplate=f"{label}<br><b>%{{y:.4g}}</b>{hover}<extra></extra>",
    )  # fmt: skip


def panel_title(text: str) -> str:
    """Return what stands above a panel: plain text, escaped."""
    return f"<b>{escaped(text)}</b>"


def place_titles(figure: go.Figure, size: int = 13) -> None:
    """Give the titles of subplots the size of the text around them."""
    for note in figure.layout.annotations:
        if note.xref == "paper" and note.yref == "paper":
            note.update(font={"size": size})


def headroom(figure: go.Figure, pixels: int = 22) -> go.Figure:
    """Leave room between a figure's notes and what stands above its panels; after the last note.

    Args:
        figure: It is changed, and returned.
        pixels: How much.
    """
    return figure.update_layout(margin={"t": figure.layout.margin.t + pixels})
