"""evaluation and comparison: scores with intervals, beside published figures or with edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.views.figures.evaluation.panels import Panel, intervals, names, panels, stacked
from neoscope.views.given import expect
from neoscope.views.labels import escaped, model_name
from neoscope.views.theme import CATEGORICAL, MUTED, new_figure

if TYPE_CHECKING:
    from neoscope.evaluate import Comparison, Evaluation
else:
    # Checked where they are read, with an error that says what was found instead.
    Comparison = Evaluation = Any

_NOTE = "Whiskers: 95% intervals (normal), where the metric has a standard error."
BEFORE, AFTER = CATEGORICAL[0], CATEGORICAL[1]


def evaluation(result: Evaluation) -> go.Figure:
    """Draw each task's score with its interval, and the published figure where there is one.

    Accuracies share a scale from 0 to 1; every other metric has its own.

    Args:
        result: Of :func:`neoscope.evaluate.evaluate`.

    Raises:
        ViewError: Another result, or no score.
    """
    expect(result, "evaluation", {"Evaluation": "evaluate.evaluate"})
    shown = _main(result.main, "evaluation")
    found = panels(result.metric, shown)
    known = bool(np.isfinite(result.published[shown]).any())
    title = f"Scores of {model_name(result.model)}"
    figure = new_figure(title, _under(result.heading(), "evaluation"), note=_NOTE)
    stacked(figure, found)
    for place, panel in enumerate(found, 1):
        rows = list(panel.rows)
        labels = names(result.label, result.metric, result.filter, rows)
        figure.add_trace(_bars(result, panel, labels, place), row=place, col=1)
        published = result.published[rows]
        if np.isfinite(published).any():
            figure.add_trace(_published(result, published, labels), row=place, col=1)
    figure.update_layout(showlegend=known, bargap=0.35)
    _legend_once(figure)
    return figure


def _bars(result: Evaluation, panel: Panel, labels: list[str], place: int) -> go.Bar:
    rows = list(panel.rows)
    better = ["higher" if up else "lower" for up in result.higher_is_better[rows]]
    hover = [
        f"{label}<br><b>{value:.4g}</b>{_give(error)}<br>{int(n):,} examples, {int(shots)} shots; "
        f"{way} is better"
        for label, value, error, n, shots, way in zip(
            labels, result.value[rows], result.stderr[rows], result.n[rows],
            result.num_fewshot[rows], better, strict=True,
        )
    ]  # fmt: skip
    return go.Bar(
        orientation="h", x=result.value[rows].tolist(), y=labels, name="this model",
        legendgroup="this", marker={"color": BEFORE}, hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        error_x={**intervals(result.stderr[rows].tolist()), "color": MUTED},
    )  # fmt: skip


def _published(result: Evaluation, published: Any, labels: list[str]) -> go.Scatter:
    where = escaped(f"{result.published_as or 'this model'}, {result.source or 'published'}")
    return go.Scatter(
        x=published.tolist(), y=labels, mode="markers", name="published", legendgroup="published",
        marker={"symbol": "diamond", "size": 11, "color": AFTER,
                "line": {"color": "#ffffff", "width": 1.5}},
        hovertemplate=f"published of {where}<br><b>%{{x:.4g}}</b><extra></extra>",
    )  # fmt: skip


def comparison(result: Comparison) -> go.Figure:
    """Draw each task's score as the model is, and with edits, joined by a line.

    Beside each pair stands the difference; its interval is on hover, paired example by example.

    Args:
        result: Of :func:`neoscope.evaluate.compare`.

    Raises:
        ViewError: Another result, or no score.
    """
    expect(result, "comparison", {"Comparison": "evaluate.compare"})
    found = panels(result.metric, _main(result.main, "comparison"))
    figure = new_figure(
        f"{model_name(result.model)} as it is, and with {', '.join(result.edits)}",
        _under(result.heading(), "evaluation"),
        note="Numbers: the difference, with its 95% interval (normal, paired by example).",
    )
    stacked(figure, found)
    for place, panel in enumerate(found, 1):
        rows = list(panel.rows)
        labels = names(result.label, result.metric, result.filter, rows)
        for trace in _pairs(result, rows, labels):
            figure.add_trace(trace, row=place, col=1)
    figure.update_layout(margin={"r": 150})  # for the numbers
    _legend_once(figure)
    return figure


def _pairs(result: Comparison, rows: list[int], labels: list[str]) -> list[go.Scatter]:
    clean, edited = result.clean[rows], result.edited[rows]
    lines: dict[str, list[Any]] = {"x": [], "y": []}
    for label, a, b in zip(labels, clean.tolist(), edited.tolist(), strict=True):
        lines["x"] += [a, b, None]
        lines["y"] += [label, label, None]
    errors = result.stderr[rows].tolist()
    moved = [
        f"{b - a:+.3g}" + ("" if np.isnan(e) else f" ± {1.96 * e:.2g}")
        for a, b, e in zip(clean.tolist(), edited.tolist(), errors, strict=True)
    ]
    hover = [
        f"{label}<br>as it is {a:.4g}<br>edited <b>{b:.4g}</b><br>difference {gap}<br>"
        f"{int(n):,} examples"
        for label, a, b, gap, n in zip(labels, clean, edited, moved, result.n[rows], strict=True)
    ]
    shared: dict[str, Any] = {"y": labels, "hovertext": hover, "mode": "markers",
                              "hovertemplate": "%{hovertext}<extra></extra>"}  # fmt: skip
    return [
        go.Scatter(**lines, mode="lines", line={"color": MUTED, "width": 2}, hoverinfo="skip",
                   showlegend=False),
        go.Scatter(x=clean.tolist(), name="as it is", legendgroup="clean",
                   marker={"color": BEFORE, "size": 12}, **shared),
        go.Scatter(x=edited.tolist(), name="edited", legendgroup="edited",
                   marker={"color": AFTER, "size": 12, "symbol": "square"}, **shared),
        go.Scatter(x=np.maximum(clean, edited).tolist(), y=labels, mode="text", cliponaxis=False,
                   text=[f"   {one}" for one in moved], textposition="middle right",
                   hoverinfo="skip", showlegend=False),
    ]  # fmt: skip


def _main(main: Any, view: str) -> list[int]:
    rows = [int(i) for i in np.flatnonzero(main)]
    if not rows:
        raise ViewError(f"views.{view}: this result holds no score")
    return rows


def _give(stderr: float) -> str:
    return "" if np.isnan(stderr) else f" ± {1.96 * stderr:.2g} (95%)"


def _under(heading: str, first: str) -> str:
    """What the heading says beside the model's name."""
    parts = heading.split("; ")
    return "; ".join(part for part in parts if not part.startswith(first))


def _legend_once(figure: go.Figure) -> None:
    """Name every kind of mark once, however many panels there are."""
    seen: set[str] = set()
    for trace in figure.data:
        if trace.legendgroup:
            trace.showlegend = trace.legendgroup not in seen
            seen.add(trace.legendgroup)
