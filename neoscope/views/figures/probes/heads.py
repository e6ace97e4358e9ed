"""A sweep over heads: a map of layers and heads for each site, of score and selectivity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.views.cell_text import write_cells
from neoscope.views.figures.probes.lines import MARK
from neoscope.views.figures.probes.sweep import METRICS, chosen, titles, told, value_of
from neoscope.views.figures.similarity.layers import panel_title, place_titles
from neoscope.views.heatmaps import colours, panel
from neoscope.views.labels import cut, visible
from neoscope.views.theme import SEQUENTIAL, add_note, new_figure

if TYPE_CHECKING:
    from probes.sweeping.result import PlaceResult, SweepResult
else:
    PlaceResult = SweepResult = Any

_WHOLE = "whole"
"""The column of a site that was read as one, beside its heads or without any."""
_ROOMY = 16


def by_head(result: SweepResult, metric: str) -> go.Figure:
    """Draw a sweep as maps of layers and heads.

    Args:
        result: With heads.
        metric: Which score.
    """
    sites = list(dict.fromkeys(one.place.site for one in result.places))
    selective = metric == result.metric and any(
        one.selectivity is not None and math.isfinite(one.selectivity.value)
        for one in result.places
    )
    name = METRICS.get(metric, (metric, ""))[0]
    above = [f"{site}: {what}" for site in sites
             for what in ([name, "selectivity"] if selective else [name])]  # fmt: skip
    layers = sorted({one.place.layer for one in result.places}, key=_layer_key)
    each = max(190, min(420, 24 * len(layers) + 60))
    title, subtitle = titles(result, metric)
    figure = new_figure(title, subtitle, height=150 + each * len(sites))
    make_subplots(len(sites), 2 if selective else 1, horizontal_spacing=0.2,
                  vertical_spacing=min(0.3, 70 / (each * len(sites))), figure=figure,
                  subplot_titles=[panel_title(cut(text, 48)) for text in above])  # fmt: skip
    for row, site in enumerate(sites, 1):
        here = [one for one in result.places if one.place.site == site]
        _draw(figure, here, metric, row, 1, chosen(result))
        if selective:
            _draw(figure, here, None, row, 2, chosen(result))
    _scales(figure, result, metric, selective)
    for i, drawn in enumerate(figure.data):
        if max(np.shape(drawn.z)) <= _ROOMY:
            write_cells(figure, ".2f", trace=i)
    place_titles(figure)
    best = chosen(result)
    if best is not None:
        score = f"{name} {value_of(best.task, metric):.3g}"
        floor = _floor(result, metric)
        add_note(figure, f"Framed: {best.place}, chosen on validation; {score}.{floor}")
    return figure


def _column(one: PlaceResult) -> str:
    return _WHOLE if one.place.head is None else str(one.place.head)


def _layer_key(layer: int | None) -> int:
    return -1 if layer is None else layer


def _draw(
    figure: go.Figure,
    places: list[PlaceResult],
    metric: str | None,
    row: int,
    column: int,
    best: PlaceResult | None,
) -> None:
    layers = sorted({one.place.layer for one in places}, key=_layer_key)
    heads = sorted({one.place.head for one in places if one.place.head is not None})
    names = [str(head) for head in heads]
    if any(one.place.head is None for one in places):
        names.append(_WHOLE)
    values = np.full((len(layers), len(names)), np.nan)
    said = np.full(values.shape, "", dtype=object)
    for one in places:
        at = layers.index(one.place.layer)
        to = names.index(_column(one))
        values[at, to] = _selective(one) if metric is None else value_of(one.task, metric)
        said[at, to] = told(one, metric or "").split("<br>", 1)[1] if metric else _told(one)
    rows = ["once" if layer is None else str(layer) for layer in layers]
    drawn = panel(values, rows=rows, columns=names, unit="", row_title="layer",
                  column_title="head", coloraxis="coloraxis" if metric else "coloraxis2",
                  customdata=said)  # fmt: skip
    drawn.hovertemplate = "%{customdata}<extra></extra>"
    figure.add_trace(drawn, row=row, col=column)
    figure.update_xaxes(title="head", type="category", showgrid=False, row=row, col=column)
    figure.update_yaxes(title="layer", type="category", autorange="reversed", showgrid=False,
                        row=row, col=column)  # fmt: skip
    if best is not None and any(one is best for one in places):
        y = layers.index(best.place.layer)
        x = names.index(_column(best))
        figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5,
                         line={"color": MARK, "width": 3}, row=row, col=column)  # fmt: skip


def _scales(figure: go.Figure, result: SweepResult, metric: str, selective: bool) -> None:
    import probes

    scores = np.array([value_of(one.task, metric) for one in result.places])
    floor = value_of(result.baselines.get("majority"), metric)
    known = np.array([*scores[np.isfinite(scores)], *([floor] if math.isfinite(floor) else [])])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    scale = list(SEQUENTIAL)
    if metric in probes.judging.LOWER_IS_BETTER:
        scale = [(1 - at, colour) for at, colour in reversed(SEQUENTIAL)]
    name, unit = METRICS.get(metric, (metric, ""))
    bar = {"title": {"text": unit or name, "side": "right"}, "x": 0.42 if selective else 1.02}
    figure.update_layout(coloraxis={"colorscale": scale, "cmin": low, "colorbar": bar,
                                    "cmax": high if high > low else low + 1e-6})  # fmt: skip
    if selective:
        values = np.array([_selective(one) for one in result.places])
        signed = colours(values, "signed", "task − control")
        signed["colorbar"]["x"] = 1.02
        figure.update_layout(coloraxis2=signed)


def _selective(one: PlaceResult) -> float:
    return math.nan if one.selectivity is None else float(one.selectivity.value)


def _told(one: PlaceResult) -> str:
    found = one.selectivity
    if found is None:
        return visible(str(one.place), 48)
    around = ""
    if found.interval is not None and found.interval.low == found.interval.low:
        around = f" [{found.interval.low:.3g}, {found.interval.high:.3g}]"
    return (
        f"{visible(str(one.place), 48)}<br>selectivity <b>{found.value:+.4g}</b>{around}"
        f"<br>task {found.task:.4g}, control {found.control:.4g}"
    )


def _floor(result: SweepResult, metric: str) -> str:
    said = [
        f"{name} {value_of(scored, metric):.3g}"
        for name, scored in result.baselines.items()
        if math.isfinite(value_of(scored, metric))
    ]
    return f" Baselines: {', '.join(said)}." if said else ""
