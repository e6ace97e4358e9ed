"""norm_weighted_attention: what a head moves from each token, beside how much it looks there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.analysis.result import counted
from neoscope.errors import SiteError
from neoscope.indices import whole
from neoscope.views.figures.attention.square import blocks, veil, veiled_blocks
from neoscope.views.given import expect, row_of
from neoscope.views.heatmaps import MAX_CELLS, colours, gaps, panel, shrunk
from neoscope.views.labels import model_name, numbered, ticks
from neoscope.views.theme import add_note, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import NormWeightedAttention

    GivenNorms = NormWeightedAttention
else:
    GivenNorms = Any

_LOOKS, _MOVES = "share of attention", "norm moved"


def norm_weighted_attention(result: GivenNorms, *, head: Any = None, text: Any = 0) -> go.Figure:
    """Draw how much a head looks at each token, and beside it how much it moves from there.

    A head that rests on the first token, and takes next to nothing from it, looks busy on the left
    and idle on the right.

    Args:
        result: Of :func:`neoscope.analysis.norm_weighted_attention`.
        head: One of its heads, a row of two panels; None for all of them.
        text: Which text of the batch.

    Returns:
        A figure; on the left shares of attention, on the right norms in the residual stream. Each
        has one scale for all heads.

    Raises:
        ViewError: It is another result, or there is no such text.
        SiteError: The result does not hold that head.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet")
        >>> found = ns.analysis.norm_weighted_attention(cache, layer=2)
        >>> len(ns.views.norm_weighted_attention(found, head=1).data)
        2
    """
    source = {"NormWeightedAttention": "analysis.norm_weighted_attention"}
    expect(result, "norm_weighted_attention", source)
    row = row_of(text, len(result.values), "norm_weighted_attention")
    picked = _picked(result, head)
    keys = result.mask[row].nonzero()[0]
    names = numbered(result.strings[row])
    future = np.triu(np.ones((len(keys),) * 2, bool), 1)
    both = [x[row][picked][:, keys][:, :, keys] for x in (result.attention, result.values)]
    hidden = (result.attention[row][:, keys][:, :, keys] == 0).all(0) & ~future
    shown = [np.where(future | hidden, np.float32(np.nan), x) for x in both]
    n = len(picked)
    figure = new_figure(
        f"Where {'head' if n == 1 else 'heads'} "
        f"{', '.join(f'{result.layer}.{result.heads[i]}' for i in picked)} "
        f"{'looks' if n == 1 else 'look'}, and what is moved",
        f"{model_name(result.model)}, text {row} of {len(result.values)}, "
        f"{counted(len(keys), 'token')}; moved: the norm of what the head takes from a "
        "token, in the residual stream",
        height=int(130 + 420 * n),
    )
    titles = [
        f"{result.layer}.{result.heads[i]} {what}" for i in picked for what in ("looks", "moves")
    ]
    figure.set_subplots(n, 2, subplot_titles=titles, horizontal_spacing=0.14,
                        vertical_spacing=min(0.2 / n, 0.2))  # fmt: skip
    figure.update_annotations(font={"size": 12})
    notes = _panels(figure, shown, hidden, names)
    for i, (values, unit, x) in enumerate(((shown[0], _LOOKS, 0.43), (shown[1], _MOVES, 1.0))):
        axis = colours(values, "share" if i == 0 else "amount", unit)
        axis["colorbar"] |= {"x": x, "xanchor": "left", "thickness": 10, "y": 1, "yanchor": "top",
                             "len": 300, "lenmode": "pixels"}  # fmt: skip
        figure.update_layout({"coloraxis" if i == 0 else "coloraxis2": axis})
    missing = gaps(np.where(future | hidden, 0, np.stack(shown)), "the model gave no number")
    for note in (*notes, missing):
        if note:
            add_note(figure, note)
    return figure.update_layout(margin={"t": figure.layout.margin.t + 24})


def _picked(result: GivenNorms, head: Any) -> list[int]:
    if head is None:
        return list(range(len(result.heads)))
    number = whole(head)
    if number not in result.heads:
        held = ", ".join(map(str, result.heads))
        raise SiteError(f"head {head!r} is not in this result; it holds heads {held}")
    return [result.heads.index(number)]


def _panels(figure: go.Figure, shown: list[Any], hidden: Any, names: list[str]) -> list[str]:
    """Add two panels for each head, and return what must be said of them."""
    merged, most = "", MAX_CELLS // (2 * len(shown[0]))
    for i, side in ((i, side) for i in range(len(shown[0])) for side in (0, 1)):
        where = {"row": i + 1, "col": side + 1}
        values, at_rows, at_columns, merged = shrunk(shown[side][i], "amount", max(most, 144))
        rows, columns = blocks(names, at_rows), blocks(names, at_columns)
        trace = panel(values, rows=rows, columns=columns, unit=(_LOOKS, _MOVES)[side],
                      row_title="from", column_title="to",
                      coloraxis="coloraxis" if side == 0 else "coloraxis2")  # fmt: skip
        figure.add_trace(trace, **where)
        veiled = veiled_blocks(hidden, values, (at_rows, at_columns))
        if np.isfinite(veiled).any():
            says = "<b>0</b>: no head looks there (beyond the window, or edited)"
            figure.add_trace(veil(veiled, rows, columns, says), **where)
        small = {"type": "category", "showgrid": False, "tickfont": {"size": 10}}
        room = max(8, math.floor(300 / 15))
        figure.update_xaxes(small, tickangle=-90, **where,
                            **ticks(columns, [names[j] for j in at_columns], room))  # fmt: skip
        figure.update_yaxes(small, autorange="reversed", showticklabels=side == 0, **where,
                            **ticks(rows, [names[j] for j in at_rows], room))  # fmt: skip
    return [merged]
