"""confusion: which classes are taken for which, in counts and in shares of the true class."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Shaped

from neoscope.views.cell_text import write_cells
from neoscope.views.figures.probes.confusion_reading import Pairs, order_of, read_pairs
from neoscope.views.given import number
from neoscope.views.heatmaps import heatmap
from neoscope.views.labels import visible
from neoscope.views.theme import add_note

_WITH_SHARES, _WITH_COUNTS = 8, 25
"""Most classes with which a cell has room for both numbers, and for one."""
_NAMED = 3

Counts = Shaped[np.ndarray, "true said"]


def confusion(
    truth: Any,
    predicted: Any,
    *,
    rows: Any = None,
    classes: Any = None,
    most: int = 100,
) -> go.Figure:
    """Draw how often each class is taken for each: counts, coloured by the share of the true class.

    Args:
        truth: [rows] labels, or a :class:`probes.ProbeData`.
        predicted: [rows] labels, what :func:`probes.apply` returned, or, beside a ProbeData, a
            fitted probe. Rows without a label (None, NaN) are left out and counted.
        rows: Of a ProbeData: numbers or a mask of rows, best those that the probe was not trained
            on, such as ``data.split()[1]``; None for all.
        classes: Which classes, in this order; None for all, sorted.
        most: Most classes that are shown by themselves; rarer ones are joined.

    Raises:
        ViewError: Labels are quantities or several a row, are not of the same rows, or a class that
            is named has no row.

    Example:
        >>> figure = confusion(["a", "a", "b"], ["a", "b", "b"])
        >>> figure.data[0].z.tolist()
        [[0.5, 0.5], [0.0, 1.0]]
    """
    most = number(most, "most", "confusion", 2)
    pairs = read_pairs(truth, predicted, rows)
    kept, at, rest = order_of(pairs, classes, most)
    size = len(kept) + (rest > 0)
    counts = np.zeros((size, size), int)
    codes = [np.array([at[one] for one in side]) for side in (pairs.truth, pairs.predicted)]
    np.add.at(counts, (codes[0], codes[1]), 1)
    total = counts.sum(1, keepdims=True)
    shares = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    names = distinct([str(one) for one in kept])
    if rest:
        names.append(f"{rest:,} other classes" if rest > 1 else "1 other class")
    n = len(pairs.truth)
    right = sum(a == b for a, b in zip(pairs.truth, pairs.predicted, strict=True))
    scored = f"{right:,} of {n:,} rows right ({right / n:.1%})"
    figure = _drawn(counts, shares, names, pairs, scored)
    for note in _notes(counts, names, pairs.left_out, len(kept)):
        add_note(figure, note)
    return figure


def distinct(names: list[str], longest: int = 28) -> list[str]:
    """Return labels as names of an axis: escaped, cut, and told apart where they look alike.

    Args:
        names: Plain texts.
        longest: Most characters.

    Example:
        >>> distinct(["a" * 99, "a" * 99 + "b", "<b>"], 5)
        ['aa…aa', 'aa…ab', '&lt;b&gt;']
    """
    found = [visible(name, longest) for name in names]
    seen: dict[str, int] = {}
    for i, name in enumerate(found):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            found[i] = f"{name} ({seen[name]})"
    return found


def _drawn(counts: Counts, shares: Counts, names: list[str], pairs: Pairs, right: str) -> go.Figure:
    n = len(names)
    total = counts.sum(1)
    longest = max(len(html.unescape(name)) for name in names)
    crowded = n * longest > 110
    figure = heatmap(
        shares, rows=names, columns=names, scale="share", unit="share of the true class",
        title="What is taken for what" + (f": {pairs.label}" if pairs.label else ""),
        row_title="true", column_title="predicted",
        subtitle=_subtitle(pairs, right), missing="",
        height=int(min(1000, max(440, 230 + 26 * n)) + (4 * longest if crowded else 0)),
    )  # fmt: skip
    trace = figure.data[0]
    said = np.divide(counts, counts.sum(0), out=np.zeros(counts.shape), where=counts.sum(0) > 0)
    # An object array of [row, column, 3] is what plotly's hover reads by cell.
    trace.customdata = np.dstack([counts, np.broadcast_to(total[:, None], counts.shape), said])
    trace.hovertemplate = (
        "true %{y}<br>predicted %{x}<br><b>%{customdata[0]:,}</b> of %{customdata[1]:,} rows, "
        "%{z:.1%}<br>%{customdata[2]:.1%} of what is called so<extra></extra>"
    )
    if n <= _WITH_COUNTS:
        both = n <= _WITH_SHARES
        texts = [
            [f"{k:,}<br>{share:.0%}" if both and k else f"{k:,}" if k or both else ""
             for k, share in zip(row, part, strict=True)]
            for row, part in zip(counts.tolist(), shares.tolist(), strict=True)
        ]  # fmt: skip
        write_cells(figure, texts, size=13 if both else 10)
    small = {"size": 12 if n <= 30 else 9}
    marks = {"tickvals": names, "ticktext": names} if n <= 60 else {}
    figure.update_xaxes(tickfont=small, tickangle=-45 if crowded else 0, **marks)
    figure.update_yaxes(tickfont=small, **marks)
    return figure


def _subtitle(pairs: Pairs, right: str) -> str:
    """Return what the figure is of; a warning stands before the number that it is about."""
    return " ".join(filter(None, [pairs.warning, " · ".join(filter(None, [pairs.what, right]))]))


def _notes(counts: Counts, names: list[str], left_out: int, kept: int) -> list[str]:
    found = []
    off = counts.copy()
    np.fill_diagonal(off, 0)
    off[kept:] = off[:, kept:] = 0
    order = np.argsort(-off, axis=None, kind="stable")[:_NAMED]
    # Notes are escaped once, where they are written.
    plain = [html.unescape(name) for name in names]
    pairs = [np.unravel_index(i, off.shape) for i in order if off.flat[i] > 0]
    if pairs:
        said = [f"{plain[a]} → {plain[b]} ({off[a, b]:,})" for a, b in pairs]
        found.append(f"Most often confused, true → predicted: {', '.join(said)}.")
    empty = int((counts.sum(1) == 0).sum())
    if empty:
        found.append(f"{empty} of the classes shown {'is' if empty == 1 else 'are'} predicted, but "
                     "no row truly has it; such rows are blank.")  # fmt: skip
    if left_out:
        found.append(f"{left_out:,} rows without a label are left out.")
    return found
