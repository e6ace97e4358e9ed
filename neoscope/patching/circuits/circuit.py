"""Circuit: a set of edges of a model that is meant to do a task by itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching.circuits.graph import Edge, Graph
from neoscope.patching.circuits.search import prune
from neoscope.patching.results import json_file, saved

if TYPE_CHECKING:
    from pandas import DataFrame

_FORMAT = "neoscope circuit 1"


@dataclass(frozen=True, repr=False)
class Circuit:
    """Edges of one model; make one with :meth:`of`, or with ``EdgeScores.circuit``.

    Example:
        >>> circuit = Circuit.of(Graph(2, 1), ["embed->a0.h0<v>", "a0.h0->logits"])
        >>> circuit
        Circuit(2 of 23 edges, 3 of 6 nodes: embed, a0.h0, logits)
        >>> len(circuit.complement())
        21
    """

    graph: Graph
    edges: tuple[Edge, ...]
    """In the order of ``graph.edges``, each once."""
    scores: tuple[float, ...] | None = None
    """What each edge was chosen by, in the metric's unit; None when it was given by hand."""
    model: str = ""
    """Name of the model whose edges they are."""
    source: str = ""
    """How it was found."""
    n_chosen: int | None = None
    """How many there were before :meth:`pruned` left some out; None where it did not."""

    @classmethod
    def of(
        cls, graph: Graph, edges: Sequence[Edge | str | Sequence[str]], *, model: str = ""
    ) -> Circuit:
        """Return a circuit of the edges that one names.

        Args:
            graph: All there are; ``Graph.of(model.config)``.
            edges: Edges, ``"a0.h1->a3.h1<k>"``, or pairs of names, in any order.
            model: Name of the model.

        Raises:
            PatchingError: An edge does not exist.
        """
        return cls.from_matrix(graph, graph.matrix(edges), model=model, source="by hand")

    @classmethod
    def from_matrix(
        cls,
        graph: Graph,
        chosen: NDArray[np.bool_],
        *,
        scores: NDArray[np.floating] | None = None,
        model: str = "",
        source: str = "",
    ) -> Circuit:
        """Return a circuit from [senders, receivers], True at its edges.

        Args:
            graph: All edges there are.
            chosen: True at the circuit's; what stands where there is no edge does not matter.
            scores: [senders, receivers], what they were chosen by.
            model: Name of the model.
            source: How they were found.
        """
        places = np.argwhere((chosen & graph.reach).T).tolist()
        edges = tuple(Edge(graph.senders[s], graph.receivers[r]) for r, s in places)
        kept = None if scores is None else tuple(float(scores[s, r]) for r, s in places)
        return cls(graph, edges, kept, model, source)

    @functools.cached_property
    def matrix(self) -> NDArray[np.bool_]:
        """[senders, receivers], True at its edges."""
        return self.graph.matrix(self.edges)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node that one of its edges leaves or enters, in the order of the model."""
        touched = {edge.sender for edge in self.edges} | {edge.node for edge in self.edges}
        return tuple(node for node in self.graph.nodes if node in touched)

    def __len__(self) -> int:
        """Return the number of edges."""
        return len(self.edges)

    def __contains__(self, edge: object) -> bool:
        """Whether an edge, given in any of its forms, is part of it."""
        return self.graph.edge(edge) in self.edges  # type: ignore[arg-type]

    def complement(self) -> Circuit:
        """Return all edges of the model that it does not have."""
        source = f"complement of: {self.source}"
        return Circuit.from_matrix(self.graph, ~self.matrix, model=self.model, source=source)

    def without(self, *edges: Edge | str) -> Circuit:
        """Return it less some edges.

        Raises:
            PatchingError: An edge does not exist, or is not part of it.
        """
        gone = [self.graph.edge(edge) for edge in edges]
        stray = next((edge for edge in gone if edge not in self.edges), None)
        if stray is not None:
            raise PatchingError(f"edge {stray} is not part of the circuit of {len(self)} edges")
        return self._keep(~self.graph.matrix(gone))

    def pruned(self) -> Circuit:
        """Return it less the edges on no path from the embeddings to the logits."""
        pruned = self._keep(prune(self.graph, self.matrix))
        return self if len(pruned) == len(self) else replace(pruned, n_chosen=len(self))

    def _keep(self, wanted: NDArray[np.bool_]) -> Circuit:
        kept = [wanted[self.graph.index(edge)] for edge in self.edges]
        edges = tuple(edge for edge, keep in zip(self.edges, kept, strict=True) if keep)
        scores = self.scores
        if scores is not None:
            scores = tuple(score for score, keep in zip(scores, kept, strict=True) if keep)
        return replace(self, edges=edges, scores=scores, n_chosen=None)

    def to_networkx(self) -> Any:
        """Return a ``networkx.MultiDiGraph`` of its nodes and edges.

        A head may read one sender at several inputs: the key of an edge is ``"q"``, ``"k"``,
        ``"v"``, or ``"in"`` of an MLP and the logits. Nodes know ``kind``, ``layer`` and ``head``,
        edges ``receiver`` and, where there is one, ``score``.
        """
        import networkx as nx  # type: ignore[import-untyped]

        drawn = nx.MultiDiGraph(model=self.model, source=self.source)
        for node in self.nodes:
            drawn.add_node(node, **_described(node))
        for i, edge in enumerate(self.edges):
            key = edge.receiver.partition("<")[2].rstrip(">") or "in"
            more = {} if self.scores is None else {"score": self.scores[i]}
            drawn.add_edge(edge.sender, edge.node, key=key, receiver=edge.receiver, **more)
        return drawn

    def to_dataframe(self) -> DataFrame:
        """Return one row an edge: ``edge``, ``sender``, ``receiver``, ``score`` (NaN by hand)."""
        import pandas as pd

        return pd.DataFrame(
            {
                "edge": [str(edge) for edge in self.edges],
                "sender": [edge.sender for edge in self.edges],
                "receiver": [edge.receiver for edge in self.edges],
                "score": np.full(len(self), np.nan) if self.scores is None else list(self.scores),
            }
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all.

        Args:
            path: A ``.json`` file; an older circuit there is replaced, any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        return json_file.write(path, _FORMAT, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Circuit:
        """Read what :meth:`save` wrote.

        Args:
            path: A ``.json`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        with saved.reading(path, "Circuit") as source:
            return cls.from_json(json_file.read(source, _FORMAT))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "model": self.model,
            "source": self.source,
            "n_layers": self.graph.n_layers,
            "n_heads": self.graph.n_heads,
            "edges": [str(edge) for edge in self.edges],
            "scores": self.scores,
            "n_chosen": self.n_chosen,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Circuit:
        """Return what :meth:`to_json` was called on.

        Args:
            said: As JSON has it.

        Raises:
            PatchingError: An edge does not exist.
            ValueError: It is damaged; so do KeyError and TypeError say.
        """
        graph = Graph(int(said["n_layers"]), int(said["n_heads"]))
        edges = tuple(graph.edge(edge) for edge in said["edges"])
        scores = None if said["scores"] is None else tuple(map(float, said["scores"]))
        if scores is not None and len(scores) != len(edges):
            raise ValueError(f"it has {len(scores)} scores of {len(edges)} edges")
        names, chosen = (str(said["model"]), str(said["source"])), said.get("n_chosen")
        return cls(graph, edges, scores, *names, None if chosen is None else int(chosen))

    def __repr__(self) -> str:
        """Return its size and its first nodes."""
        nodes, total = self.nodes, len(self.graph.nodes)
        some = ", ".join(nodes[:8]) + (", ..." if len(nodes) > 8 else "")
        gone = 0 if self.n_chosen is None else self.n_chosen - len(self)
        pruned = f"; {self.n_chosen} were chosen, {gone} lay on no path from embed to logits"
        return (
            f"Circuit({len(self)} of {len(self.graph.edges)} edges, {len(nodes)} of {total} nodes"
            f"{': ' if some else ''}{some}{pruned if gone else ''})"
        )


def _described(node: str) -> dict[str, Any]:
    if node in ("embed", "logits"):
        return {"kind": node}
    layer, _, head = node[1:].partition(".h")
    if node[0] == "m":
        return {"kind": "mlp", "layer": int(layer)}
    return {"kind": "head", "layer": int(layer), "head": int(head)}
