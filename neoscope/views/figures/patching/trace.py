"""trace: causal tracing by place, and by layer with every draw of noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.errors import ViewError
from neoscope.indices import whole
from neoscope.patching.results import statistics
from neoscope.patching.tracing.result import TraceResult
from neoscope.views.figures.patching.cells import Cells, read_cells
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, template, titled

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid")


def trace(result: Any, *, by_role: bool = False, most: int = 3) -> go.Figure:
    """Draw the indirect effects of a causal trace by layer, with every draw of noise.

    One line for each of the places (positions, or roles of tokens) at which restoring a state
    helps most; thin lines are single draws, bars intervals over prompts. ``views.patching`` draws
    all places as a heatmap.

    Args:
        result: From :func:`neoscope.patching.trace`, with layers and one axis more at most.
        by_role: Average each prompt's tokens by the part that they play, as in ROME's figures.
        most: How many places, the ones with the largest effects; at most 6.

    Raises:
        ViewError: It is no trace, or has other axes.
        PatchingError: Roles were asked for, and not every position was traced by itself.

    Example:
        >>> import neoscope as ns
        >>> from neoscope import patching, views
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("facts", 4)
        >>> result = patching.trace(model, pairs.clean, slice(0, 2), pairs.answer, draws=2)
        >>> len(views.trace(result, most=1).data)  # two draws, and their mean
        3
    """
    if not isinstance(result, TraceResult):
        raise ViewError(
            f"the result of patching.trace was expected, not {type(result).__name__}; "
            "views.patching draws other sweeps"
        )
    if (number := whole(most)) is None or not 1 <= number <= len(_DASHES):
        raise ViewError(f"most={most!r}; expected a number of places, 1 to {len(_DASHES)}")
    found = result.by_role() if by_role else result
    cells = read_cells(found)
    names = cells.names
    if "layer" not in names or len(names) > 2:
        raise ViewError(
            f"a trace by layer has the axis 'layer' and one more at most; this one has {names}. "
            "Take a part with result.select(...), or draw it with views.patching"
        )
    at = names.index("layer")
    figure = make_subplots()
    figure.update_layout(template=template(), height=440)
    titled(figure, f"{cells.what}, layer by layer", " · ".join(cells.said))
    drawn = np.stack([statistics.mean(x) for x in found.effects_by_draw])
    if len(names) == 1:
        _line(figure, cells, None, drawn, 0)
    else:
        size = np.nanmax(np.abs(np.where(np.isnan(cells.effect), 0, cells.effect)), axis=at)
        chosen = [int(i) for i in np.argsort(-size, kind="stable")[:number]]
        for k, i in enumerate(chosen):
            one = cells.at(1 - at, i)
            _line(figure, one, cells.axes[1 - at].names[i], np.take(drawn, i, axis=2 - at), k)
        left = len(cells.axes[1 - at]) - len(chosen)
        if left > 0:
            what = f"{cells.axes[1 - at].title}{'s' * (len(chosen) > 1)}"
            add_note(figure, f"The {len(chosen)} {what} of the largest effect; {left} more in "
                             "views.patching.")  # fmt: skip
    add_note(figure, "Thin: single draws of noise, averaged over prompts. Bars: 95 % intervals "
                     f"over prompts. Total effect {found.total_effect:.3g} "
                     f"{found.unit}.".replace(" .", "."))  # fmt: skip
    layers = cells.axes[at].names
    figure.update_xaxes(title="layer", type="category", categoryorder="array",
                        categoryarray=list(layers), **cells.axes[at].ticks(40))  # fmt: skip
    figure.update_yaxes(title=f"indirect effect, {cells.unit}")
    figure.update_layout(legend={"title": {"text": ""}})
    return figure


def _line(figure: go.Figure, one: Cells, name: str | None, drawn: Any, k: int) -> None:
    """Draw one place: its draws and their mean."""
    layers, colour = list(one.axes[0].names), CATEGORICAL[k % len(CATEGORICAL)]
    shown = name or "effect"
    for i, effect in enumerate(drawn):
        figure.add_trace(go.Scatter(
            x=layers, y=effect, mode="lines", line={"color": colour, "width": 1}, opacity=0.28,
            showlegend=False, legendgroup=str(k), name=shown,
            hovertemplate=f"{shown}, draw {i}<br>layer %{{x}}<br>%{{y:.4g}} {one.unit}"
                          "<extra></extra>",
        ))  # fmt: skip
    interval = next((d.arrays for d in one.details if d.template.startswith("95 %")), None)
    bars = None
    if interval is not None:
        low, high = interval
        bars = {"type": "data", "symmetric": False, "array": high - one.effect,
                "arrayminus": one.effect - low, "color": MUTED, "thickness": 1.2,
                "width": 3}  # fmt: skip
    figure.add_trace(go.Scatter(
        x=layers, y=one.effect, mode="lines+markers", error_y=bars, name=shown,
        line={"color": colour, "width": 2.6, "dash": _DASHES[k]}, marker={"size": 7},
        legendgroup=str(k), showlegend=name is not None,
        hovertemplate=f"{shown}<br>layer %{{x}}<br><b>%{{y:.4g}}</b> {one.unit}<extra></extra>",
    ))  # fmt: skip
