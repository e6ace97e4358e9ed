"""outlier_dimensions: norms by layer, and the few dimensions that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from neoscope.analysis.result import counted
from neoscope.views.figures.similarity.layers import (
    LayerAxis,
    colour_of,
    headroom,
    layer_axis,
    line,
    named_line,
    panel_title,
    place_titles,
    split_name,
    symbol_of,
)
from neoscope.views.given import expect, number
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis.similar.outliers import OutlierDimensions
else:
    OutlierDimensions = Any

_WIDE = 30
"""How many times its median a dimension's size must be for a logarithmic axis."""


def outlier_dimensions(result: OutlierDimensions, *, k: int = 5) -> go.Figure:
    """Draw norms by layer, the dimensions that stand out in size, and what cosine they own.

    Args:
        result: What :func:`neoscope.analysis.outlier_dimensions` returned.
        k: Most outlier dimensions that have a line of their own, the largest anywhere first.

    Raises:
        ViewError: It is no such result.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("outliers").run_with_cache(ns.organism.compiled.outlier_prompts())
        >>> figure = outlier_dimensions(ns.analysis.outlier_dimensions(cache))
        >>> sorted({one.name for one in figure.data if "dimension " in (one.name or "")})
        ['dimension 12', 'dimension 27', 'dimension 5']
    """
    expect(result, "outlier_dimensions", {"OutlierDimensions": "analysis.outlier_dimensions"})
    k = number(k, "k", "outlier_dimensions")
    axis = layer_axis([split_name(name) for name in result.names])
    beyond = result.sigmas > result.threshold
    largest = np.where(beyond, result.size, -np.inf).max(0)
    order = np.argsort(-largest, kind="stable")
    dims = [int(i) for i in order if np.isfinite(largest[i])]
    figure = new_figure(
        "Norms, and the dimensions that stand out",
        f"{result.what} · {counted(result.n_rows, 'row')} of "
        f"{counted(result.size.shape[1], 'dimension')}",
        height=520,
    )
    names = ("root mean square norm", "size of a dimension (RMS)",
             "share of the mean cosine")  # fmt: skip
    make_subplots(1, 3, horizontal_spacing=0.075, figure=figure,
                  subplot_titles=[panel_title(name) for name in names])  # fmt: skip
    place_titles(figure, 12)
    figure.update_xaxes(**axis.settings)
    _norms(figure, result, axis, beyond)
    _sizes(figure, result, axis, beyond)
    for place, dim in enumerate(dims[:k]):
        _dimension(figure, result, axis, dim, place)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_layout(margin={"b": 120}, legend={
        "orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0,
        "groupclick": "togglegroup",
    })  # fmt: skip
    return headroom(add_note(figure, _said(result, dims, k)))


def _norms(figure: go.Figure, result: OutlierDimensions, axis: LayerAxis, beyond: Any) -> None:
    squares = result.size**2
    parts = {"all dimensions": np.sqrt(squares.sum(1))}
    if beyond.any():
        parts["without outliers"] = np.sqrt(np.where(beyond, 0, squares).sum(1))
    for number_of, (name, items) in enumerate(axis.lines.items()):
        for place, (what, values) in enumerate(parts.items()):
            label = what if len(axis.lines) == 1 else f"{named_line(name)}: {what}"
            colour = MUTED if len(axis.lines) == 1 else colour_of(number_of)
            drawn = line(axis, values, name, items, colour=colour, label=label, unit="norm",
                         dash="dash" if place else "solid", symbol=symbol_of(place))  # fmt: skip
            figure.add_trace(drawn, row=1, col=1)


