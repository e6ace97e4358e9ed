"""top_activations: where a neuron or direction is most active, how it is spread, what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import NeoscopeError, ViewError
from neoscope.views.figures.attribution.figure import DOWN, UP
from neoscope.views.figures.neurons.texts import traces
from neoscope.views.figures.words.text import WIDTH
from neoscope.views.given import expect, number, one_of
from neoscope.views.heatmaps import colours
from neoscope.views.labels import model_name, visible
from neoscope.views.theme import CATEGORICAL, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis import TopActivations

    Given = TopActivations
else:
    Given = TopActivations = Any

_LINE, _LOWER = 23, 250
_ENDS = {"top": "most active", "bottom": "most negative"}


def top_activations(result: Given, *, unit: Any = None, end: str = "top", k: int = 12) -> go.Figure:
    """Draw the contexts of one unit, its histogram, and the tokens that it raises and lowers.

    Args:
        result: Of :func:`neoscope.analysis.top_activations`.
        unit: Its label or number; None for the only one.
        end: ``"top"`` for the most active places, ``"bottom"`` for the most negative ones.
        k: How many places.

    Raises:
        ViewError: Another result, no such unit or end, ``k`` is below 1, or no place is known.
    """
    kinds = {"TopActivations": "analysis.top_activations"}
    expect(result, "top_activations", kinds)
    one_of(end, "end", tuple(_ENDS), "top_activations")
    most = number(k, "k", "top_activations")
    try:
        row = result.row(unit)
    except NeoscopeError as problem:
        raise ViewError(f"views.top_activations: {problem}") from problem
    found = [
        (int(place), float(value))
        for place, value in zip(
            getattr(result, f"{end}_place")[row], getattr(result, f"{end}_value")[row], strict=True
        )
        if place >= 0
    ][:most]
    if not found:
        raise ViewError("views.top_activations: no place is known of this unit")
    name = result.units[row]
    what = f"unit {name}" if name[:1].isdigit() else name
    figure = new_figure(
        f"Where {what} of {result.site} is {_ENDS[end]}",
        f"{model_name(result.model)} · {result.n_tokens:,} tokens of {result.n_texts:,} texts · "
        f"mean {float(result.mean[row]):.3g}, above 0 at {float(result.share_positive[row]):.0%}",
        width=WIDTH,
    )
    if not result.complete:
        add_note(figure, "Interrupted: of the tokens that were seen.")
    _contexts(figure, result, found)
    _spread(figure, result, row, found)
    writes = bool(len(result.promoted) > row and result.promoted[row])
    if writes:
        _effect(figure, result, row)
    _frame(figure, [value for _, value in found], writes=writes)
    return figure


def _contexts(figure: go.Figure, result: TopActivations, found: list[tuple[int, float]]) -> None:
    values = [value for _, value in found]
    scale = "signed" if min(values) < 0 else "amount"
    axis = colours(values, scale, "activation")
    drawn, span = traces(result, [place for place, _ in found], values, axis)
    figure.add_traces(drawn)
    figure.update_xaxes(range=span, visible=False, fixedrange=True, domain=[0, 1])
    figure.update_layout(coloraxis={**axis, "showscale": False})


def _spread(
    figure: go.Figure, result: TopActivations, row: int, found: list[tuple[int, float]]
) -> None:
    """The exact histogram; counts are drawn by their logarithm, since most tokens are in one bin.

    The places above are marked below it.
    """
    low, high, count = result.edges[row, :-1], result.edges[row, 1:], result.counts[row]
    kept = count > 0
    figure.add_trace(
        go.Bar(
            x=((low + high) / 2)[kept].tolist(), y=count[kept].tolist(), xaxis="x2", yaxis="y2",
            width=(high - low)[kept].tolist(), marker={"color": CATEGORICAL[0]}, showlegend=False,
            hovertext=[
                f"{a:.4g} to {b:.4g}<br><b>{int(n):,}</b> tokens"
                for a, b, n in zip(low[kept], high[kept], count[kept], strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=[value for _, value in found], y=[0.7] * len(found), xaxis="x2", yaxis="y2",
            mode="markers", marker={"symbol": "line-ns-open", "size": 12, "color": CATEGORICAL[1],
                                    "line": {"width": 2.5}},
            hovertemplate="shown above: %{x:.4g}<extra></extra>", showlegend=False,
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis2={"title": "activation (orange: the places above)", "anchor": "y2"},
        yaxis2={"title": "tokens", "type": "log", "dtick": 1, "anchor": "x2",
                "range": [np.log10(0.5), np.log10(max(2, count.max())) + 0.1]},
    )  # fmt: skip


def _effect(figure: go.Figure, result: TopActivations, row: int) -> None:
    """What one unit of activation adds to logits."""
    most = 5
    up = list(zip(result.promoted[row], result.promoted_effect[row], strict=True))[:most]
    down = list(zip(result.suppressed[row], result.suppressed_effect[row], strict=True))[:most]
    pairs = [*up, *reversed(down)]
    figure.add_trace(
        go.Bar(
            orientation="h", x=[float(value) for _, value in pairs], y=list(range(len(pairs))),
            marker={"color": [UP if value >= 0 else DOWN for _, value in pairs]},
            hovertext=[f"{visible(token, 60)}<br><b>{value:+.4g}</b> logits a unit of activation"
                       for token, value in pairs],
            hovertemplate="%{hovertext}<extra></extra>", xaxis="x3", yaxis="y3", showlegend=False,
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis3={"title": "logits a unit of activation", "anchor": "y3"},
        yaxis3={"autorange": "reversed", "anchor": "x3", "showgrid": False,
                "tickvals": list(range(len(pairs))),
                "ticktext": [visible(token, 16) for token, _ in pairs]},
    )  # fmt: skip


def _frame(figure: go.Figure, values: list[float], *, writes: bool) -> None:
    n = len(values)
    top, below = int(figure.layout.margin.t), 60
    height = top + _LINE * n + 60 + _LOWER - 60 + below
    plot = height - top - below
    split = 1 - _LINE * n / plot
    lower = (_LOWER - 60) / plot
    figure.update_layout(
        height=height,
        barmode="overlay",
        margin={"b": below, "l": 60, "r": 24},
        yaxis={"range": [n - 0.5, -0.5], "domain": [split, 1], "fixedrange": True, "ticks": "",
               "showgrid": False, "showline": False, "zeroline": False, "tickvals": list(range(n)),
               "ticktext": [f"{value:.3g}" for value in values]},
        xaxis2={"domain": [0.02, 0.46 if writes else 1]},
        yaxis2={"domain": [0, lower]},
    )  # fmt: skip
    if writes:
        figure.update_layout(xaxis3={"domain": [0.62, 1]}, yaxis3={"domain": [0, lower]})
