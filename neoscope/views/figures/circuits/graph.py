"""circuit: the parts of a model and what they tell each other, layers from bottom to top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.indices import whole
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.result import Faithfulness, Minimality
from neoscope.patching.gradient.edge_scores import EdgeScores
from neoscope.views.figures.circuits.drawing import Drawn, bend, column, place, port, strongest
from neoscope.views.figures.patching.cells import safe
from neoscope.views.labels import model_name
from neoscope.views.theme import CATEGORICAL, INK, MUTED, add_note, new_figure

_KINDS = {
    "q": ("query", CATEGORICAL[1], "triangle-up"),
    "k": ("key", CATEGORICAL[2], "square"),
    "v": ("value", CATEGORICAL[3], "circle"),
}
_WIDTHS = (0.8, 1.4, 2.2, 3.2, 4.4, 6.0)
_FEW = 30
"""Up to so many edges the weak ones hide nothing."""
_NODE, _FRAME = "#d3e6ee", "#4596b5"
_UP, _DOWN = "#3d85c6", "#cc7a1e"
"""Edges that raise and lower the metric: to be told apart on a light and on a dark card."""


def circuit(circuit_or_edges: Any, *, most: int = 60, all_nodes: bool = True) -> go.Figure:
    """Draw a circuit as a graph: embeddings below, layers above one another, logits on top.

    Heads stand from left to right, each with its query, key and value as separate ends; MLPs to
    their right. An edge is blue where it raises the metric and orange where it lowers it, and
    wider the more it does.

    Args:
        circuit_or_edges: A :class:`~neoscope.patching.Circuit`; edge scores (the strongest of all
            edges); a minimality (edges by what the circuit loses without them); or a faithfulness.
        most: How many edges at most, the strongest; the subtitle says how many there are.
        all_nodes: Show heads and MLPs that no edge touches, faintly.

    Raises:
        ViewError: It is something else, or there is no edge to draw.

    Example:
        >>> from neoscope import patching as p, views
        >>> edges = ["embed->a0.h0<v>", "a0.h0->logits"]
        >>> figure = views.circuit(p.Circuit.of(p.Graph(2, 1), edges), all_nodes=False)
        >>> next(trace.text for trace in figure.data if trace.name == "nodes")
        ('embed', '0.0', 'logits')
    """
    if (number := whole(most)) is None or number < 1:
        raise ViewError(f"most={most!r}; expected a number of edges, one at least")
    drawn, title, said, unit, notes = _read(circuit_or_edges, number)
    if not drawn.edges:
        raise ViewError("there is nothing to draw: the circuit has no edges")
    n, total = len(drawn.edges), len(drawn.graph.edges)
    shown = f"the {n:,} strongest of {drawn.n_edges:,} edges" if n < drawn.n_edges else (
        f"{n:,} edge{'s' * (n > 1)}")  # fmt: skip
    if n < drawn.n_edges and drawn.scores is None:
        shown = f"the first {n:,} of {drawn.n_edges:,} edges"
    subtitle = " · ".join([*said, f"{shown} (the model has {total:,})"])
    layers = drawn.graph.n_layers
    figure = new_figure(title, subtitle, height=int(min(1300, 260 + 86 * layers)))
    _edges(figure, drawn, unit)
    if all_nodes:
        _others(figure, drawn)
    _nodes(figure, drawn, unit)
    _ports(figure, drawn)
    figure.update_xaxes(visible=False, range=[-0.8, drawn.graph.n_heads + 0.9])
    figure.update_yaxes(
        tickvals=list(range(layers)), ticktext=[str(i) for i in range(layers)], title="layer",
        range=[-1.4, layers + 0.4], showgrid=False, zeroline=False, ticks="", showline=False,
    )  # fmt: skip
    for note in [*notes, _thickness(drawn, unit)]:
        if note:
            add_note(figure, note)
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top"}, hovermode="closest",
        margin={"b": 48, "r": 16},
    )  # fmt: skip
    return figure


def _thickness(drawn: Drawn, unit: str) -> str:
    """Say what the width of a line means."""
    if drawn.scores is None:
        return "Edges have no scores: all lines are of one width."
    top = max(map(abs, drawn.scores))
    of = f" {unit}" if unit else ""
    return (
        f"Width: the size of an edge's score, in {len(_WIDTHS)} steps; the widest line is "
        f"{top:.3g}{of}, the thinnest below {top / len(_WIDTHS):.2g}; weak edges are faint."
    )


def _read(given: Any, most: int) -> tuple[Drawn, str, list[str], str, list[str]]:
    """Return what to draw, title, subtitle, the scores' unit, and notes."""
    if isinstance(given, EdgeScores):
        graph = given.graph
        means = [float(given.mean[graph.index(edge)]) for edge in graph.edges]
        drawn = strongest(graph, graph.edges, means, most)
        said = [model_name(given.model), f"{given.direction}, {given.n_pairs} pairs"]
        return drawn, f"Edges by {given.method}, {given.metric}", said, given.unit, []
    notes: list[str] = []
    title, unit, found = "", "", given
    scores: Sequence[float] | None = None
    if isinstance(given, Minimality):
        found, unit, title = given.circuit, given.unit, "What a circuit loses without each edge"
        scores = given.effects.mean(1).tolist()
    elif isinstance(given, Faithfulness):
        found = given.circuit
        notes = [repr(given)]
    if not isinstance(found, Circuit):
        raise ViewError(
            f"a circuit or edge scores were expected, not {type(given).__name__}; make one with "
            "edges.circuit(n) or patching.Circuit.of(patching.Graph.of(model.config), edges)"
        )
    if not isinstance(given, Minimality):
        scores = found.scores
    title = title or f"Circuit of {model_name(found.model)}"
    said = [one for one in (model_name(found.model), found.source) if one]
    if found.n_chosen is not None and found.n_chosen > len(found):
        gone = found.n_chosen - len(found)
        notes.append(f"{gone} of {found.n_chosen} chosen edges {'lies' if gone == 1 else 'lie'} on "
                     "no path from the embeddings to the logits and "
                     f"{'is' if gone == 1 else 'are'} left out.")  # fmt: skip
    return strongest(found.graph, found.edges, scores, most), title, said, unit, notes


