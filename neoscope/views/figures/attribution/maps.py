"""attribution_heads and attribution_sources: the heads' parts of a logit as heatmaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ViewError
from neoscope.views.cell_text import write_cells
from neoscope.views.figures.attribution.figure import MADE_BY
from neoscope.views.figures.attribution.parts import question, subtitle
from neoscope.views.given import expect, number, row_of
from neoscope.views.heatmaps import heatmap
from neoscope.views.labels import model_name, numbered
from neoscope.views.theme import add_note

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import Attribution

    Given = Attribution
else:
    Given = Any


MOST_WRITTEN = 16
"""Above so many heads a layer, cells hold no numbers."""


def attribution_heads(result: Given) -> go.Figure:
    """Draw what each head adds to a logit: layers down, heads across, zero white.

    Args:
        result: Of :func:`neoscope.analysis.direct_logit_attribution` by component, head or source.

    Raises:
        ViewError: Another result, or one that is not split by head.
    """
    expect(result, "attribution_heads", MADE_BY)
    if not (result.head >= 0).any():
        raise ViewError(
            f"views.attribution_heads: an attribution by {result.by!r} has no heads; ask for "
            "by='component', 'head' or 'source'"
        )
    values = np.asarray(result.heads, float)
    figure = heatmap(
        values,
        rows=[str(layer) for layer in range(values.shape[0])],
        columns=[str(head) for head in range(values.shape[1])],
        scale="signed",
        unit="logits",
        title=f"What each head adds to the logit of {question(result)}",
        subtitle=subtitle(result),
        row_title="layer",
        column_title="head",
    )
    if values.shape[1] <= MOST_WRITTEN and len(values) <= 2 * MOST_WRITTEN:
        write_cells(figure, "+.2f")
    return figure


def attribution_sources(result: Given, *, text: int = 0, k: int = 15) -> go.Figure:
    """Draw from which tokens the heads take what they add to a logit: heads down, tokens across.

    Args:
        result: Of :func:`neoscope.analysis.direct_logit_attribution` with ``by="source"``.
        text: Which text, from 0.
        k: How many heads, those that add most in either direction.

    Raises:
        ViewError: Another result or one by something else, no such text, or ``k`` is below 1.
    """
    expect(result, "attribution_sources", MADE_BY)
    if result.by != "source":
        raise ViewError(
            f"views.attribution_sources: this attribution is by {result.by!r}; ask for by='source'"
        )
    row = row_of(text, len(result.values), "attribution_sources")
    most = number(k, "k", "attribution_sources")
    mine = np.flatnonzero((result.source >= 0) & (result.head >= 0))
    heads = sorted({(int(result.layer[i]), int(result.head[i])) for i in mine})
    n = result.positions[row] + 1
    table = np.zeros((len(heads), n))
    place = {head: i for i, head in enumerate(heads)}
    for i in mine.tolist():
        if result.source[i] < n:
            at = place[int(result.layer[i]), int(result.head[i])]
            table[at, result.source[i]] += result.values[row, i]
    kept = sorted(np.argsort(-np.abs(table).sum(1), kind="stable")[:most].tolist())
    tokens = list(result.strings[row][:n]) if result.strings else []
    names = numbered(tokens) if tokens else [str(i) for i in range(n)]
    names += [str(i) for i in range(len(names), n)]
    figure = heatmap(
        table[kept],
        rows=[f"{heads[i][0]}.{heads[i][1]}" for i in kept],
        columns=names,
        scale="signed",
        unit="logits",
        title=f"Where heads take the logit of {question(result)} from",
        subtitle=f"{model_name(result.model)} · text {row} · read at position {n - 1}",
        row_title="head",
        column_title="source token",
    )
    if len(kept) < len(heads):
        add_note(figure, f"{len(kept)} of {len(heads)} heads are shown: those that move most.")
    return figure
