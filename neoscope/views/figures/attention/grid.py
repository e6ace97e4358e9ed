"""attention_heads: the patterns of all heads of a layer or of a model, on one scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis import reading
from neoscope.analysis.result import counted
from neoscope.views.figures.attention.head import described
from neoscope.views.figures.attention.reading import (
    Text,
    held_layers,
    kind_of,
    one_layer,
    read_patterns,
    read_text,
)
from neoscope.views.figures.attention.square import (
    EDGE,
    blocks,
    edge,
    scale_of,
    veil,
    veiled_blocks,
)
from neoscope.views.figures.attention.table import Tiles
from neoscope.views.heatmaps import MAX_CELLS, colours, gaps, panel, shrunk
from neoscope.views.labels import ticks
from neoscope.views.theme import add_note, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MOST_CELLS = MAX_CELLS
"""Of all panels together: a grid is to be looked at, one head's own figure shows every cell."""
_PANELS = 640
"""About what a row of panels has of the page's width, in pixels."""
_TABLE = 560
"""The same of the table of all heads, whose width is fixed."""
_TINY = 3
"""Tokens of a text whose panels need little room."""
_FEWEST = 12
"""Blocks that a panel has at least, along each side."""


def attention_heads(cache: reading.GivenCache, *, layer: Any = None, text: Any = 0) -> go.Figure:
    """Draw where every head looks: a panel for each head, all on one scale.

    Of one layer, panels have the tokens at their axes; of the whole model, they stand in a table of
    layers and heads. In panels too small for every token, a cell is a block of tokens and shows the
    largest value in it; the note says how large blocks are. What the window of a local layer hides
    is grey.

    Args:
        cache: With ``pattern``; it may come from a file, or keep some positions.
        layer: Of one layer, all heads; None for all layers that the cache holds.
        text: Which text of the batch.

    Returns:
        A figure; values are shares of a token's attention.

    Raises:
        ViewError: The cache holds no patterns, or not that layer's; or there is no such text.
        SiteError: There is no such layer.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet")
        >>> figure = ns.views.attention_heads(cache, layer=2)
        >>> len(figure.data), figure.layout.title.text
        (4, 'Attention of the heads of layer 2 (global)')
    """
    if layer is not None:
        return _layer(cache, one_layer(cache, layer, "attention_heads"), text)
    layers = held_layers(cache, "attention_heads")
    found = read_text(cache, layers[0], text, "attention_heads")
    return _model(cache, layers, found)


