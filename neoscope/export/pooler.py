"""Pooler: watches the sites of a run and keeps of each only its pooled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from neoscope.export.derived import Derived, of_pattern
from neoscope.export.spec import Feature
from neoscope.export.weights import Weights
from neoscope.sites import SiteRef
from neoscope.visibility import Visibility

Rows = Float[Tensor, "token width"]
_Matrix = tuple[slice, Tensor, Tensor]
_STRETCH = 256
_STRETCH_ON_DEVICE = 2048


@dataclass(frozen=True)
class Part:
    """What one batch adds to one feature."""

    slots: NDArray[np.int64]
    """Rows of the result; tokens for ``pool="none"``."""
    values: Tensor
    """[slots, width], float32; of ragged ones [values]."""
    how: str
    """``set``, ``add``, ``max``, or ``ragged``: values of all slots lie one after another."""


@dataclass
class Pooler:
    """Pools what it sees: unpooled states live no longer than the layer that made them.

    Tokens of the batch stand in one row: text after text, without padding.
    """

    wanted: Mapping[str, SiteRef]
    """Sites to look at, by full name."""
    by_site: Mapping[str, Sequence[tuple[Feature, Weights | None]]]
    """Features that each of them feeds; no weights where nothing is pooled."""
    tokens: NDArray[np.int64]
    """Number, over all texts, of each token of the batch."""
    owned: NDArray[np.bool_]
    """Which tokens the batch reads for their own sake, not as context."""
    texts: NDArray[np.int64]
    """Texts that have a token in the batch, ascending."""
    real: Tensor | None = None
    """[batch, pos]: where real tokens are, if the batch is padded."""
    keep_graph: bool = False
    parts: list[tuple[Feature, Part]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find each token's place in the batch."""
        self._own = np.flatnonzero(self.owned)
        order = np.argsort(self.tokens[self._own], kind="stable")
        self._sorted, self._column = self.tokens[self._own][order], self._own[order]
        self._matrices: dict[int, tuple[NDArray[np.int64], list[_Matrix]]] = {}

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        """Pool ``x`` for every feature that its site feeds."""
        cache: dict[str, Rows] = {}
        for feature, weights in self.by_site.get(name, ()):
            if feature.width is None:
                self.parts.append((feature, self._squares(x)))
                continue
            key = feature.source.name if isinstance(feature.source, Derived) else ""
            if key not in cache:
                cache[key] = self._rows(feature, x)
            self.add(feature, weights, cache[key])
        return x

    def add(self, feature: Feature, weights: Weights | None, rows: Rows) -> None:
        """Pool the rows of a feature, one for every token of the batch."""
        if weights is None:
            part = Part(self.tokens[self._own], rows[self._index(self._own, rows)], "set")
        else:
            part = self._pool(weights, rows)
        self.parts.append((feature, part))

    def _rows(self, feature: Feature, x: Tensor) -> Rows:
        if isinstance(feature.source, Derived):
            x = of_pattern(feature.source.name, x)
        x = x[0] if self.real is None else x[self.real]
        return x.flatten(1).float()

    def _entries(
        self, weights: Weights
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Slots, columns of the batch and weights of the entries that the batch holds."""
        entries = np.concatenate(
            [np.arange(weights.first[t], weights.first[t + 1]) for t in self.texts]
        ).astype(np.int64)
        token = weights.token[entries]
        at = np.searchsorted(self._sorted, token).clip(max=max(len(self._sorted) - 1, 0))
        here = self._sorted[at] == token
        return weights.slot[entries][here], self._column[at[here]], weights.weight[entries][here]

    def _pool(self, weights: Weights, rows: Rows) -> Part:
        if weights.single:
            slots, columns, _ = self._entries(weights)
            return Part(slots, rows[self._index(columns, rows)], "set")
        if not weights.linear:
            return self._maximum(weights, rows)
        if id(weights) not in self._matrices:
            self._matrices[id(weights)] = self._sums(weights, rows.device)
        unique, matrices = self._matrices[id(weights)]
        out = rows.new_zeros(len(unique), rows.shape[1])
        for stretch, places, matrix in matrices:
            out[places] += matrix @ rows[stretch]
        return Part(unique, out, "add")

    def _sums(
        self, weights: Weights, device: torch.device
    ) -> tuple[NDArray[np.int64], list[_Matrix]]:
        """Return the slots, and a small dense matrix for every stretch of columns.

        One matrix for the whole batch would grow with its square.
        """
        slots, columns, weight = self._entries(weights)
        unique, places = np.unique(slots, return_inverse=True)
        step = _STRETCH if device.type == "cpu" else _STRETCH_ON_DEVICE
        matrices = []
        for start in range(0, len(self.tokens), step):
            inside = np.flatnonzero((columns >= start) & (columns < start + step))
            rows, row = np.unique(places[inside], return_inverse=True)
            width = min(step, len(self.tokens) - start)
            matrix = np.zeros((len(rows), width), np.float32)
            matrix[row, columns[inside] - start] = weight[inside]
            stretch = slice(start, start + width)
            matrices.append(
                (stretch, torch.from_numpy(rows).to(device), torch.from_numpy(matrix).to(device))
            )
        return unique, matrices

    def _maximum(self, weights: Weights, rows: Rows) -> Part:
        slots, columns, _ = self._entries(weights)
        unique, starts = np.unique(slots, return_index=True)
        values = [
            rows[self._index(columns[start:stop], rows)].amax(0)
            for start, stop in pairwise([*starts.tolist(), len(slots)])
        ]
        empty = rows.new_zeros((0, rows.shape[1]))
        return Part(unique, torch.stack(values) if values else empty, "max")

    def _squares(self, x: Float[Tensor, "batch head query key"]) -> Part:
        """Each query's row over the keys of its own text, all heads one after another."""
        assert self.real is not None
        rows = [
            x[b, :, :n, :n].transpose(0, 1).flatten().float()
            for b, n in enumerate(self.real.sum(1).tolist())
        ]
        return Part(self.tokens, torch.cat(rows), "ragged")

    @staticmethod
    def _index(columns: NDArray[np.int64], rows: Rows) -> Tensor:
        return torch.from_numpy(columns).to(rows.device)
