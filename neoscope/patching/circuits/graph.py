"""Graph: the parts of a GPT-Neo that write to the residual stream and read from it, and the edges.

Senders write: ``embed`` (token and position), heads ``a3.h1``, MLPs ``m3``. Receivers read: a
head's queries, keys and values ``a3.h1<q>``, ``a3.h1<k>``, ``a3.h1<v>``, MLPs ``m3``, and
``logits``. Every sender that comes before a receiver has an edge to it, ``a0.h1->a3.h1<k>``. A
GPT-Neo block is sequential, so the heads of a layer have edges to the MLP of the same layer.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neoscope.config import NeoConfig
from neoscope.errors import PatchingError, nearest

INPUTS = ("q", "k", "v")


@dataclass(frozen=True, order=True)
class Edge:
    """What one sender writes and one receiver reads.

    Example:
        >>> str(Edge("a0.h1", "a3.h1<k>"))
        'a0.h1->a3.h1<k>'
    """

    sender: str
    receiver: str

    def __str__(self) -> str:
        """Return ``sender->receiver``."""
        return f"{self.sender}->{self.receiver}"

    @property
    def node(self) -> str:
        """The node that the receiver belongs to: ``a3.h1`` of ``a3.h1<k>``."""
        return node_of(self.receiver)


def node_of(receiver: str) -> str:
    """Return the node that a receiver belongs to; MLPs and the logits are their own."""
    return receiver.partition("<")[0]


@dataclass(frozen=True)
class Graph:
    """All senders, receivers and edges of a model, in the order in which the model runs them.

    Example:
        >>> graph = Graph(n_layers=2, n_heads=1)
        >>> graph.senders
        ('embed', 'a0.h0', 'm0', 'a1.h0', 'm1')
        >>> len(graph.receivers), len(graph.edges)
        (9, 23)
    """

    n_layers: int
    n_heads: int

    @classmethod
    def of(cls, config: NeoConfig) -> Graph:
        """Return the graph of a model of that shape."""
        return cls(config.n_layers, config.n_heads)

    @functools.cached_property
    def senders(self) -> tuple[str, ...]:
        """``embed``, then the heads and the MLP of each layer."""
        layers = range(self.n_layers)
        return ("embed", *(name for layer in layers for name in self._written(layer)))

    @functools.cached_property
    def receivers(self) -> tuple[str, ...]:
        """Of each layer all ``<q>``, all ``<k>``, all ``<v>``, and the MLP; then ``logits``."""
        heads = range(self.n_heads)
        names: list[str] = []
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}<{kind}>" for kind in INPUTS for head in heads]
            names.append(f"m{layer}")
        return (*names, "logits")

    @functools.cached_property
    def nodes(self) -> tuple[str, ...]:
        """All senders, then ``logits``."""
        return (*self.senders, "logits")

    @functools.cached_property
    def reach(self) -> NDArray[np.bool_]:
        """[senders, receivers], True where there is an edge."""
        reach = np.zeros((len(self.senders), len(self.receivers)), np.bool_)
        for layer in range(self.n_layers):
            reach[: self.before(layer), self.attention(layer)] = True
            reach[: self.before(layer) + self.n_heads, self.mlp(layer)] = True
        reach[:, -1] = True
        reach.flags.writeable = False
        return reach

    @functools.cached_property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, receiver by receiver."""
        return tuple(
            Edge(self.senders[sender], self.receivers[receiver])
            for receiver, sender in np.argwhere(self.reach.T).tolist()
        )

    def before(self, layer: int) -> int:
        """Number of senders that write before a layer; before the logits for ``n_layers``."""
        return 1 + layer * (self.n_heads + 1)

    def attention(self, layer: int) -> slice:
        """Where the queries, then keys, then values of a layer's heads are among the receivers."""
        start = layer * (3 * self.n_heads + 1)
        return slice(start, start + 3 * self.n_heads)

    def mlp(self, layer: int) -> int:
        """Where a layer's MLP is among the receivers."""
        return (layer + 1) * (3 * self.n_heads + 1) - 1

    def inputs(self, node: str) -> tuple[str, ...]:
        """Return the receivers of a node: three of a head, one of an MLP and the logits, or none.

        Raises:
            PatchingError: There is no such node.
        """
        if node not in self.nodes:
            hint = nearest(str(node), self.nodes)
            raise PatchingError(f"node {node!r} does not exist{hint}; {self._shape()}")
        if node == "embed":
            return ()
        return tuple(f"{node}<{kind}>" for kind in INPUTS) if "." in node else (node,)

    def index(self, edge: Edge | str | Sequence[str]) -> tuple[int, int]:
        """Return the sender's and the receiver's place of an edge.

        Args:
            edge: An :class:`Edge`, ``"a0.h1->a3.h1<k>"``, or the pair of names.

        Raises:
            PatchingError: It names no sender or no receiver, or the sender does not come before
                the receiver.
        """
        sender, receiver = _names(edge)
        if sender not in self._sender_places:
            why = "the logits only read" if sender == "logits" else self._shape()
            raise PatchingError(
                f"edge {sender}->{receiver}: {sender!r} is no sender"
                f"{nearest(sender, self.senders)}; {why}"
            )
        if receiver not in self._receiver_places:
            if receiver in self.nodes:
                inputs = self.inputs(receiver)
                why = f"; a head reads at {', '.join(inputs)}" if inputs else "; it only writes"
            else:
                why = f"{nearest(receiver, self.receivers)}; {self._shape()}"
            raise PatchingError(f"edge {sender}->{receiver}: {receiver!r} is no receiver{why}")
        at = self._sender_places[sender], self._receiver_places[receiver]
        if not self.reach[at]:
            raise PatchingError(
                f"edge {sender}->{receiver} does not exist: {sender} writes only after "
                f"{receiver} has read"
            )
        return at

    def edge(self, edge: Edge | str | Sequence[str]) -> Edge:
        """Return an edge that exists; arguments and errors as for :meth:`index`."""
        sender, receiver = self.index(edge)
        return Edge(self.senders[sender], self.receivers[receiver])

    def matrix(self, edges: Sequence[Edge | str | Sequence[str]]) -> NDArray[np.bool_]:
        """Return [senders, receivers], True at the given edges; errors as for :meth:`index`."""
        chosen = np.zeros(self.reach.shape, np.bool_)
        for edge in edges:
            chosen[self.index(edge)] = True
        return chosen

    @functools.cached_property
    def _sender_places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.senders)}

    @functools.cached_property
    def _receiver_places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.receivers)}

    def _written(self, layer: int) -> list[str]:
        return [*(f"a{layer}.h{head}" for head in range(self.n_heads)), f"m{layer}"]

    def _shape(self) -> str:
        return (
            f"the model has {self.n_layers} layers of {self.n_heads} heads: embed, "
            f"a0.h0 to a{self.n_layers - 1}.h{self.n_heads - 1}, m0 to m{self.n_layers - 1}, logits"
        )


def _names(edge: object) -> tuple[str, str]:
    if isinstance(edge, Edge):
        return edge.sender, edge.receiver
    parts = edge.split("->") if isinstance(edge, str) else edge
    if not isinstance(parts, Sequence) or len(parts) != 2:
        raise PatchingError(f"{edge!r} is no edge; write 'a0.h1->a3.h1<k>', or the pair of names")
    sender, receiver = (str(part).strip() for part in parts)
    return sender, receiver
