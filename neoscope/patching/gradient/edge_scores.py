"""EdgeScores: what every edge was found to do, per pair, with tables and the way to a circuit."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.graph import Edge, Graph
from neoscope.patching.circuits.search import find_edges
from neoscope.patching.engine.progress import Report
from neoscope.patching.results import statistics
from neoscope.patching.results.table import largest

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.patching.gradient.audit import Audit

ExactEdges = Callable[[Sequence[Edge]], NDArray[np.float64]]
"""From edges to the exact effect of each in every pair, [pairs, edges]."""


@dataclass(frozen=True, eq=False, repr=False)
class EdgeScores:
    """Scores of all edges, from :func:`neoscope.patching.eap` or ``eap_ig``.

    A score estimates how much the metric changes when this edge alone carries the donor run's
    value.
    """

    graph: Graph
    """Names of senders and receivers, and which of them have an edge."""
    mean: NDArray[np.float64]
    """[senders, receivers], over pairs; NaN where there is no edge."""
    stderr: NDArray[np.float64]
    """Its standard error over pairs; NaN for one pair."""
    values: NDArray[np.float32] | None
    """Scores, [pairs, senders, receivers]; None where they would take more than 256 MB."""
    n_pairs: int
    """Pairs that are done."""
    method: str
    """``"EAP"`` or ``"EAP-IG"``."""
    steps: int
    """Gradients that were averaged over."""
    direction: str
    """``"denoise"`` or ``"noise"``."""
    metric: str
    unit: str
    clean: NDArray[np.float32]
    """[pairs], the metric in the clean runs."""
    corrupted: NDArray[np.float32]
    """[pairs], the metric in the corrupted runs."""
    model: str
    """Name of the model."""
    complete: bool = True
    """False: it was interrupted, and pairs that were not done are NaN."""
    exact: Callable[..., NDArray[np.float64]] | None = None
    """Runs the same experiment exactly, for :meth:`audit`; None once saved and loaded."""

    @functools.cached_property
    def _at(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Senders and receivers of ``graph.edges``, in their order."""
        receivers, senders = np.nonzero(self.graph.reach.T)
        return senders, receivers

    def __getitem__(self, edge: Edge | str | tuple[str, str]) -> float:
        """Return the mean score of an edge, given in any of its forms.

        Raises:
            PatchingError: There is no such edge.
        """
        return float(self.mean[self.graph.index(edge)])

    def to_dataframe(self) -> DataFrame:
        """Return one row an edge: ``edge``, ``sender``, ``receiver``, ``score``, ``stderr``."""
        return self._table(np.arange(len(self._at[0])))

    def top(self, k: int = 10, by: str = "magnitude") -> DataFrame:
        """Return the ``k`` largest edges, as :meth:`to_dataframe`, largest first.

        Args:
            k: How many.
            by: ``"magnitude"``, ``"positive"`` (most positive first) or ``"negative"``.

        Raises:
            PatchingError: ``k`` is no positive number, or there is no such order.
        """
        return self._table(np.array(largest(self.mean[self._at], k, by), np.int64))

    def _table(self, order: NDArray[np.int64]) -> DataFrame:
        import pandas as pd

        senders, receivers = (index[order] for index in self._at)
        edges = [
            Edge(self.graph.senders[s], self.graph.receivers[r])
            for s, r in zip(senders.tolist(), receivers.tolist(), strict=True)
        ]
        return pd.DataFrame(
            {
                "edge": [str(edge) for edge in edges],
                "sender": [edge.sender for edge in edges],
                "receiver": [edge.receiver for edge in edges],
                "score": self.mean[senders, receivers],
                "stderr": self.stderr[senders, receivers],
            }
        )

    def node_scores(self) -> DataFrame:
        """Return one row for each node: what its edges sum to.

        ``outgoing`` is the node's own attribution score, exactly: its difference times the
        gradient at its output. ``incoming`` is the difference of all that it reads times the
        gradient at its input, over a head's query, key and value; it is the effect of giving the
        node the donor's inputs, to first order, and equals ``outgoing`` only as far as the node is
        linear. The embeddings read nothing and the logits write nothing: NaN.
        """
        import pandas as pd

        into = np.nansum(self.mean, axis=0)
        places = {name: i for i, name in enumerate(self.graph.receivers)}
        nodes = self.graph.nodes
        incoming = [
            sum(float(into[places[name]]) for name in self.graph.inputs(node))
            if node != "embed"
            else np.nan
            for node in nodes
        ]
        outgoing = [*np.nansum(self.mean, axis=1).tolist(), np.nan]
        return pd.DataFrame(
            {"outgoing": outgoing, "incoming": incoming}, index=pd.Index(nodes, name="node")
        )

    def circuit(self, n: int, method: str = "greedy") -> Circuit:
        """Return the circuit of the ``n`` edges of the largest magnitude.

        Args:
            n: How many edges to choose. Those on no path from the embeddings to the logits are
                then left out, since they carry nothing, so the circuit may be smaller.
            method: ``"greedy"``: one after another, the largest edge into a node that is already
                there, beginning at the logits; ``"top"``: the ``n`` largest wherever they are.

        Raises:
            PatchingError: There are not so many edges, or no such method.
        """
        chosen = find_edges(self.graph, self.mean, n, method)
        return Circuit.from_matrix(
            self.graph,
            chosen,
            scores=self.mean,
            model=self.model,
            source=f"{n} edges by {self.method}, {self.steps} step(s), {self.direction}, {method}",
        ).pruned()

    def audit(
        self,
        k: int = 20,
        seed: int = 0,
        *,
        exact: ExactEdges | None = None,
        progress: bool | Report = True,
    ) -> Audit:
        """Compute the exact effects of the ``k`` largest edges and of ``k`` others at random.

        Exact: only this receiver reads the donor's value of this sender; all that comes after it
        is computed anew.

        Args:
            k: How many of each.
            seed: Of the draw.
            exact: What computes exact effects; None for that of the run that made the scores.
            progress: Of exact patching: True for a bar after two seconds, False for none, or a
                function. A keyboard interrupt leaves out the cells that are not done.

        Raises:
            PatchingError: k is no number of at least 1, or there is nothing to run: scores that
                were loaded from a file know no model.
        """
        from neoscope.patching.gradient.audit import audit

        run = exact
        if run is None and self.exact is not None:
            run = functools.partial(self.exact, progress=progress)
        if run is None:
            raise PatchingError(
                "these scores were loaded from a file and know no model; make them anew with eap "
                "or eap_ig, or give exact="
            )
        senders, receivers = self._at
        edges, found = self.graph.edges, run
        single = self.values is not None
        scores = self.values if self.values is not None else self.mean[None]

        def effects(chosen: Sequence[int]) -> NDArray[np.float64]:
            effect = np.asarray(found([edges[i] for i in chosen]), np.float64)
            effect[np.isnan(self.clean)] = np.nan  # pairs that an interrupt left out
            return effect if single else statistics.mean(effect)[None]

        return audit(
            scores[:, senders, receivers],
            effects,
            lambda i: str(edges[i]),
            k=k,
            seed=seed,
            method=f"{self.method}, {self.steps} step(s)",
            unit=self.unit,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all of it as one ``.safetensors`` file, whole or not at all.

        Args:
            path: Older edge scores there are replaced; any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        from neoscope.patching.gradient.edge_file import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EdgeScores:
        """Read what :meth:`save` wrote.

        Args:
            path: A ``.safetensors`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        from neoscope.patching.gradient.edge_file import load

        return load(path)

    def __repr__(self) -> str:
        """Return what it is, and its largest edges."""
        table = self.top(3)
        some = ", ".join(
            f"{e} {s:+.4g}" for e, s in zip(table["edge"], table["score"], strict=True)
        )
        return (
            f"EdgeScores({self.method}, {self.steps} step(s), {self.direction}, {self.metric} in "
            f"{self.unit or '?'}, {self.n_pairs} pair(s)"
            f"{'' if self.complete else ' (interrupted: the others are NaN)'}, "
            f"{len(self.graph.edges)} edges; {some})"
        )
