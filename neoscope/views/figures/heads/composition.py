"""composition: how much of what one head writes a later head reads, for every pair of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ViewError
from neoscope.views.figures.attention.square import veil
from neoscope.views.given import expect, one_of
from neoscope.views.heatmaps import colours, panel, shrunk
from neoscope.views.labels import model_name, ticks
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import Composition

    GivenComposition = Composition
else:
    GivenComposition = Any

_KINDS = {"q": "queries", "k": "keys", "v": "values"}


def composition(result: GivenComposition, *, kind: str | None = None) -> go.Figure:
    """Draw the composition scores of every pair of heads: who writes, and who reads it later.

    Args:
        result: Of :func:`neoscope.analysis.composition`.
        kind: Through the later head's ``"q"``, ``"k"`` or ``"v"``; None or ``"all"`` for all three,
            on one scale.

    Returns:
        A figure; scores are from 0 to 1, and random weights would score what the subtitle says. A
        cell is grey where the reader does not come after the writer.

    Raises:
        ViewError: It is another result, of one layer, or there is no such kind.

    Example:
        >>> import neoscope as ns
        >>> found = ns.analysis.composition(ns.load("induction"))
        >>> ns.views.composition(found, kind="k").data[0].z.shape
        (4, 4)
    """
    expect(result, "composition", {"Composition": "analysis.composition"})
    if kind not in (None, "all"):
        one_of(kind, "kind", (*_KINDS, "all"), "composition")
    n_layers, n_heads = result.q.shape[:2]
    if n_layers < 2:
        raise ViewError(
            f"views.composition: {model_name(result.model)} has one layer, so that no head can "
            "read what one of an earlier layer wrote"
        )
    kinds = list(_KINDS) if kind in (None, "all") else [str(kind)]
    writers = [f"{i}.{h}" for i in range(n_layers - 1) for h in range(n_heads)]
    readers = [f"{i}.{h}" for i in range(1, n_layers) for h in range(n_heads)]
    size = len(writers)
    tables = [getattr(result, one)[:-1, :, 1:].reshape(size, size) for one in kinds]
    side = int(min(820, max(220, 12 * size))) if len(kinds) == 1 else 300
    figure = new_figure(
        f"How heads read what earlier heads write{_through(kinds)}",
        f"{model_name(result.model)}, composition scores (Elhage et al. 2021); white is "
        f"{result.baseline:.3g}, which random weights would score",
        height=200 + side,
    )
    if len(kinds) > 1:
        figure.set_subplots(1, 3, subplot_titles=[f"by its {_KINDS[one]}" for one in kinds],
                            shared_yaxes=True, horizontal_spacing=0.04)  # fmt: skip
        figure.update_annotations(font={"size": 12})
        figure.update_layout(margin={"t": figure.layout.margin.t + 22})
    for i, table in enumerate(tables):
        shown, at_rows, at_columns, merged = shrunk(table, "amount")
        trace = panel(shown, rows=[writers[j] for j in at_rows],
                      columns=[readers[j] for j in at_columns], unit=f"{kinds[i].upper()} score",
                      row_title="head writes:", column_title="head reads:")  # fmt: skip
        where = {"row": 1, "col": i + 1} if len(kinds) > 1 else {}
        figure.add_trace(trace, **where)
        grey = np.where(np.isnan(shown), np.float32(1), np.float32(np.nan))
        if np.isfinite(grey).any():
            says = "<b>cannot</b>: the reader does not come after the writer"
            figure.add_trace(veil(grey, list(trace.y), list(trace.x), says,
                                  ("head writes:", "head reads:")), **where)  # fmt: skip
    figure.update_layout(coloraxis=_around(result.baseline, np.stack(tables)))
    few = max(6, side // 16)
    plain = {"type": "category", "showgrid": False, "tickfont": {"size": 10}}
    figure.update_xaxes(plain, title="reads", tickangle=-90, **ticks(readers, readers, few))
    figure.update_yaxes(plain, autorange="reversed", **ticks(writers, writers, few))
    figure.update_yaxes(title="writes", **({"col": 1} if len(kinds) > 1 else {}))
    for start in range(n_heads, size, n_heads):
        line = {"color": MUTED, "width": 0.5}
        figure.add_hline(y=start - 0.5, line=line)
        figure.add_vline(x=start - 0.5, line=line)
    if merged:
        add_note(figure, merged)
    if n_layers > 2:
        add_note(figure, "Grey: cannot, the reader does not come after the writer.")
    return figure


def _around(baseline: float, scores: Any) -> dict[str, Any]:
    """The colour scale: white at what chance gives, the same distance to either side."""
    axis = colours(scores - baseline, "signed", "score")
    return axis | {"cmin": baseline + axis["cmin"], "cmax": baseline + axis["cmax"]}


def _through(kinds: list[str]) -> str:
    return f", by their {_KINDS[kinds[0]]}" if len(kinds) == 1 else ""
