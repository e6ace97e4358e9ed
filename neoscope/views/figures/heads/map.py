"""heads: a map of head scores, a row for each layer and a column for each head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError, nearest
from neoscope.views.cell_text import write_cells
from neoscope.views.figures.attention.square import veil
from neoscope.views.given import expect
from neoscope.views.heatmaps import colours, gaps, panel
from neoscope.views.labels import model_name, ticks
from neoscope.views.theme import add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis import HeadScores

    GivenScores = HeadScores
else:
    GivenScores = Any

_ROOM = 20
"""Most heads of a layer for which a cell has room for its value."""
_FEW = 6
"""The same where all scores stand side by side."""
_CANNOT = "#4a5460"
"""Of the letters on the grey veil: contrast 5 and more, on a light and on a dark card."""
_TITLES = {"nats": "nats", "tokens": "tokens", "sum Re / sum |.|": "ratio, -1 to 1"}


def heads(scores: GivenScores, *, score: str | None = "induction") -> go.Figure:
    """Draw what every head does: a map of one score, or of all of them side by side.

    A cell is a head; its value is written in it where there is room. Where the window of a local
    layer rules a score out the cell is grey and says "cannot"; that is not 0.

    Args:
        scores: Of :func:`neoscope.analysis.heads`.
        score: Its name, one of those measured; ``"all"`` or None for every one. All shares then
            have one scale, from 0 to 1; other units have one each.

    Returns:
        A figure; on hover, value, standard error and the queries that were counted.

    Raises:
        ViewError: It is another result, or that score was not measured.

    Example:
        >>> import neoscope as ns
        >>> found = ns.analysis.heads(ns.load("organism"), scores=["previous_token", "induction"])
        >>> ns.views.heads(found).layout.title.text
        'Induction: score of each head'
        >>> len(ns.views.heads(found, score="all").layout.annotations)
        2
    """
    expect(scores, "heads", {"HeadScores": "analysis.heads"})
    if not scores.names:
        raise ViewError("views.heads: these scores are empty: none was measured")
    if score is None or score == "all":
        return _all(scores)
    if score not in scores.names:
        hint = nearest(str(score), scores.names)
        raise ViewError(
            f"views.heads: the score {score!r} was not measured{hint}; measured: "
            f"{', '.join(scores.names)}, or 'all'"
        )
    kind = scores.names.index(score)
    n, m = scores.score.shape[1:]
    figure = new_figure(
        f"{_spoken(score).capitalize()}: score of each head",
        _measured_on(scores),
        height=int(min(900, max(300, 190 + 34 * n))),
    )
    values = scores.score[kind]
    scale, unit = _scale(scores, kind), _unit(scores, kind)
    for trace in _cells(scores, kind, "coloraxis", written=m <= _ROOM):
        figure.add_trace(trace)
    figure.update_layout(coloraxis=colours(values, scale, unit))
    _axes(figure, scores)
    _write(figure, written=m <= _ROOM)
    figure.update_xaxes(title="head")
    figure.update_yaxes(title="layer")
    for note in _notes(scores, [kind]):
        add_note(figure, note)
    return figure


def _all(scores: GivenScores) -> go.Figure:
    """A panel for each score."""
    across = min(3, len(scores.names))
    down = math.ceil(len(scores.names) / across)
    n, m = scores.score.shape[1:]
    figure = new_figure(
        "What each head does",
        _measured_on(scores),
        height=int(150 + down * min(380, max(150, 60 + 24 * n))),
    )
    # Two lines: side by side, three panels leave no room for one.
    titles = [f"{_spoken(name)}<br>({_unit(scores, i)})" for i, name in enumerate(scores.names)]
    figure.set_subplots(down, across, subplot_titles=titles, horizontal_spacing=0.12,
                        vertical_spacing=min(0.3 / down, 0.3))  # fmt: skip
    figure.update_annotations(font={"size": 11})
    for i in range(len(scores.names)):
        row, col = i // across + 1, i % across + 1
        share = _scale(scores, i) == "share"
        axis = "coloraxis" if share else f"coloraxis{i + 2}"
        for trace in _cells(scores, i, axis, written=m <= _FEW):
            figure.add_trace(trace, row=row, col=col)
        if not share:
            _own_bar(figure, scores, i, axis, len(figure.data) - 1)
    shares = [i for i in range(len(scores.names)) if _scale(scores, i) == "share"]
    if shares:
        common = colours(scores.score[shares], "share", "share")
        figure.update_layout(coloraxis=common)
        figure.update_layout(coloraxis={"colorbar": {"x": 1.07}})
    _axes(figure, scores)
    _write(figure, written=m <= _FEW)
    figure.update_xaxes(tickfont={"size": 10})
    figure.update_yaxes(tickfont={"size": 10})
    for note in _notes(scores, range(len(scores.names))):
        add_note(figure, note)
    figure.update_layout(margin={"t": figure.layout.margin.t + 40, "r": 60})
    return figure


def _write(figure: go.Figure, *, written: bool) -> None:
    """Write every score into its cell."""
    maps = [i for i, trace in enumerate(figure.data) if trace.coloraxis and written]
    for i in maps:
        write_cells(figure, ".2f", trace=i)


def _own_bar(figure: go.Figure, scores: GivenScores, kind: int, axis: str, trace: int) -> None:
    """Give a panel of another unit a scale of its own, with a bar at its right edge."""
    drawn = figure.data[trace]
    across = figure.layout[drawn.xaxis.replace("x", "xaxis")].domain
    up = figure.layout[drawn.yaxis.replace("y", "yaxis")].domain
    own = colours(scores.score[kind], _scale(scores, kind), "")
    own["colorbar"] = {
        "x": across[1] + 0.005, "xanchor": "left", "y": up[0], "yanchor": "bottom", "thickness": 8,
        "len": up[1] - up[0], "lenmode": "fraction", "tickfont": {"size": 9}, "nticks": 4,
    }  # fmt: skip
    figure.update_layout({axis: own})


def _cells(scores: GivenScores, kind: int, axis: str, *, written: bool) -> list[go.Heatmap]:
    """The heatmap of one score, and the grey of what cannot be."""
    rows, columns = _names(scores)
    values, possible = scores.score[kind], scores.possible[kind]
    stderr = scores.stderr[kind]
    said = np.where(np.isfinite(stderr), [[f"{x:.2g}" for x in row] for row in stderr], "not known")
    counts = np.array([[f"{x:,}" if x else "none" for x in row] for row in scores.n[kind]], object)
    data = np.stack([said.astype(object), counts], axis=-1)
    trace = panel(
        values, rows=rows, columns=columns, unit=_unit(scores, kind), row_title="layer",
        column_title="head", hover="standard error %{customdata[0]}<br>counted %{customdata[1]}",
        coloraxis=axis, customdata=data, name=scores.names[kind],
    )  # fmt: skip
    drawn = [trace]
    if not possible.all():
        grey = veil(
            np.where(possible, np.float32(np.nan), np.float32(1)), rows, columns,
            "<b>cannot</b>: the window rules it out",
            ("layer", "head"),
        )  # fmt: skip
        mark = "cannot" if written and values.shape[1] <= 12 else "×"
        grey.update(text=np.where(possible, "", mark), texttemplate="%{text}",
                    textfont={"size": 10, "color": _CANNOT})  # fmt: skip
        drawn.insert(0, grey)
    return drawn


def _names(scores: GivenScores) -> tuple[list[str], list[str]]:
    rows = [
        f"{layer}{'' if window is None else ' local'}"
        for layer, window in zip(scores.layers, scores.windows, strict=True)
    ]
    return rows, [str(head) for head in range(scores.score.shape[2])]


def _axes(figure: go.Figure, scores: GivenScores) -> None:
    rows, columns = _names(scores)
    plain = {"type": "category", "showgrid": False, "ticks": ""}
    figure.update_xaxes(plain, tickangle=0, **ticks(columns, columns, 24))
    figure.update_yaxes(plain, autorange="reversed", **ticks(rows, rows, 24))


def _scale(scores: GivenScores, kind: int) -> str:
    """Return the scale on which a score is drawn: its values may have signs or no upper end."""
    from neoscope.analysis import HEAD_SCORES

    unit = HEAD_SCORES[scores.names[kind]].unit
    values = scores.score[kind][np.isfinite(scores.score[kind])]
    if unit == "sum Re / sum |.|" or (values.size and values.min() < -1e-6):
        return "signed"
    fits = not values.size or values.max() <= 1 + 1e-3
    return "share" if unit.startswith("share") and fits else "amount"


def _unit(scores: GivenScores, kind: int) -> str:
    from neoscope.analysis import HEAD_SCORES

    unit = HEAD_SCORES[scores.names[kind]].unit
    if scores.weighted == "norm" and unit == "share of attention":
        return "share of norm moved"
    return _TITLES.get(unit, unit)


def _spoken(name: str) -> str:
    spoken = name.replace("_", " ").replace("top5", "among the top 5")
    return spoken.replace(" beyond", " beyond the window")


def _measured_on(scores: GivenScores) -> str:
    heading: str = scores.heading().removeprefix("Head scores of ")
    return heading.replace(repr(scores.model), model_name(scores.model), 1)


def _notes(scores: GivenScores, kinds: Any) -> list[str]:
    chosen = list(kinds)
    possible, values = scores.possible[chosen], scores.score[chosen]
    notes = []
    if not possible.all():
        notes.append("Grey: cannot, the head's window does not reach any key that it is about.")
    notes.append(gaps(np.where(possible, values, 0), "there was nothing to measure"))
    return [note for note in notes if note]
