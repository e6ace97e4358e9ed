"""Running text with every token coloured by a number; what losses and attributions are drawn on."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.views.figures.words.cells import label
from neoscope.views.figures.words.lines import COLUMNS, Piece, lines
from neoscope.views.heatmaps import colours
from neoscope.views.ink import GREY, inks, key, powers, shades
from neoscope.views.theme import INK, MONOSPACE, add_note, new_figure

WIDTH = 900
"""Of the figure: fixed, since letters do not grow with a page."""
MOST_TOKENS = 4096
_SIZE, _LINE, _BELOW, _GAP = 14, 24, 78, 0.12
_LOWER = 0.07
"""Of a line: brings letters to the middle of their cell."""
MARK = "#d55e00"
"""Outline of a token that is pointed at."""


def words(
    tokens: Sequence[str],
    values: Sequence[float],
    *,
    scale: str,
    unit: str,
    title: str,
    subtitle: str = "",
    hover: Sequence[str],
    over: Sequence[float] | None = None,
    logarithmic: bool = False,
    plain: Collection[int] = (),
    marked: Collection[int] = (),
    missing: str = "",
    note: str = "",
) -> go.Figure:
    """Draw a text whose tokens are coloured.

    Args:
        tokens: Token strings, in order.
        values: One number a token; NaN is drawn grey.
        scale: ``"share"``, ``"amount"`` or ``"signed"``, as of a heatmap.
        unit: Of the values, for the colour bar.
        title: What is shown.
        subtitle: Of which model, text.
        hover: What is said of each token; escaped.
        over: All values that share the scale, where these are some of them.
        logarithmic: Whether the values are decimal logarithms of what the bar is to say.
        plain: Tokens that are only text, without a colour (a prompt).
        marked: Tokens that get an outline.
        missing: What a grey token means, for the note.
        note: What else the reader must know.

    Raises:
        ViewError: There is no token.
    """
    if not tokens:
        raise ViewError("there is nothing to draw: the text has no token")
    n = min(len(tokens), MOST_TOKENS)
    pieces = lines(list(tokens[:n]))
    mine = [v for i, v in enumerate(values) if i not in plain]
    axis = colours(mine if over is None else over, scale, unit)
    axis = powers(axis) if logarithmic else axis
    known = [p for p in pieces if p.token not in plain and math.isfinite(values[p.token])]
    unknown = [p for p in pieces if p.token not in plain and not math.isfinite(values[p.token])]
    figure = new_figure(title, subtitle, width=WIDTH)
    inked: dict[int, str] = {}
    if known:
        numbers = [float(values[p.token]) for p in known]
        marker = {"color": shades(numbers, axis), "line": _outline(known, marked)}
        figure.add_trace(_bars(known, hover, marker).update(customdata=numbers))
        inked = dict(zip(map(id, known), inks(numbers, axis), strict=True))
    if unknown:
        marker = {"color": GREY, "line": _outline(unknown, marked)}
        figure.add_trace(_bars(unknown, hover, marker))
    if known:
        figure.add_trace(key())
    if cells := [p for p in pieces if p.token not in plain]:
        figure.add_trace(_letters(cells, [inked.get(id(p), INK) for p in cells]))
    if bare := [p for p in pieces if p.token in plain]:
        figure.add_trace(_letters(bare, None))
    for line in (_left_out(n, len(tokens)), missing if unknown else "", note):
        if line:
            add_note(figure, line)
    _frame(figure, max(p.line for p in pieces) + 1, axis, shown=bool(known))
    return figure


def _outline(pieces: Sequence[Piece], marked: Collection[int]) -> dict[str, Any]:
    return {"color": MARK, "width": [2 if p.token in marked else 0 for p in pieces]}


def _bars(pieces: Sequence[Piece], hover: Sequence[str], marker: dict[str, Any]) -> go.Bar:
    """Cells, one a piece. Their text is a trace of its own: plotly measures a bar's text."""
    return go.Bar(
        orientation="h",
        base=[p.start + _GAP / 2 for p in pieces],
        x=[p.width - _GAP for p in pieces],
        y=[p.line for p in pieces],
        width=0.86,
        marker=marker,
        cliponaxis=False,
        hovertext=[hover[p.token] for p in pieces],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def _letters(pieces: Sequence[Piece], ink: Sequence[str] | None) -> go.Scatter:
    """The text of pieces, each in its ink; without ink in the card's own."""
    return go.Scatter(
        x=[p.start + p.width / 2 for p in pieces],
        y=[p.line + _LOWER for p in pieces],
        text=[label(p.text) for p in pieces],
        mode="text",
        textfont={"family": MONOSPACE, "size": _SIZE} | ({"color": list(ink)} if ink else {}),
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )


def _left_out(n: int, total: int) -> str:
    return f"The first {n:,} of {total:,} tokens." if n < total else ""


def _frame(figure: go.Figure, n_lines: int, axis: dict[str, Any], *, shown: bool) -> None:
    """Fix the size, so that a column of the text is as wide as a letter."""
    bar = {
        **axis["colorbar"], "orientation": "h", "y": -14 / (_LINE * n_lines), "yanchor": "top",
        "x": 0, "xanchor": "left", "len": 0.45, "thickness": 10, "xpad": 0, "ypad": 0,
        "title": {"text": axis["colorbar"]["title"]["text"], "side": "top", "font": {"size": 12}},
    }  # fmt: skip
    top = figure.layout.margin.t
    figure.update_layout(
        coloraxis={**axis, "colorbar": bar, "showscale": shown},
        barmode="overlay",
        dragmode=False,
        hovermode="closest",
        margin={"l": 20, "r": 20, "b": _BELOW},
        height=int(top + _LINE * n_lines + _BELOW),
    )
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[0, COLUMNS], **hidden)
    figure.update_yaxes(range=[n_lines - 0.5, -0.5], **hidden)
