"""attention_profile: how far back every head looks over a corpus, one row a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis.result import counted
from neoscope.views.figures.attention.square import scale_of, veil
from neoscope.views.given import expect, one_of
from neoscope.views.heatmaps import colours, gaps, panel, shrunk
from neoscope.views.labels import model_name, ticks
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import AttentionProfile

    GivenProfile = AttentionProfile
else:
    GivenProfile = Any

_BY = ("band", "distance")
_ROWS = 40
"""Most heads that are all labelled."""


def attention_profile(result: GivenProfile, *, by: str = "band") -> go.Figure:
    """Draw how far back every head looks, on average over a corpus.

    The column at the left is the attention to a text's first token, which lies at some distance
    too. By band, a row says how a head's attention is shared out and sums to 1; by distance, it
    says how much a key so far back gets from the queries that have one. Grey is what the window of
    a local layer hides: "cannot".

    Args:
        result: Of :func:`neoscope.analysis.attention_profile`.
        by: ``"band"``: itself, 1, 2-3, 4-7 tokens back and so on; or ``"distance"``, each by
            itself.

    Returns:
        A figure; values are shares of attention, with their standard error over texts on hover.

    Raises:
        ViewError: It is another result, or there is no such ``by``.

    Example:
        >>> import neoscope as ns
        >>> texts = [one.text for one in ns.organism.sentences("filler", 20)]
        >>> found = ns.analysis.attention_profile(ns.load("organism"), texts)
        >>> figure = ns.views.attention_profile(found)
        >>> figure.data[1].x[:3]
        ('itself', '1 back', '2-3 back')
    """
    expect(result, "attention_profile", {"AttentionProfile": "analysis.attention_profile"})
    one_of(by, "by", _BY, "attention_profile")
    rows, values, stderr, columns, possible = _table(result, by)
    first, first_stderr = (x.reshape(-1, 1) for x in (result.first, result.first_stderr))
    figure = new_figure(
        "How far back each head looks" if by == "band" else "Attention by distance",
        f"{model_name(result.model)}, {counted(result.n_texts, 'text')}, "
        f"{counted(result.n_tokens, 'token')}"
        f"{'; beginning-of-text token put first' if result.prepend_bos else ''}"
        f"{'; edited: ' + ', '.join(result.edits) if result.edits else ''}",
        height=int(min(1000, max(320, 180 + 19 * len(rows)))),
    )
    figure.set_subplots(1, 2, shared_yaxes=True, column_widths=[0.07, 0.93],
                        horizontal_spacing=0.02)  # fmt: skip
    notes = _fill(figure, rows, ["first token"], first, first_stderr, np.ones_like(first, bool), 1)
    notes += _fill(figure, rows, columns, values, stderr, possible, 2)
    both = np.concatenate([first, values], axis=1)
    figure.update_layout(coloraxis=colours(both, scale_of(both), "share of attention"))
    plain = {"type": "category", "showgrid": False}
    figure.update_xaxes(plain)
    distances = [one.removesuffix(" back").removesuffix(", itself") for one in columns]
    figure.update_xaxes(
        title="keys, in tokens before the one that looks", col=2, tickangle=0,
        **ticks(columns, distances, 16 if by == "distance" else 24),
    )  # fmt: skip
    figure.update_xaxes(ticktext=["first<br>token"], tickvals=["first token"], tickangle=0, col=1)
    labelled = ticks(rows, rows, max(_ROWS, len(rows) // 4))
    figure.update_yaxes(plain, autorange="reversed", tickfont={"size": 11}, **labelled)
    figure.update_yaxes(title="head", col=1)
    for start in _layer_starts(result):
        figure.add_hline(y=start - 0.5, line={"color": MUTED, "width": 0.8})
    if not result.complete:
        notes.append("The run was interrupted: these are the texts that were done.")
    for note in dict.fromkeys(notes):
        add_note(figure, note)
    return figure


def _layer_starts(result: GivenProfile) -> list[int]:
    n_heads = result.share.shape[1]
    return [i * n_heads for i in range(1, len(result.layers))]


def _table(result: GivenProfile, by: str) -> tuple[list[str], Any, Any, list[str], Any]:
    """Rows, values, standard errors, columns and whether the window lets it, a row a head."""
    n_heads = result.share.shape[1]
    names = [
        f"{layer}.{head}{'' if window is None else ' local'}"
        for layer, window in zip(result.layers, result.windows, strict=True)
        for head in range(n_heads)
    ]
    if by == "band":
        columns = [band if band == "itself" else f"{band} back" for band in result.bands()]
        possible = result.possible
        values, stderr = result.share, result.share_stderr
    else:
        far = range(len(result.n))
        columns = ["0, itself" if d == 0 else f"{d} back" for d in far]
        longest = [len(far) if w is None else w for w in result.windows]
        possible = np.arange(len(far))[None] < np.array(longest)[:, None]
        values, stderr = result.by_distance, result.by_distance_stderr
    width = len(columns)
    flat = (x.reshape(-1, width) for x in (values, stderr))
    return names, *flat, columns, np.repeat(possible, n_heads, 0)  # type: ignore[return-value]


def _fill(
    figure: go.Figure,
    rows: list[str],
    columns: list[str],
    values: Float[np.ndarray, "head column"],
    stderr: Float[np.ndarray, "head column"],
    possible: Any,
    col: int,
) -> list[str]:
    """Add one panel, and return what must be said of it."""
    shown, at_rows, at_columns, merged = shrunk(values, "share")
    where = np.ix_(at_rows, at_columns)
    errors, can = stderr[where], possible[where]
    names = [rows[i] for i in at_rows], [columns[i] for i in at_columns]
    said = np.where(np.isfinite(errors), np.round(errors, 5).astype(str), "not known (one text)")
    trace = panel(
        shown, rows=names[0], columns=names[1], unit="of its attention", row_title="head",
        column_title="", hover="standard error %{customdata}", customdata=said.astype(object),
    )  # fmt: skip
    trace.hovertemplate = trace.hovertemplate.replace("<br> %{x}", "<br>%{x}")
    figure.add_trace(trace, row=1, col=col)
    hidden = np.where(can, np.float32(np.nan), np.float32(1))
    if not can.all():
        says = "<b>cannot</b>: beyond the window"
        figure.add_trace(veil(hidden, *names, says, ("head", "")), row=1, col=col)
    return [
        note for note in (merged, gaps(np.where(possible, values, 0), "nothing measured")) if note
    ]
