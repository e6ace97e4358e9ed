"""lens: what every layer would say at every token, with the output on top."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from neoscope.analysis.result import counted
from neoscope.views.figures.lens.cells import (
    LENS_COLOURS,
    SCALE,
    SHORT,
    UNITS,
    blocks_said,
    missing,
    numbers,
    said,
)
from neoscope.views.figures.words.text import MARK
from neoscope.views.given import expect, one_of, tokens_of, window
from neoscope.views.heatmaps import colours, shrunk
from neoscope.views.ink import inks, powers
from neoscope.views.labels import cut, escaped, model_name, visible
from neoscope.views.theme import INK, MONOSPACE, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis import LensResult

    Given = LensResult
else:
    Given = LensResult = Any

MOST_WRITTEN = 30
"""Above so many tokens, cells hold no text."""
MOST_ROWS = 60
_LETTER, _CELL, _SIDES, _WIDTH = 6.4, 44, 210, 860
_OUTLINED, _LETTERS = 120, 10.5
MOST_COLUMNS = 600
"""More would be narrower than a pixel."""
_MOST_TICKS = 26


def lens(
    result: Given,
    *,
    color: str = "probability",
    text: int = 0,
    positions: Any = None,
) -> go.Figure:
    """Draw what each row of a lens would say at each token of one text.

    Rows are layers (or components, or heads), the last on top; columns are tokens. A cell holds the
    likeliest token; where that is the token that follows, it is outlined. Above 30 tokens, or 60
    rows, the cells are coloured only, and the figure says so.

    Args:
        result: Of :func:`neoscope.analysis.logit_lens` or ``tuned_lens``.
        color: ``"probability"`` of the likeliest token, ``"next_probability"`` of the token that
            follows, ``"entropy"``, ``"kl"`` (from the model's output), ``"cross_entropy"`` (the
            next token's surprisal), all in nats, or ``"rank"`` of the next token.
        text: Which text, from 0.
        positions: Which of its tokens: None for all, a range, a slice or numbers.

    Raises:
        ViewError: Another result, no such text or position, or no such colour.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet")
        >>> figure = lens(ns.analysis.logit_lens(cache), color="kl")
        >>> figure.layout.yaxis.ticktext
        ('embed', '0', '1', '2', '3', 'next token')
    """
    expect(result, "lens", {"LensResult": "analysis.logit_lens or tuned_lens"})
    one_of(color, "color", LENS_COLOURS, "lens")
    mine = tokens_of(result.text, text, "lens")
    at = [mine[i] for i in window(positions, len(mine), "lens")]
    written = len(at) <= MOST_WRITTEN and len(result.labels) <= MOST_ROWS
    width = int(max(_WIDTH, _SIDES + _CELL * len(at))) if written else _WIDTH
    letters = max(3, int((width - _SIDES) / len(at) / _LETTER))
    values = numbers(result, color, at)
    figure = new_figure(
        f"{result.lens.capitalize()} lens: what each layer would say next",
        f"{model_name(result.model)} · {result.site} · text {text}, {len(at):,} of "
        f"{counted(len(mine), 'token')} · colour: {UNITS[color]}",
        width=width if width > _WIDTH else None,
    )
    merged = _cells(figure, result, values, at, color, letters if written else 0)
    right = _right(result, at)
    if len(at) <= _OUTLINED and right.any():
        figure.add_trace(_outlines(right))
    above = written and bool((result.next_ids[at] >= 0).any())
    if above:
        figure.add_trace(_following(result, at, letters))
    high = _axes(figure, result, at, above=above)
    absent = missing(result, values, at, color)
    _notes(figure, result, absent, right, merged=merged, written=written, n=len(at))
    figure.update_layout(height=int(figure.layout.margin.t + 110 + high))
    return figure


def _cells(
    figure: go.Figure,
    result: LensResult,
    values: Float[np.ndarray, "row token"],
    at: Sequence[int],
    color: str,
    letters: int,
) -> str:
    """Add the heatmap, and return what to say if cells were merged."""
    axis = colours(values, SCALE.get(color, "amount"), SHORT[color])
    shown, rows, columns, merged = shrunk(
        values, SCALE.get(color, "amount"), most_columns=MOST_COLUMNS
    )
    hover = None if merged else said(result, at)
    options: dict[str, Any] = {"hovertemplate": "<b>%{z:.4g}</b><extra></extra>"}
    if merged:
        where = blocks_said(result, at, rows, columns)
        said_so = f"%{{hovertext}}<br><b>%{{z:.4g}}</b> {SHORT[color]}<extra></extra>"
        options = {"hovertext": where, "hovertemplate": said_so}
    if hover is not None:
        options = {"hovertext": hover, "hovertemplate": "%{hovertext}<extra></extra>"}
    gap = 1 if len(at) <= _OUTLINED else 0
    # A block stands in the middle of its columns.
    step = columns[1] - columns[0] if len(columns) > 1 else 1
    places = [column + (step - 1) / 2 for column in columns]
    figure.add_trace(
        go.Heatmap(z=shown.astype(np.float32), x=places, y=rows, coloraxis="coloraxis", xgap=gap,
                   ygap=1, **options)
    )  # fmt: skip
    if letters:
        figure.add_trace(_words(result, values, at, axis, letters))
    figure.update_layout(coloraxis=powers(axis) if color == "rank" else axis)
    return merged


def _words(
    result: LensResult, values: Any, at: Sequence[int], axis: dict[str, Any], letters: int
) -> go.Scatter:
    """The likeliest token of each cell, in ink that is readable on the cell."""
    rows, columns = np.indices(values.shape).reshape(2, -1).tolist()
    finite = np.nan_to_num(values.ravel(), nan=axis["cmin"]).tolist()
    tokens = result.top_tokens[:, list(at), 0].ravel().tolist()
    blank = np.isnan(values.ravel()).tolist()
    # A model that gave no number has no likeliest token either.
    known = np.isfinite(result.top_probability[:, list(at), 0]).ravel().tolist()
    inked = zip(inks(finite, axis), blank, strict=True)
    font = {"family": MONOSPACE, "size": _LETTERS, "color": [INK if no else c for c, no in inked]}
    return go.Scatter(
        x=columns, y=rows, mode="text",
        text=[
            visible(word, letters) if say else ""
            for word, say in zip(tokens, known, strict=True)
        ],
        textfont=font, hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _right(result: LensResult, at: Sequence[int]) -> Any:
    """Where a row's likeliest token is the one that follows."""
    following = result.next_ids[list(at)]
    return (result.top_ids[:, list(at), 0] == following) & (following >= 0)


def _outlines(right: Any) -> go.Scatter:
    """One line around every cell that is right."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, column in np.argwhere(right).tolist():
        x += [column + side for side in (-0.46, 0.46, 0.46, -0.46, -0.46)] + [None]
        y += [row + side for side in (-0.42, -0.42, 0.42, 0.42, -0.42)] + [None]
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": MARK, "width": 1.6}, hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip


def _following(result: LensResult, at: Sequence[int], letters: int) -> go.Scatter:
    """The tokens that follow, written above the rows."""
    words = ["" if (i := int(result.next_ids[place])) < 0 else result.word(i) for place in at]
    return go.Scatter(
        x=list(range(len(at))),
        y=[len(result.labels)] * len(at),
        text=[visible(word, letters) if word else "" for word in words],
        hovertext=[f"next token<br><b>{visible(word, 60)}</b>" if word else "" for word in words],
        hoverinfo="text",
        mode="text",
        textfont={"family": MONOSPACE, "size": _LETTERS},
        showlegend=False,
    )


def _axes(figure: go.Figure, result: LensResult, at: Sequence[int], *, above: bool) -> int:
    """Label rows and tokens, and return the height that the rows want, in pixels."""
    names = [f"{int(result.position[i])} {visible(result.tokens[i], 14)}" for i in at]
    step = 1 if len(at) <= MOST_WRITTEN else -(-len(at) // _MOST_TICKS)
    n = len(result.labels)
    height = 16 if n > MOST_ROWS else 28
    every = max(1, -(-n // 60))
    ticks = list(range(0, n, every))
    labels = [escaped(cut(result.labels[i])) for i in ticks]
    if above:
        ticks, labels = [*ticks, n], [*labels, "next token"]
    bare = {"showgrid": False, "zeroline": False}
    columns = list(range(0, len(at), step))
    figure.update_xaxes(
        tickvals=columns, ticktext=[names[i] for i in columns], title="token", tickangle=-45,
        range=[-0.5, len(at) - 0.5], **bare,
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=ticks, ticktext=labels, title="after layer" if result.site.startswith("resid")
        else "component", range=[-0.5, n - 0.5 + above], **bare,
    )  # fmt: skip
    return min(1400, max(170, height * (n + above)))


def _notes(
    figure: go.Figure,
    result: LensResult,
    absent: str,
    right: Any,
    *,
    merged: str,
    written: bool,
    n: int,
) -> None:
    notes = [merged, absent]
    if not written:
        notes.append(
            f"Cells hold no text above {MOST_WRITTEN} tokens or {MOST_ROWS} rows: "
            "choose some with positions=, or rows with layers= of the lens."
        )
    if right.any() and n <= _OUTLINED:
        notes.append("Outlined: the likeliest token is the one that follows.")
    notes.append(html.unescape(result.caveat))
    for note in notes:
        if note:
            add_note(figure, note)
