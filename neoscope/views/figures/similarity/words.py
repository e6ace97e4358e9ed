"""nearest_neighbours: the tokens nearest to some tokens, as a table in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.cell_text import write_cells
from neoscope.views.figures.probes.confusion_matrix import distinct
from neoscope.views.given import expect
from neoscope.views.heatmaps import heatmap
from neoscope.views.labels import model_name, visible
from neoscope.views.theme import MONOSPACE, add_note

if TYPE_CHECKING:
    from neoscope.analysis.weights.embedding_near import NearestNeighbours
else:
    NearestNeighbours = Any

_UNITS = {"cosine": "cosine", "euclidean": "distance", "dot": "dot product"}


def nearest_neighbours(result: NearestNeighbours) -> go.Figure:
    """Draw the tokens nearest to some tokens: a row a token, the nearest on the left.

    Args:
        result: What :func:`neoscope.analysis.nearest_neighbours` returned.

    Raises:
        ViewError: It is no such result.

    Example:
        >>> import neoscope as ns
        >>> near = ns.analysis.nearest_neighbours(ns.load("organism"), [" keys", " Mary"], k=3)
        >>> nearest_neighbours(near).data[0].y
        ('·keys', '·Mary')
    """
    expect(result, "nearest_neighbours", {"NearestNeighbours": "analysis.nearest_neighbours"})
    scores = np.asarray(result.scores, np.float64)
    rows = distinct(list(result.queries), 24)
    ranks = [str(i + 1) for i in range(scores.shape[1])]
    unit = _UNITS.get(result.metric, result.metric)
    far = result.metric == "euclidean"
    figure = heatmap(
        scores, rows=rows, columns=ranks, scale="signed" if scores.min() < 0 else "amount",
        unit=unit, title=f"Nearest tokens in the {result.space}", row_title="token",
        column_title="rank", subtitle=f"{model_name(result.model)} · {unit}"
        f"{', the mean of all rows taken away' if result.centred else ''}",
        height=int(min(900, 210 + 42 * len(rows))),
    )  # fmt: skip
    size = 12 if len(ranks) <= 10 else 9
    longest = max(4, 96 // len(ranks))
    values = [[f"<br>{value:.3g}" for value in row] for row in scores]
    texts = [
        [visible(one, longest) + value for one, value in zip(row, said, strict=True)]
        for row, said in zip(result.tokens, values, strict=True)
    ]
    figure.data[0].update(
        customdata=[[visible(one, 40) for one in row] for row in result.tokens],
        hovertemplate=f"%{{customdata}}<br>neighbour %{{x}} of %{{y}}<br><b>%{{z:.4g}}</b> {unit}"
        "<extra></extra>",
    )  # fmt: skip
    if far:
        figure.update_layout(coloraxis_reversescale=True)
    write_cells(figure, texts, size=size, family=MONOSPACE)
    return (
        add_note(figure, f"{result.note[0].upper()}{result.note[1:]}.") if result.note else figure
    )
