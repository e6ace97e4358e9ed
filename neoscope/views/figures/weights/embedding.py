"""embedding_statistics: how alike and how long the rows of an embedding are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from neoscope.views.figures.similarity.layers import headroom, panel_title, place_titles
from neoscope.views.given import expect
from neoscope.views.labels import model_name, spoken
from neoscope.views.theme import CATEGORICAL, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis.weights.embedding_figures import EmbeddingStatistics
else:
    EmbeddingStatistics = Any

_COSINES = {
    "mean_cosine": "between rows",
    "mean_cosine_centred": "their mean taken away",
    "mean_abs_cosine_centred": "size, mean taken away",
}
_NORMS = {
    "mean_norm": "mean norm",
    "norm_of_mean": "norm of the mean row",
    "min_norm": "least norm",
    "max_norm": "greatest norm",
}
_PUBLISHED = CATEGORICAL[1]


def embedding_statistics(result: EmbeddingStatistics) -> go.Figure:
    """Draw the mean cosines between rows of an embedding, and their norms.

    For a model in the shape of gpt-neo-125m, what is published of that one stands beside.

    Args:
        result: What :func:`neoscope.analysis.embedding_statistics` returned.

    Raises:
        ViewError: It is no such result.

    Example:
        >>> import neoscope as ns
        >>> read = ns.analysis.embedding_statistics(ns.load("organism"))
        >>> embedding_statistics(read).data[0].x[0] == read.mean_cosine
        True
    """
    expect(result, "embedding_statistics", {"EmbeddingStatistics": "analysis.embedding_statistics"})
    figure = new_figure(
        f"How alike the rows of the {result.space} are",
        f"{model_name(result.model)} · {result.n_tokens:,} tokens of {result.d_model:,} dimensions",
        height=470,
    )
    titles = [panel_title("mean cosine"), panel_title("norm, in the stream's own unit")]
    figure.set_subplots(2, 1, row_heights=[0.42, 0.58], vertical_spacing=0.2, subplot_titles=titles)
    place_titles(figure)
    for row, names in enumerate((_COSINES, _NORMS), 1):
        figure.add_trace(_bars(result, names, legend=row == 1), row=row, col=1)
        if result.is_125m:
            figure.add_trace(_published(names, legend=row == 1), row=row, col=1)
        said = [f"{name} <b>{getattr(result, key):.4g}</b>" for key, name in names.items()]
        figure.update_yaxes(tickvals=list(names.values()), ticktext=said, row=row, col=1)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(rangemode="tozero")
    figure.update_layout(bargap=0.4, margin={"b": 90}, showlegend=bool(result.is_125m), legend={
        "orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0,
    })  # fmt: skip
    add_note(figure, _said(result))
    return headroom(figure)


def _bars(result: EmbeddingStatistics, names: dict[str, str], *, legend: bool) -> go.Bar:
    values = [float(getattr(result, name)) for name in names]
    return go.Bar(
        orientation="h", x=values, y=list(names.values()), name="this model",
        marker={"color": CATEGORICAL[0]}, showlegend=legend,
        hovertemplate="%{y}<br><b>%{x:.6g}</b><extra></extra>",
    )  # fmt: skip


def _published(names: dict[str, str], *, legend: bool) -> go.Scatter:
    """The published figures: in their middle, with both ends of what was given as a range."""
    from neoscope.analysis.weights.embedding_figures import PUBLISHED_125M

    known = [name for name in names if name in PUBLISHED_125M]
    ends = [[float(x) for x in re.findall(r"\d+\.?\d*", PUBLISHED_125M[name])] for name in known]
    middle = [sum(pair) / len(pair) for pair in ends]
    half = [(pair[-1] - pair[0]) / 2 for pair in ends]
    return go.Scatter(
        x=middle, y=[names[name] for name in known], mode="markers", name="gpt-neo-125m, published",
        showlegend=legend,
        marker={"symbol": "diamond", "size": 10, "color": _PUBLISHED,
                "line": {"color": "#ffffff", "width": 1.5}},
        error_x={"type": "data", "array": half, "color": _PUBLISHED, "thickness": 1.5},
        customdata=[PUBLISHED_125M[name] for name in known],
        hovertemplate="published of gpt-neo-125m<br><b>%{customdata}</b><extra></extra>",
    )  # fmt: skip


def _said(result: EmbeddingStatistics) -> str:
    share = result.norm_of_mean / result.mean_norm if result.mean_norm else 0.0
    pairs = f" The size is of the pairs of {result.n_paired:,} rows."
    return (
        f"The offset that all rows share is {share:.0%} of a mean norm; the longest row is that of "
        f"{spoken(result.largest)}.{pairs if result.n_paired < result.n_tokens else ''}"
    )
