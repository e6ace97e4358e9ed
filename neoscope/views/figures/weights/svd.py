"""svd_reading: a head's singular values, and the tokens that each pair of vectors joins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.cell_text import write_cells
from neoscope.views.figures.similarity.layers import headroom, panel_title, place_titles
from neoscope.views.given import expect, number
from neoscope.views.heatmaps import colours, panel
from neoscope.views.labels import model_name, visible
from neoscope.views.theme import CATEGORICAL, MONOSPACE, MUTED, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis.weights.svd import SvdReading
else:
    SvdReading = Any

_LINE, _VALUES = 26, 130
_ROOM = 350
"""Of each side, in pixels: its tokens stand beside each other in it."""


def svd_reading(result: SvdReading, *, top: int = 5) -> go.Figure:
    """Draw the singular values of a head's circuit, and the tokens of the vectors that were read.

    Above, each value's share of the squared norm. Below, a row for each vector and sign: a head
    pairs the tokens on the left with those on the right of the same row. Colour is the score.

    Args:
        result: What :func:`neoscope.analysis.svd_reading` returned.
        top: Most tokens of each side.

    Raises:
        ViewError: It is no such result, or ``top`` is below 1.

    Example:
        >>> import neoscope as ns
        >>> read = ns.analysis.svd_reading(ns.load("induction"), 1, 0, k=2, top=3)
        >>> svd_reading(read).data[1].y
        ('0 +', '0 −', '1 +', '1 −')
    """
    expect(result, "svd_reading", {"SvdReading": "analysis.svd_reading"})
    shown = min(number(top, "top", "svd_reading"), result.ids.shape[-1])
    n = len(result.ids)
    low = max(2 * n, 3) * _LINE
    figure = new_figure(
        f"What head {result.layer}.{result.head} joins: singular vectors of its "
        f"{result.circuit.upper()} circuit",
        f"{model_name(result.model)} · {n} of {len(result.singular_values)} vectors, "
        f"{result.share[:n].sum():.0%} of the squared norm",
    )
    names = [f"{side}: tokens by score" for side in result.sides]
    figure.set_subplots(
        2, 2, specs=[[{"colspan": 2}, None], [{}, {}]], row_heights=[_VALUES, low],
        vertical_spacing=90 / (_VALUES + low + 90), horizontal_spacing=0.14,
        subplot_titles=[panel_title(text) for text in ("singular values", *names)],
    )  # fmt: skip
    figure.add_trace(_values(result), row=1, col=1)
    for side in range(2):
        _tokens(figure, result, side, shown)
    figure.update_yaxes(title="share", title_font_size=13, row=1, col=1)
    figure.update_xaxes(title="vector", title_font_size=13, row=1, col=1)
    left = result.ids.shape[-1] - shown
    said = "Of one row, tokens on the left go with those on the right."
    add_note(figure, said + (f" {left} more a side: to_dataframe()." if left else ""))
    place_titles(figure)
    headroom(figure)
    figure.update_layout(height=int(figure.layout.margin.t + _VALUES + low + 180),
                         margin={"b": 60}, showlegend=False)  # fmt: skip
    return figure


def _values(result: SvdReading) -> go.Bar:
    """Every singular value by its share; those that were read in colour."""
    n = len(result.singular_values)
    return go.Bar(
        x=list(range(n)), y=result.share.tolist(),
        marker={"color": [CATEGORICAL[0] if i < len(result.ids) else MUTED for i in range(n)]},
        customdata=result.singular_values.tolist(),
        hovertemplate="vector %{x}<br>singular value <b>%{customdata:.4g}</b><br>"
        "%{y:.2%} of the squared norm<extra></extra>",
    )  # fmt: skip


def _tokens(figure: go.Figure, result: SvdReading, side: int, shown: int) -> None:
    """Add one side's tokens: a row for each vector and sign, a column for each rank."""
    places = [(vector, sign) for vector in range(len(result.ids)) for sign in range(2)]
    names = [f"{vector} {'+−'[sign]}" for vector, sign in places]
    scores = np.stack([result.scores[v, side, s, :shown] for v, s in places]).astype(np.float64)
    words = [result.tokens[v][side][s][:shown] for v, s in places]
    axis = f"coloraxis{side + 1}" if side else "coloraxis"
    said = [[visible(one, 40) for one in row] for row in words]
    ranks = [str(i + 1) for i in range(shown)]
    trace = panel(scores, rows=names, columns=ranks, unit="", coloraxis=axis, customdata=said)
    trace.hovertemplate = (
        f"vector %{{y}}, {result.sides[side]}<br>%{{customdata}}<br>score <b>%{{z:.4g}}</b>"
        "<extra></extra>"
    )
    figure.add_trace(trace, row=2, col=side + 1)
    # Embedding and unembedding have scales of their own.
    figure.update_layout({axis: {**colours(scores, "signed", ""), "showscale": False}})
    figure.update_xaxes(title="rank", title_font_size=13, type="category", showgrid=False,
                        row=2, col=side + 1)  # fmt: skip
    figure.update_yaxes(type="category", showgrid=False, row=2, col=side + 1)
    letters = max(4, int(_ROOM / shown / 7.6))
    write_cells(figure, [[visible(one, letters) for one in row] for row in words],
                trace=len(figure.data) - 1, size=11, family=MONOSPACE)  # fmt: skip
