"""calibration: whether a probability of 0.8 came true eight times out of ten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.views.figures.probes.series import named_results
from neoscope.views.figures.similarity.layers import colour_of, named_line, symbol_of
from neoscope.views.labels import escaped
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    from probes.judging.reliability import Bin, Calibration

    Given = Calibration | Mapping[str, Calibration]
else:
    Bin = Given = Any


def calibration(result: Given) -> go.Figure:
    """Draw how often what a probe said came true: on the diagonal, as often as it said.

    Below the diagonal it is too certain. The lower panel counts the rows of each bin.

    Args:
        result: What :func:`probes.judging.calibration` returned, or a mapping of names to several,
            such as before and after a temperature was fitted.

    Raises:
        ViewError: There is none, or something else.

    Example:
        >>> import probes as p
        >>> found = p.judging.calibration([0, 1, 1, 1], [0.2, 0.6, 0.9, 0.9], n_bins=2)
        >>> calibration(found).data[1].y
        (0.0, 1.0)
    """
    named = named_results(result, "calibration", {"Calibration": "probes.judging.calibration"})
    rows = next(iter(named.values()))
    n = sum(one.count for one in rows.bins)
    figure = new_figure(
        "Does it come true as often as the probe says?",
        f"{n:,} rows · {len(rows.bins)} bins of equal width",
        height=560,
    )
    make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.76, 0.24],
                  figure=figure)  # fmt: skip
    figure.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", hoverinfo="skip", showlegend=False,
                   line={"color": MUTED, "dash": "dot", "width": 1.5}),
        row=1, col=1,
    )  # fmt: skip
    for i, (name, one) in enumerate(named.items()):
        label = named_line(name) if name else "this probe"
        held = [part for part in one.bins if part.count]
        figure.add_trace(_line(held, label, i), row=1, col=1)
        figure.add_trace(_counts(held, label, i), row=2, col=1)
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title="what the probe said: probability", row=2, col=1)
    figure.update_yaxes(title="share that came true", range=[-0.02, 1.02], row=1, col=1)
    figure.update_yaxes(title="rows", rangemode="tozero", row=2, col=1)
    figure.update_layout(showlegend=len(named) > 1, barmode="group")
    for name, one in named.items():
        said = f"{name}: expected" if name else "Expected"
        errors = f"calibration error {one.ece:.3g}, largest {one.mce:.3g}"
        add_note(figure, f"{said} {errors}; Brier score {one.brier:.3g}; log loss "
                         f"{one.log_loss:.3g} nats.")  # fmt: skip
    return figure


def _line(held: list[Bin], label: str, i: int) -> go.Scatter:
    return go.Scatter(
        x=[one.confidence for one in held], y=[one.accuracy for one in held], name=label,
        legendgroup=label, mode="lines+markers", line={"color": colour_of(i), "width": 2},
        marker={"symbol": symbol_of(i), "size": 9},
        customdata=[f"{_span(one)}<br>{one.count:,} rows" for one in held],
        hovertemplate=f"{label}<br>said <b>%{{x:.3f}}</b> on average, came true <b>%{{y:.3f}}</b>"
        "<br>%{customdata}<extra></extra>",
    )  # fmt: skip


def _counts(held: list[Bin], label: str, i: int) -> go.Bar:
    return go.Bar(
        x=[(one.low + one.high) / 2 for one in held], y=[one.count for one in held],
        marker={"color": colour_of(i)}, opacity=0.7, legendgroup=label, showlegend=False,
        customdata=[_span(one) for one in held],
        hovertemplate=f"{label}<br>%{{customdata}}<br><b>%{{y:,}}</b> rows<extra></extra>",
    )  # fmt: skip


def _span(one: Bin) -> str:
    return escaped(f"probability {one.low:.3g} to {one.high:.3g}")