def _sizes(figure: go.Figure, result: OutlierDimensions, axis: LayerAxis, beyond: Any) -> None:
    """Draw where all other dimensions lie, and beyond what size one stands out."""
    ordinary: Float[np.ndarray, "name dim"] = np.where(beyond, np.nan, result.size)
    low, middle, high = np.nanmin(ordinary, 1), np.median(result.size, 1), np.nanmax(ordinary, 1)
    limit = _limit(result)
    for number_of, (name, items) in enumerate(axis.lines.items()):
        at = list(items)
        whose = "" if len(axis.lines) == 1 else f"{named_line(name)}: "
        x = [axis.x[i] for i in at]
        band = go.Scatter(
            x=x + x[::-1], y=[*high[at], *low[at][::-1]], fill="toself", mode="lines",
            line={"width": 6 if len(at) == 1 else 0, "color": MUTED}, opacity=0.4,
            fillcolor="rgba(125,135,148,0.3)", hoverinfo="skip", name=f"{whose}other dimensions",
            legendgroup="rest", showlegend=number_of == 0,
        )  # fmt: skip
        figure.add_trace(band, row=1, col=2)
        hover = [f"<br>least {a:.4g}, most {b:.4g}" for a, b in zip(low, high, strict=True)]
        figure.add_trace(line(axis, middle, name, items, colour=MUTED, label=f"{whose}median",
                              hover=hover, showlegend=False), row=1, col=2)  # fmt: skip
        figure.add_trace(
            line(axis, limit, name, items, colour=MUTED, label=f"{whose}threshold", dash="dot",
                 symbol="line-ew", showlegend=number_of == 0),
            row=1, col=2,
        )  # fmt: skip
    spread = result.size.max() / max(float(np.median(result.size)), 1e-300)
    if spread > _WIDE and low.min() > 0:
        figure.update_yaxes(type="log", dtick=1, row=1, col=2)
    else:
        figure.update_yaxes(rangemode="tozero", row=1, col=2)


def _limit(result: OutlierDimensions) -> Float[np.ndarray, " name"]:
    """Return the size beyond which a dimension is an outlier; NaN where all others are alike."""
    found = np.full(len(result.names), np.nan)
    for row, (sizes, sigmas) in enumerate(zip(result.size, result.sigmas, strict=True)):
        finite = np.where(np.isfinite(sigmas), np.abs(sigmas), 0.0)
        widest = int(finite.argmax())
        if finite[widest] > 0:
            sigma = (sizes[widest] - np.median(sizes)) / sigmas[widest]
            found[row] = np.median(sizes) + result.threshold * sigma
    return found


def _dimension(
    figure: go.Figure, result: OutlierDimensions, axis: LayerAxis, dim: int, place: int
) -> None:
    label, colour = f"dimension {dim}", colour_of(place)
    sizes = [
        f"<br>{sigma:.3g} robust sigma<br>mean {mean:.4g}, sd {sd:.4g}"
        for sigma, mean, sd in zip(
            result.sigmas[:, dim], result.mean[:, dim], result.sd[:, dim], strict=True
        )
    ]
    for number_of, (name, items) in enumerate(axis.lines.items()):
        look = {"colour": colour, "label": label, "symbol": symbol_of(place)}
        dash = ("solid", "dash", "dot", "dashdot")[number_of % 4]
        figure.add_trace(
            line(axis, result.size[:, dim], name, items, hover=sizes, unit=named_line(name),
                 dash=dash, showlegend=number_of == 0, **look),
            row=1, col=2,
        )  # fmt: skip
        figure.add_trace(
            line(axis, result.share[:, dim], name, items, unit=f"of the cosine, {named_line(name)}",
                 dash=dash, showlegend=False, **look),
            row=1, col=3,
        )  # fmt: skip


def _said(result: OutlierDimensions, dims: list[int], k: int) -> str:
    limit = f"{result.threshold:g} robust sigma in size"
    if not dims:
        return f"No dimension stands out by more than {limit}."
    more = f"; the {k} largest of {len(dims):,} have lines" if len(dims) > k else ""
    return (
        f"Lines in colour: dimensions that stand out by more than {limit} in some layer{more}. "
        "Shares may exceed 1 where others are negative."
    )
