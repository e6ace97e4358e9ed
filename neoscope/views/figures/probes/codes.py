"""codelength: bits that labels cost given features, beside those of someone who has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.views.figures.probes.series import named_results
from neoscope.views.figures.similarity.layers import (
    colour_of,
    headroom,
    named_line,
    panel_title,
    place_titles,
    symbol_of,
)
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, new_figure

if TYPE_CHECKING:
    from probes.judging.mdl.codelength import Codelength

    Given = Codelength | Mapping[str, Codelength]
else:
    Codelength = Given = Any

_PARTS = {"data_bits": "labels, given the probe", "model_bits": "the probe"}


def codelength(result: Given) -> go.Figure:
    """Draw what it costs to tell labels, in bits for each row: the probe's part, and the labels'.

    The line is the uniform code, of someone who has no features. Of an online code, the panel on
    the right shows how the price of a label falls with the rows told before.

    Args:
        result: What :func:`probes.judging.online_codelength` or ``variational_codelength``
            returned, or a mapping of names to several.

    Raises:
        ViewError: There is none, or something else.

    Example:
        >>> import numpy as np, probes as p
        >>> X = np.random.default_rng(0).normal(size=(60, 3))
        >>> found = p.judging.online_codelength(p.LogisticProbe(), X, X[:, 0] > 0, progress=False)
        >>> figure = codelength(found)
        >>> bool(abs(sum(bar.x[0] for bar in figure.data[:2]) * 60 - found.bits) < 1e-6)
        True
    """
    kinds = {"Codelength": "probes.judging.online_codelength or variational_codelength"}
    named = named_results(result, "codelength", kinds)
    blocks = any(one.blocks for one in named.values())
    figure = new_figure("What it costs to tell the labels", _of(named),
                        height=230 + max(150 * blocks, 44 * len(named)))  # fmt: skip
    names = ["bits a row", "bits a row, block by block"][: 1 + blocks]
    make_subplots(1, len(names), column_widths=[0.52, 0.48][: len(names)], figure=figure,
                  subplot_titles=[panel_title(name) for name in names],
                  horizontal_spacing=0.14)  # fmt: skip
    place_titles(figure)
    rows = [named_line(name) if name else one.code for name, one in named.items()]
    for i, (part, said) in enumerate(_PARTS.items()):
        figure.add_trace(_bars(list(named.values()), rows, part, said, i), row=1, col=1)
    for i, (one, row) in enumerate(zip(named.values(), rows, strict=True)):
        if one.blocks:
            figure.add_trace(_steps(one, row, i, legend=len(named) > 1), row=1, col=2)
    # Plotly draws lines across a panel only where there is something else in it.
    uniform = [one.uniform_bits / one.n_rows for one in named.values()]
    for level in dict.fromkeys(round(one, 9) for one in uniform):
        for column in range(1, len(names) + 1):
            draw = figure.add_vline if column == 1 else figure.add_hline
            where = {"x": level} if column == 1 else {"y": level}
            draw(**where, line={"color": MUTED, "dash": "dash", "width": 1.5}, row=1, col=column)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", row=1, col=1)
    figure.update_xaxes(rangemode="tozero", row=1, col=1)
    if blocks:
        figure.update_xaxes(title="rows told so far", type="log", row=1, col=2)
        figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_layout(barmode="stack", bargap=0.4, margin={"b": 92}, legend={
        "orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0,
        "traceorder": "normal",
    })  # fmt: skip
    return headroom(add_note(figure, "Dashed: the uniform code, of someone without features."))


def _of(named: Mapping[str, Codelength]) -> str:
    first = next(iter(named.values()))
    facts = [f"{first.n_rows:,} rows, {first.n_classes:,} classes"]
    if len(named) == 1:
        facts.append(f"{first.bits:,.1f} bits ({first.code}) against {first.uniform_bits:,.1f}")
        facts.append(f"compression {first.compression:.3g}")
    return " · ".join(facts)


def _bars(codes: list[Codelength], rows: list[str], part: str, said: str, i: int) -> go.Bar:
    return go.Bar(
        orientation="h", y=rows, x=[getattr(one, part) / one.n_rows for one in codes], name=said,
        marker={"color": CATEGORICAL[i]}, offsetgroup="code",
        customdata=[[getattr(one, part), one.bits, one.compression] for one in codes],
        hovertemplate=f"%{{y}}<br>{said} <b>%{{customdata[0]:,.1f}}</b> bits of "
        "%{customdata[1]:,.1f}<br>compression %{customdata[2]:.3g}<extra></extra>",
    )  # fmt: skip


def _steps(one: Codelength, row: str, i: int, *, legend: bool) -> go.Scatter:
    """The price of a label in each block."""
    return go.Scatter(
        x=[block.stop for block in one.blocks], name=row, showlegend=legend, mode="lines+markers",
        y=[block.bits / (block.stop - block.start) for block in one.blocks],
        line={"color": colour_of(i + 2), "width": 2},
        marker={"symbol": symbol_of(i), "size": 7},
        customdata=[[block.start, block.stop] for block in one.blocks],
        hovertemplate=f"{row}<br>rows %{{customdata[0]:,}} to %{{customdata[1]:,}}<br>"
        "<b>%{y:.3g}</b> bits a row<extra></extra>",
    )  # fmt: skip
