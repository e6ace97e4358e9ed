"""A sweep over layers: score, selectivity and codelength, one panel below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.views.figures.probes.sweep import METRICS, chosen, ends_of, titles, told, value_of
from neoscope.views.figures.similarity.layers import (
    LayerAxis,
    across,
    colour_of,
    layer_axis,
    line,
    named_line,
    spans,
    symbol_of,
)
from neoscope.views.labels import visible
from neoscope.views.theme import CATEGORICAL, MUTED, new_figure

if TYPE_CHECKING:
    from probes.sweeping.result import PlaceResult, Scored, SweepResult
else:
    PlaceResult = Scored = SweepResult = Any

_NARROWEST = 0.1
"""Of the axis of scores: less would show rounding as differences."""
_FEW = 2
"""Sites beside whose lines those of their controls still can be read."""
MARK = "#e69f00"


def by_layer(result: SweepResult, metric: str) -> go.Figure:
    """Draw a sweep as lines over layers.

    Args:
        result: Without heads.
        metric: Which score.
    """
    places = result.places
    axis = layer_axis([(one.place.site, one.place.layer) for one in places])
    panels = ["score"]
    if metric == result.metric and any(_selectivity(one) == _selectivity(one) for one in places):
        panels.append("selectivity")
    if any(one.codelength is not None for one in places):
        panels.append("codelength")
    heights = {1: [1.0], 2: [0.68, 0.32], 3: [0.52, 0.24, 0.24]}[len(panels)]
    title, subtitle = titles(result, metric)
    lone = len({one.place.layer for one in places}) == 1
    figure = new_figure(title, subtitle, height=330 + (60 if lone else 150) * len(panels))
    make_subplots(len(panels), 1, shared_xaxes=True, vertical_spacing=0.05,
                  row_heights=heights, figure=figure)  # fmt: skip
    _scores(figure, result, metric, axis)
    for row, panel in enumerate(panels[1:], 2):
        draw = _selectivities if panel == "selectivity" else _codes
        draw(figure, result, axis, row)
    settings = {key: value for key, value in axis.settings.items() if key != "title"}
    figure.update_xaxes(**settings)
    figure.update_xaxes(title=axis.settings["title"], row=len(panels), col=1)
    figure.update_yaxes(title_font_size=13)
    figure.update_layout(margin={"b": 104}, legend={
        "groupclick": "togglegroup", "orientation": "h", "x": 0, "y": 0, "yref": "container",
        "yanchor": "bottom",
    })  # fmt: skip
    _mark(figure, result, metric, axis, len(panels))
    return figure


def _scores(figure: go.Figure, result: SweepResult, metric: str, axis: LayerAxis) -> None:
    places = result.places
    hover = [told(one, metric) for one in places]
    by_kind: dict[str, list[Scored | None]] = {
        "": [one.task for one in places],
        "control task": [one.control for one in places],
        "random twin": [one.random_init for one in places],
    }
    several = len(axis.lines) > 1
    for number, (name, items) in enumerate(axis.lines.items()):
        for kind, scored in by_kind.items():
            values = np.array([value_of(one, metric) for one in scored])
            if not np.isfinite(values[list(items)]).any():
                continue
            place = list(by_kind).index(kind)
            shift = _shift(number, len(axis.lines)) if several else (0.0, 0.06, -0.06)[place]
            colour = colour_of(number) if several else CATEGORICAL[(0, 1, 3)[place]]
            label = named_line(name) if several or not kind else kind
            label = f"{label}: {kind}" if several and kind else label
            hidden = place == 1 and len(axis.lines) > _FEW
            ends = [ends_of(scored[i], metric) for i in items]
            seen = "legendonly" if hidden else True
            bars = spans([axis.x[i] + shift for i in items], ends, colour,
                         legendgroup=label, visible=seen)  # fmt: skip
            drawn = line(axis, values, name, items, colour=colour, label=label, hover=hover,
                         visible=seen, dash=("solid", "dash", "dot")[place],
                         symbol=symbol_of(place))  # fmt: skip
            drawn.x = [at + shift for at in drawn.x]
            drawn.hovertemplate = f"<b>{label}</b>%{{customdata}}<extra></extra>"
            figure.add_trace(bars, row=1, col=1)
            figure.add_trace(drawn, row=1, col=1)
    level: dict[str, float] = {}
    for number, (name, scored_one) in enumerate(result.baselines.items()):
        value = value_of(scored_one, metric)
        if np.isfinite(value):
            low, high = ends_of(scored_one, metric)
            said = f" [{low:.3g}, {high:.3g}]" if low == low else ""
            dash = ("longdash", "dashdot", "dot")[number % 3]
            baseline = across(axis, value, visible(name), dash, said)
            figure.add_trace(baseline.update(showlegend=False), row=1, col=1)
            level[visible(name)] = value
    words = METRICS.get(metric, (metric, ""))
    figure.update_yaxes(title=f"{words[0]}<br>({words[1]})" if words[1] else words[0], row=1, col=1)
    _widen(figure)
    _at_their_ends(figure, level)


def _at_their_ends(figure: go.Figure, level: dict[str, float], row: int = 1) -> None:
    """Write what lines across a panel are at their right ends; once for lines that coincide."""
    seen = [y for trace in figure.data for y in trace.y if y is not None and y == y]
    near = 0.05 * (max(seen, default=1.0) - min(seen, default=0.0) or 1.0)
    joined: list[tuple[float, list[str]]] = []
    for name, value in sorted(level.items(), key=lambda one: one[1]):
        if joined and value - joined[-1][0] < near:
            joined[-1][1].append(name)
        else:
            joined.append((value, [name]))
    for value, names in joined:
        figure.add_annotation(
            x=1, y=value, xref="x domain", xanchor="right", yanchor="bottom", showarrow=False,
            text=" and ".join(names), font={"size": 11, "color": MUTED}, row=row, col=1,
            bgcolor="rgba(0,0,0,0)",
        )  # fmt: skip


def _shift(number: int, lines: int) -> float:
    """Return how far a line stands aside, so that no interval hides another; layers."""
    return 0.05 * (number - (lines - 1) / 2)


def _widen(figure: go.Figure) -> None:
    """Keep scores that are all alike from filling the panel with their rounding."""
    seen = np.array([y for trace in figure.data for y in trace.y if y is not None], float)
    seen = seen[np.isfinite(seen)]
    if not seen.size or np.ptp(seen) >= _NARROWEST:
        return
    middle = (seen.min() + seen.max()) / 2
    figure.update_yaxes(range=[middle - _NARROWEST, middle + _NARROWEST], row=1, col=1)


def _selectivity(one: PlaceResult) -> float:
    return float("nan") if one.selectivity is None else float(one.selectivity.value)


def _selectivities(figure: go.Figure, result: SweepResult, axis: LayerAxis, row: int) -> None:
    values = np.array([_selectivity(one) for one in result.places])
    kept = [one.selectivity.interval if one.selectivity else None for one in result.places]
    gaps = [(np.nan, np.nan) if one is None else (one.low, one.high) for one in kept]
    for number, (name, items) in enumerate(axis.lines.items()):
        label = named_line(name)
        bars = spans([axis.x[i] for i in items], [gaps[i] for i in items], colour_of(number),
                     legendgroup=label)  # fmt: skip
        figure.add_trace(bars, row=row, col=1)
        hover = [f"<br>[{low:.3g}, {high:.3g}]" if low == low else "" for low, high in gaps]
        drawn = line(axis, values, name, items, colour=colour_of(number), label=label,
                     hover=hover, unit="task minus control", showlegend=False)  # fmt: skip
        figure.add_trace(drawn, row=row, col=1)
    figure.add_hline(y=0, line={"color": MUTED, "width": 1}, row=row, col=1)
    figure.update_yaxes(title="selectivity<br>(task − control)", row=row, col=1)


def _codes(figure: go.Figure, result: SweepResult, axis: LayerAxis, row: int) -> None:
    codes = [one.codelength for one in result.places]
    values = np.array([float("nan") if one is None else one.bits for one in codes])
    hover = [
        "" if one is None else f"<br>probe {one.model_bits:,.1f}, labels {one.data_bits:,.1f}"
        f"<br>compression {one.compression:.3g}"
        for one in codes
    ]  # fmt: skip
    for number, (name, items) in enumerate(axis.lines.items()):
        drawn = line(axis, values, name, items, colour=colour_of(number), label=named_line(name),
                     hover=hover, unit="bits", showlegend=False)  # fmt: skip
        figure.add_trace(drawn, row=row, col=1)
    uniform = next(one.uniform_bits for one in codes if one is not None)
    level = across(axis, uniform, "uniform code", "solid", " bits").update(showlegend=False)
    figure.add_trace(level, row=row, col=1)
    _at_their_ends(figure, {"uniform code": uniform}, row)
    figure.update_yaxes(title="codelength<br>(bits)", rangemode="tozero", row=row, col=1)


def _mark(figure: go.Figure, result: SweepResult, metric: str, axis: LayerAxis, rows: int) -> None:
    """Ring the chosen place, and say at the top of the figure which one it is."""
    best = chosen(result)
    if best is None:
        return
    at = next(i for i, one in enumerate(result.places) if one is best)
    number = next(n for n, items in enumerate(axis.lines.values()) if at in items)
    place = axis.x[at] + _shift(number, len(axis.lines))
    value, name = value_of(best.task, metric), visible(str(best.place), 40)
    ring = {"symbol": "circle-open", "size": 17, "color": MARK, "line": {"width": 3}}
    figure.add_trace(
        go.Scatter(x=[place], y=[value], mode="markers", marker=ring, hoverinfo="skip",
                   name="chosen"),
        row=1, col=1,
    )  # fmt: skip
    for row in range(1, rows + 1):
        figure.add_vline(x=place, line={"color": MARK, "width": 1, "dash": "dot"}, row=row, col=1)
    figure.add_annotation(
        x=place, y=1, xref="x", yref="y domain", yanchor="bottom", showarrow=False,
        text=f"chosen on validation: {name}", font={"size": 12},
    )  # fmt: skip
