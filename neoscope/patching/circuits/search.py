"""Circuit search: which edges make a circuit, from the scores of all of them."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError, nearest
from neoscope.indices import whole
from neoscope.patching.circuits.graph import Graph, node_of

METHODS = ("greedy", "top")
Chosen = NDArray[np.bool_]


def find_edges(
    graph: Graph, scores: NDArray[np.floating], n: int, method: str = "greedy"
) -> Chosen:
    """Choose edges by the magnitude of their scores.

    Args:
        graph: Senders and receivers.
        scores: [senders, receivers]; what stands where there is no edge does not matter.
        n: How many edges to choose, before :func:`prune`.
        method: ``"top"``: the ``n`` largest. ``"greedy"``: begin at the logits and add, one after
            another, the largest edge into a node that is already there (Hanna et al. 2024,
            arXiv 2403.17806), so that every edge leads to the logits.

    Returns:
        [senders, receivers], True at the chosen edges; of equal scores the first come first.

    Raises:
        PatchingError: There is no such method, or there are fewer edges.
    """
    number = whole(n)
    if number is None or not 1 <= number <= len(graph.edges):
        raise PatchingError(f"n={n!r}: the graph has {len(graph.edges)} edges; give 1 to that many")
    if method not in METHODS:
        hint = nearest(str(method), METHODS)
        raise PatchingError(f"method={method!r} is none of {METHODS}{hint}")
    size = np.where(graph.reach, np.abs(scores), -1.0)
    if np.isnan(size).any():
        raise PatchingError("some edges have no score (NaN): there is nothing to choose by")
    return _top(size, number) if method == "top" else _greedy(graph, size, number)


def _top(size: NDArray[np.floating], n: int) -> Chosen:
    chosen = np.zeros(size.shape, np.bool_)
    chosen.flat[np.argsort(-size, axis=None, kind="stable")[:n]] = True
    return chosen


def _greedy(graph: Graph, size: NDArray[np.floating], n: int) -> Chosen:
    chosen = np.zeros(size.shape, np.bool_)
    places = {name: i for i, name in enumerate(graph.receivers)}
    waiting: list[tuple[float, int, int]] = []
    seen: set[str] = set()

    def enter(node: str) -> None:
        if node in seen:
            return
        seen.add(node)
        for receiver in graph.inputs(node):
            at = places[receiver]
            for sender in np.flatnonzero(graph.reach[:, at]).tolist():
                heapq.heappush(waiting, (-float(size[sender, at]), at, sender))

    enter("logits")
    for _ in range(n):
        if not waiting:  # every node that leads to the logits is in, with all of its edges
            break
        _, receiver, sender = heapq.heappop(waiting)
        chosen[sender, receiver] = True
        enter(graph.senders[sender])
    return chosen


def prune(graph: Graph, chosen: Chosen) -> Chosen:
    """Leave out edges that lie on no path from the embeddings to the logits.

    What is left out carries nothing: no run of the circuit changes by it.

    Args:
        graph: Senders and receivers.
        chosen: [senders, receivers], True at the edges of a circuit.
    """
    places = {name: i for i, name in enumerate(graph.nodes)}
    node = np.array([places[node_of(receiver)] for receiver in graph.receivers])
    fed = np.zeros(len(graph.nodes), np.bool_)
    fed[0] = True
    # Nodes stand in the order in which the model runs them: one pass each way is enough.
    for i in range(1, len(graph.nodes)):
        fed[i] = bool(chosen[:, node == i][fed[:-1]].any())
    leads = np.zeros(len(graph.nodes), np.bool_)
    leads[-1] = True
    for i in reversed(range(len(graph.senders))):
        leads[i] = bool(chosen[i][leads[node]].any())
    kept: Chosen = chosen & fed[:-1, None] & leads[node][None]
    return kept
