"""anisotropy and effective_rank: how narrow the cone of all vectors is, and how many dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.analysis.result import counted
from neoscope.views.figures.similarity.layers import (
    LayerAxis,
    across,
    colour_of,
    headroom,
    layer_axis,
    line,
    named_line,
    panel_title,
    place_titles,
    spans,
    split_name,
    symbol_of,
)
from neoscope.views.given import expect
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis.similar.cosines import Anisotropy
    from neoscope.analysis.similar.rank import EffectiveRank
else:
    Anisotropy = EffectiveRank = Any


def anisotropy(result: Anisotropy) -> go.Figure:
    """Draw the mean cosine between different rows, and their norms, by layer.

    Args:
        result: What :func:`neoscope.analysis.anisotropy` returned.

    Raises:
        ViewError: It is no such result.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet are")
        >>> figure = anisotropy(ns.analysis.anisotropy(cache))
        >>> figure.data[0].name
        'raw'
    """
    expect(result, "anisotropy", {"Anisotropy": "analysis.anisotropy"})
    axis = layer_axis([split_name(name) for name in result.names])
    figure = _two(
        "How narrow the cone of all vectors is",
        f"{result.what} · {counted(result.n_rows, 'row')}", axis,
        ("mean cosine between different rows", "norm of a row"),
    )  # fmt: skip
    cosines = {"raw": result.raw, "mean taken away": result.centred,
               "standardised": result.standardised}  # fmt: skip
    _several(figure, axis, cosines, "cosine", 1)
    norms = {"mean norm": result.mean_norm, "norm of the mean row": result.norm_of_mean}
    hover = [
        f"<br>sd {sd:.4g}, least {least:.4g}, most {most:.4g}"
        for sd, least, most in zip(result.sd_norm, result.min_norm, result.max_norm, strict=True)
    ]
    for number, items in enumerate(axis.lines.values()):
        at = list(items)
        figure.add_trace(
            spans([axis.x[i] for i in at],
                  list(zip(result.min_norm[at], result.max_norm[at], strict=True)),
                  colour_of(number if len(axis.lines) > 1 else 3)),
            row=1, col=2,
        )  # fmt: skip
    _several(figure, axis, norms, "norm", 2, first=3, hover=hover)
    figure.add_hline(y=0, line={"color": MUTED, "width": 1}, row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    zero = int(result.n_zero.sum())
    note = "Bars: from the least norm of a row to the greatest."
    if zero:
        note += f" {zero:,} rows of norm 0 have no direction; they are left out of the raw cosine."
    return headroom(add_note(figure, note))


def effective_rank(result: EffectiveRank) -> go.Figure:
    """Draw over how many dimensions the rows are spread, by layer.

    Args:
        result: What :func:`neoscope.analysis.effective_rank` returned.

    Raises:
        ViewError: It is no such result.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet are")
        >>> effective_rank(ns.analysis.effective_rank(cache)).data[0].name
        'effective rank'
    """
    expect(result, "effective_rank", {"EffectiveRank": "analysis.effective_rank"})
    axis = layer_axis([split_name(name) for name in result.names])
    figure = _two(
        "Over how many dimensions the rows are spread",
        f"{result.what}, centred · {counted(result.n_rows, 'row')}", axis,
        ("effective dimensions", "dimensions that hold a share of the variance"),
    )  # fmt: skip
    ranks = {"effective rank": result.effective_rank, "of eigenvalues": result.spectral_rank,
             "participation ratio": result.participation_ratio}  # fmt: skip
    _several(figure, axis, ranks, "dimensions", 1)
    held = {f"{share} %": result.components[:, i] for i, share in enumerate((50, 90, 99))}
    _several(figure, axis, held, "dimensions", 2, first=3)
    bound = result.n_rows - 1
    if bound < result.width.max():
        figure.add_trace(across(axis, float(bound), "bound: rows − 1", "dash"), row=1, col=2)
        add_note(figure, f"No rank can exceed {bound:,}, the number of rows less one.")
    figure.update_yaxes(rangemode="tozero")
    return headroom(figure)


def _two(title: str, subtitle: str, axis: LayerAxis, names: tuple[str, str]) -> go.Figure:
    figure = new_figure(title, subtitle, height=440)
    make_subplots(1, 2, horizontal_spacing=0.09, figure=figure,
                  subplot_titles=[panel_title(name) for name in names])  # fmt: skip
    place_titles(figure)
    figure.update_xaxes(**axis.settings)
    figure.update_layout(margin={"b": 110}, legend={
        "orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0,
    })  # fmt: skip
    return figure


def _several(
    figure: go.Figure,
    axis: LayerAxis,
    values: dict[str, Any],
    unit: str,
    column: int,
    *,
    first: int = 0,
    hover: list[str] | None = None,
) -> None:
    """Draw several figures of each line: of one site a colour each, of several a dash each."""
    one = len(axis.lines) == 1
    for number, (name, items) in enumerate(axis.lines.items()):
        for place, (what, numbers) in enumerate(values.items()):
            label = what if one else f"{named_line(name)}: {what}"
            colour = colour_of(first + place if one else number)
            figure.add_trace(
                line(axis, np.asarray(numbers), name, items, colour=colour, label=label,
                     hover=hover or (), unit=unit, symbol=symbol_of(place),
                     dash=("solid", "dash", "dot")[place]),
                row=1, col=column,
            )  # fmt: skip