def _edges(figure: go.Figure, drawn: Drawn, unit: str) -> None:
    """Draw edges, a trace for each sign and width, weak ones first."""
    scores = np.array(drawn.scores if drawn.scores is not None else [np.nan] * len(drawn.edges))
    size = np.abs(scores)
    top = float(np.nanmax(size, initial=0.0)) or 1.0
    width = np.where(np.isnan(size), 1, np.minimum((size / top * len(_WIDTHS)).astype(float), 5))
    curves = [bend(drawn.graph, edge) for edge in drawn.edges]
    signs = [("raises the metric", scores > 0, _UP), ("lowers it", scores < 0, _DOWN),
             ("no score" if np.isnan(scores).all() else "0",
              ~(scores > 0) & ~(scores < 0), MUTED)]  # fmt: skip
    for level, thick in enumerate(_WIDTHS):
        for name, at, colour in signs:
            chosen = np.flatnonzero(at & (width.astype(int) == level))
            if len(chosen):
                points = np.concatenate([[*curves[i], [np.nan, np.nan]] for i in chosen])
                figure.add_trace(go.Scatter(
                    x=points[:, 0], y=points[:, 1], mode="lines", hoverinfo="skip", name=name,
                    line={"color": colour, "width": thick}, opacity=_opacity(level, drawn),
                    legendgroup=name, showlegend=False,
                ))  # fmt: skip
    for name, at, colour in signs:
        if at.any():
            figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name,
                                        legendgroup=name, hoverinfo="skip",
                                        line={"color": colour, "width": 3}))  # fmt: skip
    _hover(figure, drawn, curves, scores, unit)


def _opacity(level: int, drawn: Drawn) -> float:
    """Return how strongly a line of some width is drawn: weak ones fade where there are many."""
    if drawn.scores is None:
        return 0.7
    faintest = 0.55 if len(drawn.edges) <= _FEW else 0.28
    return faintest + (0.95 - faintest) * level / (len(_WIDTHS) - 1)


