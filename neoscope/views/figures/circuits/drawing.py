"""Drawing: where the nodes and edges of a circuit stand, and how its edges bend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from neoscope.patching.circuits.graph import Edge, Graph, node_of

_PORTS = {"q": -1, "k": 0, "v": 1}
_WIDTH = 700
_APART = 11
"""Between the ends of a head's query, key and value, in pixels."""
_LOW = 0.15
"""From a node's middle to where edges end, in layers."""
_STEPS = 33


@dataclass(frozen=True)
class Drawn:
    """Edges that are drawn, strongest first, with what each carries."""

    graph: Graph
    edges: tuple[Edge, ...]
    scores: tuple[float, ...] | None
    """None where edges have no score."""
    n_edges: int
    """How many there are; more than are drawn, perhaps."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes that an edge touches, in the order of the model."""
        touched = {edge.sender for edge in self.edges} | {edge.node for edge in self.edges}
        return tuple(node for node in self.graph.nodes if node in touched)


def strongest(
    graph: Graph, edges: Sequence[Edge], scores: Sequence[float] | None, most: int
) -> Drawn:
    """Return the edges of the largest scores, strongest first; the first ones without scores.

    Args:
        graph: All there are.
        edges: Of the circuit.
        scores: One for each; NaN counts as nothing.
        most: How many at most.
    """
    if scores is None:
        return Drawn(graph, tuple(edges[:most]), None, len(edges))
    found = np.nan_to_num(np.asarray(scores, float))
    order = np.argsort(-np.abs(found), kind="stable")[:most]
    kept = tuple(float(found[i]) for i in order)
    return Drawn(graph, tuple(edges[i] for i in order), kept, len(edges))


def place(graph: Graph, node: str) -> tuple[float, float]:
    """Return a node's column and layer: heads side by side, MLPs to their right, half a layer up.

    Args:
        graph: The node's.
        node: ``embed``, ``a0.h1``, ``m0`` or ``logits``.

    Example:
        >>> place(Graph(2, 4), "a1.h3"), place(Graph(2, 4), "m0"), place(Graph(2, 4), "embed")
        ((3.0, 1.0), (4.2, 0.5), (2.1, -1.0))
    """
    # MLPs stand right of the heads: the middle is that of both.
    middle = (graph.n_heads + 0.2) / 2
    if node == "embed":
        return middle, -1.0
    if node == "logits":
        return middle, float(graph.n_layers)
    layer, _, head = node[1:].partition(".h")
    if node[0] == "m":
        return graph.n_heads + 0.2, int(layer) + 0.5
    return float(head), float(layer)


def column(graph: Graph) -> float:
    """Return about how many pixels a column of heads has.

    Args:
        graph: All there are.
    """
    return _WIDTH / (graph.n_heads + 1.7)


def port(graph: Graph, kind: str) -> float:
    """Return where on a head's lower side an input is read, in columns from its middle.

    Args:
        graph: All there are.
        kind: ``q``, ``k`` or ``v``; whatever else is read in the middle.
    """
    return _PORTS.get(kind, 0) * _APART / column(graph)


def bend(graph: Graph, edge: Edge) -> Float[np.ndarray, "points 2"]:
    """Return the curve of an edge, from the sender's upper side to the receiver's lower one.

    Args:
        graph: The edge's.
        edge: It ends at a head's query, key or value, an MLP or the logits.
    """
    x0, y0 = place(graph, edge.sender)
    x1, y1 = place(graph, node_of(edge.receiver))
    x1 += port(graph, edge.receiver.partition("<")[2].rstrip(">"))
    y0, y1 = y0 + _LOW, y1 - _LOW
    pull = 0.45 * max(y1 - y0, 0.35)
    # Long edges step aside, so that they do not run through the heads between their ends.
    aside = 0.38 if abs(x1 - x0) < 0.6 and y1 - y0 > 1.2 else 0.0
    points = np.array([[x0, y0], [x0 + aside, y0 + pull], [x1 + aside, y1 - pull], [x1, y1]])
    t = np.linspace(0, 1, _STEPS)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3], 1)
    return np.asarray(weights @ points)
