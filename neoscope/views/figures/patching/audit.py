"""audit: an approximation against exact effects, cell by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.patching.gradient.audit import Audit
from neoscope.views.figures.patching.cells import safe
from neoscope.views.labels import visible
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, new_figure


def audit(result: Any, *, names: int = 4) -> go.Figure:
    """Draw exact effects against their approximation; on the line they agree.

    Args:
        result: From ``.audit()`` of an attribution or of edge scores.
        names: How many cells are named, those that the approximation misses by most.

    Raises:
        ViewError: It is something else.

    Example:
        >>> import neoscope as ns
        >>> from neoscope import patching as p, views
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("ioi", 4)
        >>> metric = p.logit_diff(pairs.answer, pairs.wrong)
        >>> edges = p.eap(model, pairs.clean, pairs.corrupted, metric)
        >>> [one.name for one in views.audit(edges.audit(k=5)).data]
        ['exact', 'best ranked', 'drawn at random']
    """
    if not isinstance(result, Audit):
        close = "; call its .audit()" if hasattr(result, "audit") else ""
        raise ViewError(f"an audit was expected, not {type(result).__name__}{close}")
    best, rest = int(result.top.sum()), int((~result.top).sum())
    over_all, of_best, of_rest = map(
        _number,
        (result.rank_correlation, result.rank_correlation_top, result.rank_correlation_random),
    )
    said = [
        f"rank correlation {over_all} (best {of_best}, random {of_rest})",
        f"worst miss {result.worst_miss:.3g} {result.unit}".rstrip(),
        f"{best} best and {rest} random of {result.n_cells:,} cells",
    ]
    figure = new_figure(f"Approximate against exact: {result.method}", " · ".join(said), height=520)
    both = np.concatenate([result.approximate, result.exact])
    finite = both[np.isfinite(both)]
    ends = [float(min(finite.min(initial=0.0), 0)), float(max(finite.max(initial=0.0), 0))]
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", name="exact", hoverinfo="skip",
                                line={"color": MUTED, "dash": "dash", "width": 1.4}))  # fmt: skip
    for group, name, colour, symbol in (
        (result.top, "best ranked", CATEGORICAL[0], "circle"),
        (~result.top, "drawn at random", CATEGORICAL[1], "diamond-open"),
    ):
        at = np.flatnonzero(group)
        if len(at):
            figure.add_trace(go.Scatter(
                x=result.approximate[at], y=result.exact[at], mode="markers", name=name,
                marker={"color": colour, "symbol": symbol, "size": 9},
                text=[visible(result.labels[i].strip(), 90) for i in at],
                customdata=result.error[at],
                hovertemplate="%{text}<br>approximate %{x:.4g}<br>exact <b>%{y:.4g}</b> "
                              f"{safe(result.unit)}<br>off by %{{customdata:.3g}}<extra></extra>",
            ))  # fmt: skip
    _name_worst(figure, result, names)
    if not np.isfinite(both).all():
        add_note(figure, f"{int((~np.isfinite(result.error)).sum())} cells hold no number.")
    unit = f", {safe(result.unit)}" if result.unit else ""
    figure.update_xaxes(title=f"approximate effect{unit}", zeroline=True)
    figure.update_yaxes(title=f"exact effect{unit}", zeroline=True)
    figure.update_layout(legend={"x": 0.02, "y": 0.98})
    return figure


def _name_worst(figure: go.Figure, result: Audit, names: int) -> None:
    """Name the cells that are missed by most, less those whose names would overlap."""
    miss = np.where(np.isfinite(result.error), np.abs(result.error), -1.0)
    apart = 0.05 * float(np.nanmax(result.exact, initial=0) - np.nanmin(result.exact, initial=0))
    named: list[float] = []
    for i in np.argsort(-miss, kind="stable"):
        at = float(result.exact[i])
        if len(named) >= names or miss[i] <= 0:
            return
        if all(abs(at - other) > apart for other in named):
            named.append(at)
            right = bool(result.error[i] > 0)  # below the line, where there is room to the right
            figure.add_annotation(
                x=float(result.approximate[i]), y=at, xanchor="left" if right else "right",
                xshift=9 if right else -9, text=visible(result.labels[i].strip(), 40),
                showarrow=False, font={"size": 11},
            )  # fmt: skip


def _number(x: float) -> str:
    return "undefined" if np.isnan(x) else f"{x:.3f}"
