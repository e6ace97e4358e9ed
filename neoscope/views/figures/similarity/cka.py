"""similarity: how alike layers are, of one model or of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.cell_text import write_cells
from neoscope.views.figures.probes.confusion_matrix import distinct
from neoscope.views.figures.similarity.layers import split_name
from neoscope.views.given import expect
from neoscope.views.heatmaps import heatmap
from neoscope.views.theme import add_note

if TYPE_CHECKING:
    from neoscope.analysis.similar.layers import Similarity
else:
    Similarity = Any

_WITH_NUMBERS = 16


def similarity(result: Similarity, *, name: str = "", other_name: str = "") -> go.Figure:
    """Draw CKA between every two layers: 1 is equal up to rotation and scale.

    Args:
        result: What :func:`neoscope.analysis.similarity` returned.
        name: What its rows are of, such as a model; plain text.
        other_name: What its columns are of.

    Raises:
        ViewError: It is no such result.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet are")
        >>> similarity(ns.analysis.similarity(cache)).data[0].y
        ('0', '1', '2', '3')
    """
    expect(result, "similarity", {"Similarity": "analysis.similarity"})
    rows, down = _axis(result.names, name)
    columns, across = _axis(result.other_names, other_name)
    kind = "debiased" if result.debiased else "biased"
    values = np.asarray(result.cka, np.float64)
    figure = heatmap(
        values, rows=rows, columns=columns, scale="share", unit="linear CKA",
        title="How alike layers are", row_title=down, column_title=across,
        subtitle=f"linear CKA ({kind}) of {result.what} · {result.n_rows:,} rows",
        missing="a side that does not vary", height=int(min(900, max(380, 200 + 30 * len(rows)))),
    )  # fmt: skip
    if max(values.shape) <= _WITH_NUMBERS:
        write_cells(figure, ".2f")
    below = int((values < 0).sum())
    if below:
        add_note(
            figure,
            f"{below} values are below 0 (the least is {np.nanmin(values):.3g}), as the debiased "
            "estimate of unrelated rows can be; they have the colour of 0.",
        )
    return figure


def _axis(names: tuple[str, ...], whose: str) -> tuple[list[str], str]:
    """Return the names on an axis, escaped, and what stands beside it."""
    from neoscope.views.labels import visible

    places = [split_name(name) for name in names]
    of = f" of {visible(whose, 40)}" if whose else ""
    if len({site for site, _ in places}) == 1 and all(layer is not None for _, layer in places):
        site = visible(places[0][0], 40)
        return [str(layer) for _, layer in places], f"layer{of} ({site})"
    return distinct(list(names), 32), whose and visible(whose, 40)
