"""Tally: gathers the scores of pairs, and sums them up where they are too many to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching.circuits.graph import Graph
from neoscope.patching.gradient.edge_scores import EdgeScores

KEPT_BYTES = 2**28
"""Scores of single pairs that take more than this are not kept, only their mean and spread."""


class Tally:
    """Gathers the scores of pairs as they come."""

    def __init__(self, graph: Graph, n_pairs: int, kept_bytes: int = KEPT_BYTES) -> None:
        """Begin with none."""
        shape = graph.reach.shape
        self.graph, self.n_pairs = graph, n_pairs
        keep = 4 * n_pairs * graph.reach.size <= kept_bytes
        self._values = np.full((n_pairs, *shape), np.nan, np.float32) if keep else None
        self.n_done = 0
        self._sum, self._squares = np.zeros(shape), np.zeros(shape)
        self._shift: NDArray[np.float32] | None = None

    def add(self, pairs: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Add the scores of some pairs."""
        self.n_done += len(pairs)
        if self._values is not None:
            self._values[pairs] = scores
        # Squares are taken about the first pair's scores: a small spread survives the difference.
        self._shift = scores[0] if self._shift is None else self._shift
        away = (scores - self._shift).astype(np.float64)
        self._sum += away.sum(0)
        self._squares += (away**2).sum(0)

    def finish(self, **said: Any) -> EdgeScores:
        """Return the result so far; ``said`` is what the tally does not know.

        Raises:
            PatchingError: No pair is done yet.
        """
        if self._shift is None:
            raise PatchingError("no pair is done yet")
        n, none = self.n_done, ~self.graph.reach
        mean = self._shift + self._sum / n
        spread = np.full(mean.shape, np.nan)
        if n > 1:
            spread = np.sqrt(np.maximum(self._squares - self._sum**2 / n, 0) / (n - 1) / n)
        for x in (mean, spread):
            x[none] = np.nan
        complete, values = n == self.n_pairs, self._values
        if values is not None:
            values = values if complete else values.copy()
            values[:, none] = np.nan
        return EdgeScores(
            graph=self.graph,
            mean=mean,
            stderr=spread,
            values=values,
            n_pairs=n,
            complete=complete,
            **said,
        )