def _hover(figure: go.Figure, drawn: Drawn, curves: Any, scores: Any, unit: str) -> None:
    """Put points to hover over on every edge, without drawing them."""
    said = []
    for i, edge in enumerate(drawn.edges):
        score = f"<br><b>{scores[i]:+.4g}</b> {safe(unit)}<br>rank {i + 1:,} of {drawn.n_edges:,}"
        score = "" if np.isnan(scores[i]) else score
        said.append(f"{safe(edge.sender)} → {safe(edge.receiver)}{score}")
    points = np.concatenate([curve[[8, 16, 24]] for curve in curves])
    figure.add_trace(go.Scatter(
        x=points[:, 0], y=points[:, 1], mode="markers", marker={"size": 9, "opacity": 0},
        text=[text for text in said for _ in range(3)], hovertemplate="%{text}<extra></extra>",
        showlegend=False, name="edges",
    ))  # fmt: skip


def _ports(figure: go.Figure, drawn: Drawn) -> None:
    """Mark which of a head's inputs are read."""
    for kind, (name, colour, symbol) in _KINDS.items():
        heads = sorted({e.node for e in drawn.edges if e.receiver.endswith(f"<{kind}>")})
        if heads:
            spots = [place(drawn.graph, node) for node in heads]
            figure.add_trace(go.Scatter(
                x=[x + port(drawn.graph, kind) for x, _ in spots], y=[y - 0.16 for _, y in spots],
                mode="markers", name=f"ends at the {name}", hoverinfo="skip",
                marker={"symbol": symbol, "size": 8, "color": colour},
            ))  # fmt: skip


def _others(figure: go.Figure, drawn: Drawn) -> None:
    rest = [node for node in drawn.graph.nodes if node not in drawn.nodes]
    if rest:
        spots = [place(drawn.graph, node) for node in rest]
        figure.add_trace(go.Scatter(
            x=[x for x, _ in spots], y=[y for _, y in spots], mode="markers", opacity=0.35,
            marker={"symbol": "square", "size": 7, "color": MUTED}, name="no edge drawn",
            text=rest, hovertemplate="%{text}<br>no edge drawn<extra></extra>",
        ))  # fmt: skip


def _nodes(figure: go.Figure, drawn: Drawn, unit: str) -> None:
    nodes = drawn.nodes
    spots = [place(drawn.graph, node) for node in nodes]
    room = column(drawn.graph)
    wide = [node in ("embed", "logits") for node in nodes]
    figure.add_trace(go.Scatter(
        x=[x for x, _ in spots], y=[y for _, y in spots], mode="markers+text",
        text=[_short(node) for node in nodes], textfont={"size": 11 if room > 40 else 9,
                                                         "color": INK},
        marker={"symbol": "square", "size": [40 if w else min(30, max(20, int(room * 0.6)))
                                             for w in wide], "color": _NODE,
                "opacity": 1, "line": {"color": _FRAME, "width": 1}},
        customdata=[_told(drawn, node, unit) for node in nodes], showlegend=False, name="nodes",
        hovertemplate="%{customdata}<extra></extra>",
    ))  # fmt: skip


def _short(node: str) -> str:
    if node in ("embed", "logits"):
        return node
    return f"m{node[1:]}" if node[0] == "m" else node[1:].replace("h", "")


def _told(drawn: Drawn, node: str, unit: str) -> str:
    """Say what a node sends and reads, in the edges that are drawn."""
    kind = {"e": "embeddings", "l": "logits", "m": f"MLP {node[1:]}"}.get(
        node[0], f"head {_short(node)}"
    )
    lines = [f"<b>{kind}</b>"]
    for verb, chosen in (("sends", [e.sender == node for e in drawn.edges]),
                         ("reads", [e.node == node for e in drawn.edges])):  # fmt: skip
        n = sum(chosen)
        if n and drawn.scores is not None:
            total = sum(s for s, yes in zip(drawn.scores, chosen, strict=True) if yes)
            lines.append(f"{verb} {n} edges, in all {total:+.3g} {safe(unit)}")
        elif n:
            lines.append(f"{verb} {n} edges")
    return "<br>".join(lines)
