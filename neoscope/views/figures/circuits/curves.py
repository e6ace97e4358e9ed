"""faithfulness: how much of a task circuits of different sizes bring back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.patching.circuits.result import Faithfulness, Minimality
from neoscope.views.figures.patching.bars import NEGATIVE, POSITIVE
from neoscope.views.figures.patching.cells import safe
from neoscope.views.labels import model_name, visible
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, new_figure

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def faithfulness(results: Any) -> go.Figure:
    """Draw the faithfulness of circuits by their number of edges, with bootstrap intervals.

    1 is the whole model and 0 the corrupted run. Completeness is drawn beside it if it is given:
    its results have a label of their own.

    Args:
        results: From :func:`neoscope.patching.faithfulness` or ``completeness``: one, several, or
            a mapping of names to several, one line each.

    Raises:
        ViewError: There is none, or something else.
        PatchingError: Clean and corrupted runs hardly differ.
    """
    lines = _lines(results)
    first = next(iter(lines.values()))[0]
    total = len(first.circuit.graph.edges)
    said = [model_name(first.circuit.model), first.metric, f"{len(first.patched)} pairs",
            f"the model has {total:,} edges"]  # fmt: skip
    figure = new_figure("How much of the task circuits bring back", " · ".join(said), height=440)
    for k, (name, some) in enumerate(lines.items()):
        some = sorted(some, key=_size)
        value = np.array([one.value for one in some])
        ends = np.array([one.interval for one in some])
        bars = None if np.isnan(ends).all() else {
            "type": "data", "symmetric": False, "array": ends[:, 1] - value,
            "arrayminus": value - ends[:, 0], "thickness": 1.4, "width": 3}  # fmt: skip
        figure.add_trace(go.Scatter(
            x=[_size(one) for one in some], y=value, error_y=bars, name=safe(name),
            mode="lines+markers", marker={"size": 8},
            line={"color": CATEGORICAL[k % 7], "dash": _DASHES[k % 6], "width": 2.2},
            customdata=[[*end, one.patched.mean()]
                        for end, one in zip(ends, some, strict=True)],
            hovertemplate=safe(name) + "<br>%{x} edges<br>"
            "<b>%{y:.3f}</b> of the gap<br>95 % interval %{customdata[0]:.3f} to "
            "%{customdata[1]:.3f}<br>metric %{customdata[2]:.3g} " + safe(first.unit)
            + "<extra></extra>",
        ))  # fmt: skip
    for level in (0, 1):
        figure.add_hline(y=level, line={"color": MUTED, "dash": "dot", "width": 1})
    figure.update_xaxes(title="edges in the circuit", rangemode="tozero")
    figure.update_yaxes(title="share of the clean − corrupted gap")
    figure.update_layout(showlegend=len(lines) > 1)
    return figure


def _size(one: Faithfulness) -> int:
    """Return the edges of a circuit; of completeness, those of the circuit that was cut out."""
    n = len(one.circuit)
    return n if one.label == "faithfulness" else len(one.circuit.graph.edges) - n


def _lines(results: Any) -> dict[str, list[Faithfulness]]:
    """Return results by the name of their line."""
    if isinstance(results, Mapping):
        named = {str(name): _listed(some) for name, some in results.items()}
    else:
        named = {}
        for one in _listed(results):
            named.setdefault(getattr(one, "label", ""), []).append(one)
    found = [one for some in named.values() for one in some]
    wrong = next((one for one in found if not isinstance(one, Faithfulness)), None)
    if not found or wrong is not None or not all(named.values()):
        given = "nothing" if wrong is None else type(wrong).__name__
        raise ViewError(
            f"results of patching.faithfulness or completeness were expected, not {given}"
        )
    return named


def _listed(some: Any) -> list[Any]:
    return list(some) if isinstance(some, Sequence) and not isinstance(some, str) else [some]


def minimality(result: Any, *, most: int = 40) -> go.Figure:
    """Draw what a circuit loses with each of its edges alone, largest first.

    Args:
        result: From :func:`neoscope.patching.minimality`.
        most: How many edges at most.

    Raises:
        ViewError: It is something else.
    """
    if not isinstance(result, Minimality):
        raise ViewError(
            f"the result of patching.minimality was expected, not {type(result).__name__}"
        )
    effect = result.effects.mean(1)
    order = np.argsort(-np.abs(effect), kind="stable")[:most]
    n = len(result.whole)
    error = result.effects.std(1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(effect))
    names = [visible(str(result.circuit.edges[i]), 60) for i in order]
    figure = new_figure(
        "What the circuit loses without each edge",
        f"{model_name(result.circuit.model)} · {result.metric}, {n} pairs · "
        f"{len(order)} of {len(effect)} edges",
        height=int(150 + 20 * max(4, len(order))),
    )
    figure.add_trace(go.Bar(
        x=effect[order], y=names, orientation="h", width=0.7, showlegend=False,
        marker={"color": [POSITIVE if effect[i] > 0 else NEGATIVE for i in order]},
        error_x={"type": "data", "array": error[order], "color": MUTED, "thickness": 1.2,
                 "width": 3} if n > 1 else None,
        customdata=error[order],
        hovertemplate="%{y}<br><b>%{x:.4g}</b> " + safe(result.unit)
        + "<br>standard error %{customdata:.2g}<extra></extra>",
    ))  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(title=f"metric lost, {safe(result.unit)}" if result.unit else "metric lost")
    if n > 1:
        add_note(figure, "Whiskers: one standard error over pairs.")
    return figure