def _layer(cache: reading.GivenCache, layer: int, text: Any) -> go.Figure:
    found, window = read_text(cache, layer, text, "attention_heads"), cache.config.window(layer)
    values = _masked(read_patterns(cache, layer, found), found, window)
    n_heads = len(values)
    scale = scale_of(values)
    most = max(_FEWEST**2, _MOST_CELLS // n_heads)
    drawn = [shrunk(one, scale, most) for one in values]
    _, at_rows, at_columns, merged = drawn[0]
    rows, columns = blocks(found.query_names, at_rows), blocks(found.names, at_columns)
    across = min(4, math.ceil(math.sqrt(n_heads)))
    down = math.ceil(n_heads / across)
    lone = max(len(rows), len(columns)) <= _TINY
    side = 130 if lone else int(_PANELS / across)
    figure = new_figure(
        f"Attention of the heads of layer {layer} ({kind_of(window)})",
        described(cache, found.said(), len(found.keys), len(found.rows)),
        height=190 + side * down,
        width=260 + 190 * across if lone else None,
    )
    figure.set_subplots(
        down, across, subplot_titles=[f"head {layer}.{head}" for head in range(n_heads)],
        horizontal_spacing=0.1 / across, vertical_spacing=min(0.2 / down, 0.1),
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    hidden = found.hidden(window)
    for head, (shown, *_) in enumerate(drawn):
        where = {"row": head // across + 1, "col": head % across + 1}
        trace = panel(shown, rows=rows, columns=columns, unit="share of attention",
                      row_title="from", column_title="to", name=f"head {layer}.{head}")  # fmt: skip
        figure.add_trace(trace, **where)
        veiled = veiled_blocks(hidden, shown, (at_rows, at_columns))
        if np.isfinite(veiled).any():
            says = f"<b>cannot</b>: beyond the window of {window} keys"
            figure.add_trace(veil(veiled, rows, columns, says), **where)
            figure.add_shape(type="path", path=edge(np.isfinite(veiled)), line=EDGE, **where)
    _labelled(figure, found, (rows, columns), (at_rows, at_columns), across)
    if len(rows) == len(columns):
        _squared(figure, n_heads)
    return _finished(figure, values, found, window, scale, merged)


def _squared(figure: go.Figure, n_heads: int) -> None:
    """Give every panel equal sides, at the left and the top of its place."""
    for number in range(1, n_heads + 1):
        own = "" if number == 1 else str(number)
        figure.update_layout({
            f"xaxis{own}": {"constrain": "domain"},
            f"yaxis{own}": {"constrain": "domain", "scaleanchor": f"x{own}"},
        })  # fmt: skip


def _labelled(
    figure: go.Figure,
    text: Text,
    names: tuple[list[str], list[str]],
    starts: tuple[list[int], list[int]],
    across: int,
) -> None:
    """Write tokens at the left and lower edge of the grid alone: panels share them."""
    n_heads = len(figure.layout.annotations)
    plain = {"type": "category", "showgrid": False, "tickfont": {"size": 10}}
    rows = ticks(names[0], [text.query_names[i] for i in starts[0]], 480 // across // 14)
    columns = ticks(names[1], [text.names[i] for i in starts[1]], 620 // across // 15)
    figure.update_xaxes(plain, tickangle=-90, showticklabels=False, **columns)
    figure.update_yaxes(plain, autorange="reversed", showticklabels=False, **rows)
    figure.update_yaxes(showticklabels=True, col=1)
    for column in range(across):
        lowest = (n_heads - 1 - column) // across + 1
        figure.update_xaxes(showticklabels=True, row=lowest, col=column + 1)


def _masked(
    values: Float[np.ndarray, "head query key"], text: Text, window: int | None
) -> Float[np.ndarray, "head query key"]:
    return np.where(text.seen(window), values, np.float32(np.nan))


def _finished(
    figure: go.Figure, values: Any, text: Text, window: int | None, scale: str, merged: str
) -> go.Figure:
    """Give all panels their common scale, and say what was merged or is missing."""
    figure.update_layout(coloraxis=colours(values, scale, "share of attention"))
    missing = gaps(np.where(text.seen(window), values, 0), "the model gave no number")
    for note in (merged.replace("cells, drawn", "cells a head, drawn"), missing):
        if note:
            add_note(figure, note)
    figure.update_layout(margin={"t": figure.layout.margin.t + 22})
    return figure


def _model(cache: reading.GivenCache, layers: list[int], text: Text) -> go.Figure:
    config = cache.config
    n_heads = config.n_heads
    most = max(_FEWEST**2, _MOST_CELLS // (len(layers) * n_heads))
    tiles: list[list[Any]] = []
    low, high, n_missing = 0.0, 0.0, 0
    for layer in layers:
        window = config.window(layer)
        values = _masked(read_patterns(cache, layer, text), text, window)
        scale = scale_of(values)
        tiles.append([shrunk(one, scale, most) for one in values])
        known = values[np.isfinite(values)]
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
        n_missing += int(text.seen(window).sum()) * n_heads - known.size
    _, at_rows, at_columns, merged = tiles[0][0]
    rows, columns = blocks(text.query_names, at_rows), blocks(text.names, at_columns)
    table = Tiles(len(rows), len(columns), len(layers), n_heads)
    names = {"x": table.named("head", range(n_heads), "to", columns),
             "y": table.named("layer", layers, "from", rows)}  # fmt: skip
    # Panels are square: their side is what the page's width leaves, or its height where there are
    # many layers.
    side = max(24.0, min(_TABLE / n_heads, 900 / len(layers), 160.0))
    height = int(side * len(layers))
    figure = new_figure(
        f"Attention of every head: {counted(len(layers), 'layer')} of {counted(n_heads, 'head')}",
        described(cache, text.said(), len(text.keys), len(text.rows)),
        height=height + 150,
        width=int(min(1400, height * n_heads / len(layers) + 210)),
    )
    drawn = table.filled([[one[0] for one in line] for line in tiles])
    figure.add_trace(panel(drawn, rows=names["y"], columns=names["x"], unit="share of attention",
                           row_title="", column_title=""))  # fmt: skip
    figure.data[0].update(xgap=0, ygap=0)
    table.frame(figure)
    for i, layer in enumerate(layers):
        hidden = text.hidden(config.window(layer))
        veiled = veiled_blocks(hidden, tiles[i][0][0], (at_rows, at_columns))
        table.shade(figure, i, np.isfinite(veiled))
    table.label(figure, [f"{one} {config.kinds[one]}" for one in layers], names)
    extent = np.array([low, high])
    figure.update_layout(coloraxis=colours(extent, scale_of(extent), "share of attention"))
    missing = f"{n_missing:,} cells hold no number (the model gave none)." if n_missing else ""
    for note in (merged.replace("cells, drawn", "cells a head, drawn"), missing):
        if note:
            add_note(figure, note)
    return figure
