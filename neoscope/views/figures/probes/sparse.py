"""sparse_curve: how well a class is read from the best one, two, four neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import plotly.graph_objects as go

from neoscope.views.figures.probes.series import named_results
from neoscope.views.figures.similarity.layers import colour_of, named_line, symbol_of
from neoscope.views.labels import cut
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    from probes.sparse.curve import SparseCurve

    Given: TypeAlias = SparseCurve | Mapping[str, SparseCurve]
else:
    SparseCurve = Given = Any

_SCORES = {"f1": "F1", "precision": "precision", "recall": "recall"}
_DASHES = ("solid", "dash", "dot")


def sparse_curve(result: Given) -> go.Figure:
    """Draw F1 on held-out rows against the number of neurons read; precision and recall beside it.

    The dotted line is the F1 of calling every row the class: the floor.

    Args:
        result: What :func:`probes.sparse_curve` returned, or a mapping of names to several, such
            as one for each layer: then F1 alone is drawn.

    Raises:
        ViewError: There is none, or something else.

    Example:
        >>> import numpy as np, probes as p
        >>> X = np.random.default_rng(0).normal(size=(80, 4))
        >>> found = p.sparse_curve(X, X[:, 2] > 0, ks=(1, 2))
        >>> [trace.name for trace in sparse_curve(found).data]
        ['F1', 'precision', 'recall']
    """
    named = named_results(result, "sparse_curve", {"SparseCurve": "probes.sparse_curve"})
    first = next(iter(named.values()))
    figure = new_figure("How few neurons say it", f"{first.n_train:,} rows to choose and train on, "
                        f"{first.n_test:,} to test on")  # fmt: skip
    for i, (name, one) in enumerate(named.items()):
        for j, (field, said) in enumerate(_SCORES.items() if not name else [("f1", "F1")]):
            label = named_line(name) if name else said
            figure.add_trace(_line(one, field, label, i + j, _DASHES[j]))
    for floor in dict.fromkeys(one.f1_all_positive for one in named.values()):
        figure.add_hline(y=floor, line={"color": MUTED, "dash": "dot", "width": 1.5})
    ks = sorted({k for one in named.values() for k in one.ks})
    figure.update_xaxes(title="neurons read", type="log", tickvals=ks,
                        ticktext=[f"{k:,}" for k in ks])  # fmt: skip
    figure.update_yaxes(title="F1" if "" not in named else "score", range=[0, 1.03])
    if "" in named:
        least = first.selected[0]
        those = f"neuron {least[0]}" if len(least) == 1 else f"neurons {', '.join(map(str, least))}"
        add_note(figure, cut(f"Read at the left end: {those}.", 160))
    add_note(figure, "Dotted: the F1 of calling every row the class.")
    return figure


def _line(one: SparseCurve, field: str, label: str, i: int, dash: str) -> go.Scatter:
    read = [cut(", ".join(map(str, chosen)), 60) for chosen in one.selected]
    return go.Scatter(
        x=list(one.ks), y=list(getattr(one, field)), name=label, customdata=read,
        mode="lines+markers", line={"color": colour_of(i), "dash": dash, "width": 2},
        marker={"symbol": symbol_of(i), "size": 8},
        hovertemplate=f"{label}<br>%{{x:,}} neurons<br><b>%{{y:.4g}}</b><br>%{{customdata}}"
        "<extra></extra>",
    )  # fmt: skip
