"""The contexts of a neuron in lines, its token in the middle: a concordance in plotly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from neoscope.views.figures.words.cells import columns, label, written
from neoscope.views.ink import inks, shades
from neoscope.views.labels import visible
from neoscope.views.theme import MONOSPACE

if TYPE_CHECKING:
    from neoscope.analysis import TopActivations
else:
    TopActivations = Any

ACROSS = 110
"""Columns of a line: as many letters as fit."""
MIDDLE = 12
_SIZE, _LOWER = 12, 0.07


def traces(
    result: TopActivations, places: Sequence[int], values: Sequence[float], axis: dict[str, Any]
) -> tuple[list[go.Bar | go.Scatter], list[float]]:
    """Return the token's cells and the text before and after them, and from where to where they go.

    Tokens stand below each other, as far to the left as the texts before them allow.

    Args:
        result: What was found.
        places: Into its places, one a line.
        values: The activations there.
        axis: The colour axis.
    """
    pieces = [written(result.piece[p], MIDDLE) for p in places]
    wide = [columns(piece) + 0.6 for piece in pieces]
    lines = list(range(len(places)))
    finite = [value if math.isfinite(value) else axis["cmin"] for value in values]
    cells = go.Bar(
        orientation="h",
        base=[-width / 2 for width in wide],
        x=wide,
        y=lines,
        width=0.84,
        marker={"color": shades(finite, axis)},
        customdata=list(values),
        text=[label(piece) for piece in pieces],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        insidetextfont={"family": MONOSPACE, "size": _SIZE, "color": inks(finite, axis)},
        hovertext=[_said(result, p, value) for p, value in zip(places, values, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )
    half = [int(width / 2) + 1 for width in wide]
    left, right = _sides(
        max(columns(_all(result.before[p])) + n for p, n in zip(places, half, strict=True)),
        max(columns(_all(result.after[p])) + n for p, n in zip(places, half, strict=True)),
    )
    before = [_tail(result.before[p], left - n) for p, n in zip(places, half, strict=True)]
    after = [_head(result.after[p], right - n) for p, n in zip(places, half, strict=True)]
    sides = [
        _text([-width / 2 - 0.3 for width in wide], lines, before, "middle left"),
        _text([width / 2 + 0.3 for width in wide], lines, after, "middle right"),
    ]
    return [cells, *sides], [-left - 1.0, ACROSS - left - 1.0]


def _sides(left: int, right: int) -> tuple[int, int]:
    """Share a line's columns out between what stands before and after the middle of the token.

    Args:
        left: Columns that the longest text before wants.
        right: The same after it.
    """
    most = ACROSS - 2
    if left + right <= most:
        return left, most - left
    left = min(left, max(most // 2, most - right))
    return left, most - left


def _all(text: str) -> str:
    """A text as it is written, or more of it than a line holds."""
    return written(text, 2 * ACROSS) if text else ""


def _text(x: Sequence[float], y: Sequence[int], text: Sequence[str], position: str) -> go.Scatter:
    return go.Scatter(
        x=list(x), y=[line + _LOWER for line in y], text=[label(one) for one in text], mode="text",
        textposition=position, textfont={"family": MONOSPACE, "size": _SIZE}, hoverinfo="skip",
        showlegend=False, cliponaxis=False,
    )  # fmt: skip


def _tail(text: str, width: int) -> str:
    """The last columns of a text."""
    shown = written(text, 4 * width + 8) if text else ""
    if columns(shown) <= width:
        return shown
    while shown and columns(shown) > width - 1:
        shown = shown[1:]
    return "…" + shown


def _head(text: str, width: int) -> str:
    shown = written(text, 4 * width + 8) if text else ""
    if columns(shown) <= width:
        return shown
    while shown and columns(shown) > width - 1:
        shown = shown[:-1]
    return shown + "…"


def _said(result: TopActivations, place: int, value: float) -> str:
    return (
        f"<b>{visible(result.piece[place], 60)}</b><br>activation {value:.4g}"
        f"<br>text {visible(str(result.text[place]))}, position {int(result.position[place])}"
    )
