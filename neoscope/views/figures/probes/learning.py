"""learning_curve: a probe's score by the number of rows that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.views.figures.probes.series import named_results
from neoscope.views.figures.probes.sweep import METRICS
from neoscope.views.figures.similarity.layers import colour_of, named_line, spans, symbol_of
from neoscope.views.theme import new_figure

if TYPE_CHECKING:
    from probes.judging.curves import LearningCurve

    Given = LearningCurve | Mapping[str, LearningCurve]
else:
    Given = Any

_MOST_TICKS = 12


def learning_curve(curves: Given) -> go.Figure:
    """Draw the score on the same test rows by the number of training rows, with its intervals.

    Args:
        curves: What :func:`probes.judging.learning_curve` returned, or a mapping of names to
            several: one line each.

    Raises:
        ViewError: There is none, something else, or curves of different metrics.

    Example:
        >>> import numpy as np, probes as p
        >>> X = np.random.default_rng(0).normal(size=(80, 4))
        >>> found = p.judging.learning_curve(p.LogisticProbe(), X, X[:, 0] > 0, sizes=[8, 32],
        ...     n_bootstrap=10, progress=False)
        >>> learning_curve(found).data[1].x
        (8, 32)
    """
    named = named_results(
        curves, "learning_curve", {"LearningCurve": "probes.judging.learning_curve"}
    )
    metrics = list(dict.fromkeys(one.metric for one in named.values()))
    if len(metrics) > 1:
        raise ViewError(
            f"views.learning_curve: curves of {', '.join(metrics)}; one figure has one metric"
        )
    title, unit = METRICS.get(metrics[0], (metrics[0], ""))
    first = next(iter(named.values())).intervals[0]
    figure = new_figure(
        f"How {title} grows with the rows trained on",
        f"the same test rows each time · {first.confidence:.0%} intervals over {first.n_groups:,} "
        "groups of them",
    )
    for i, (name, one) in enumerate(named.items()):
        label = named_line(name) if name else title
        ends = [(interval.low, interval.high) for interval in one.intervals]
        figure.add_trace(
            spans([float(size) for size in one.sizes], ends, colour_of(i), legendgroup=label)
        )
        figure.add_trace(_line(one, label, ends, i))
    figure.update_xaxes(title="rows trained on", type="log", **_ticks(named))
    figure.update_yaxes(title=f"{title} ({unit})" if unit else title)
    figure.update_layout(showlegend=len(named) > 1)
    return figure


def _line(one: LearningCurve, label: str, ends: list[tuple[float, float]], i: int) -> go.Scatter:
    around = [f" [{low:.3g}, {high:.3g}]" if low == low else "" for low, high in ends]
    return go.Scatter(
        x=list(one.sizes), y=list(one.scores), name=label, legendgroup=label, customdata=around,
        mode="lines+markers", line={"color": colour_of(i), "width": 2},
        marker={"symbol": symbol_of(i), "size": 8},
        hovertemplate=f"{label}<br>%{{x:,}} rows<br><b>%{{y:.4g}}</b>%{{customdata}}"
        "<extra></extra>",
    )  # fmt: skip


def _ticks(named: dict[str, Any]) -> dict[str, Any]:
    """The sizes themselves, where there is room for each."""
    sizes = sorted({size for one in named.values() for size in one.sizes})
    if len(sizes) > _MOST_TICKS:
        return {"dtick": 1}
    return {"tickvals": sizes, "ticktext": [f"{size:,}" for size in sizes]}
