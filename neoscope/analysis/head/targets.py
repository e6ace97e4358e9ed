"""Which key of which query each head score is about, in a batch of texts with any padding."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.analysis.head.kinds import Kind

Index = Int[Tensor, " pair"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query and a key; indices are columns of the batch."""

    row: Index
    query: Index
    key: Index
    distance: Index
    """Tokens from the key to the query."""

    def within(self, window: int | None) -> Pairs:
        """Return the pairs that a layer sees."""
        if window is None:
            return self
        return self._where(self.distance < window)

    def split(self, near: int | None, *, beyond: bool) -> Pairs:
        """Return the pairs on one side of the window; all are inside where there is none."""
        if near is None:
            return self._where(torch.full_like(self.distance, not beyond, dtype=torch.bool))
        return self._where((self.distance < near) != beyond)

    def _where(self, keep: Bool[Tensor, " pair"]) -> Pairs:
        return Pairs(self.row[keep], self.query[keep], self.key[keep], self.distance[keep])

    def queries(self, n: int) -> tuple[Index, Index]:
        """Return row and column of each query that has a pair, once.

        Args:
            n: Columns of the batch.
        """
        single = torch.unique(self.row * n + self.query)
        return single // n, single % n


class Look:
    """What the queries of one layer give to each key."""

    def __init__(
        self,
        weights: Float[Tensor, "text head query key"],
        whole: Bool[Tensor, "text head query"] | None = None,
    ) -> None:
        """Keep them.

        Args:
            weights: Attention, or shares of what it moves.
            whole: Which queries of which heads count; None for all.
        """
        self.weights, self.whole = weights, whole

    @functools.cached_property
    def entropy(self) -> Float[Tensor, "text head query"]:
        """In nats. Head by head: what it takes on the way is as large as the weights."""
        heads = [torch.special.entr(one).sum(-1) for one in self.weights.unbind(1)]
        return torch.stack(heads, dim=1)


class Targets:
    """A batch of texts, and what scores look at in them."""

    def __init__(
        self,
        ids: Int[Tensor, "text pos"],
        mask: Bool[Tensor, "text pos"],
        near: int | None,
        device: torch.device | str,
    ) -> None:
        """Find the pairs.

        Args:
            ids: Tokens.
            mask: True where a token is real.
            near: Distance from which local layers see nothing; None where no layer is local.
            device: Where the patterns will be.
        """
        self.n_texts, self.n_columns = ids.shape
        self.lengths = [int(n) for n in mask.sum(1)]
        position = (mask.long().cumsum(1) - 1).clamp(min=0)
        self.position: Int[Tensor, "text pos"] = position.to(device)
        counted = mask & (position > 0)
        self.counted: Bool[Tensor, "text pos"] = counted.to(device)
        """Queries from the second token on."""
        self._near, self._device = near, device
        columns = [row.nonzero().flatten() for row in mask.cpu()]
        self._columns, self._ids = columns, ids.cpu()
        self._equal: list[tuple[Tensor, Tensor]] | None = None
        self._kept: dict[tuple[str, int | None], Pairs] = {}

    def pairs(self, kind: Kind, window: int | None) -> Pairs:
        """Return the pairs of a score that a layer of this window sees."""
        key = (kind.name, window)
        if key not in self._kept:
            self._kept[key] = self._pairs(kind).within(window)
        return self._kept[key]

    def _pairs(self, kind: Kind) -> Pairs:
        if kind.name == "previous_token":
            return self._joined([(c[1:], c[:-1], torch.ones(len(c) - 1)) for c in self._columns])
        if kind.name == "first_token":
            return self._joined(
                [(c[1:], c[:1].expand(len(c) - 1), torch.arange(1, len(c))) for c in self._columns]
            )
        shift = int(kind.name.startswith("induction"))
        rows = []
        for c, (query, key) in zip(self._columns, self._before(), strict=True):
            # What came after a token that is the one before is the query itself.
            earlier = key + shift < query
            query, key = query[earlier], key[earlier] + shift
            rows.append((c[query], c[key], query - key))
        return self._joined(rows).split(self._near, beyond=kind.beyond)

    def _before(self) -> list[tuple[Tensor, Tensor]]:
        """Positions of each token, and of the same token before it, text by text."""
        if self._equal is None:
            self._equal = []
            for ids, c in zip(self._ids, self._columns, strict=True):
                token = ids[c].numpy()
                query, key = np.tril(token[:, None] == token[None], -1).nonzero()
                self._equal.append((torch.from_numpy(query), torch.from_numpy(key)))
        return self._equal

    def _joined(self, rows: list[tuple[Tensor, Tensor, Tensor]]) -> Pairs:
        row = torch.cat([torch.full((len(q),), i) for i, (q, _, _) in enumerate(rows)])
        query, key, distance = (torch.cat([one[i].long() for one in rows]) for i in range(3))
        return Pairs(*(x.to(self._device) for x in (row, query, key, distance)))

    def seen(self, window: int | None) -> Int[Tensor, "text pos"]:
        """Return how many keys each query sees."""
        count = self.position + 1
        return count if window is None else count.clamp(max=window)

    def measure(
        self,
        kind: Kind,
        look: Look,
        window: int | None,
    ) -> tuple[Float[Tensor, "text head"], Float[Tensor, "text head"]]:
        """Return the sum of a score over the queries of each text, and how many they are.

        Args:
            kind: A score of a pattern.
            look: What each head's queries give to each key.
            window: Keys that a query of this layer sees.
        """
        weights, whole = look.weights, look.whole
        total = torch.zeros(weights.shape[:2], dtype=torch.float64, device=weights.device)
        count = torch.zeros_like(total)
        if kind.family == "target":
            pairs = self.pairs(kind, window)
            # A query that is left out has no weights, and adds nothing.
            found = weights[pairs.row, :, pairs.query, pairs.key].double()
            total.index_add_(0, pairs.row, found)
            row, query = pairs.queries(self.n_columns)
            if whole is None:
                return total, count.index_add_(0, row, torch.ones_like(total[row]))
            return total, count.index_add_(0, row, whole[row, :, query].double())
        counts = self.counted[:, None].expand(weights.shape[:3])
        if kind.name == "relative_entropy":
            counts = counts & (self.seen(window) > 1)[:, None]
        if whole is not None:
            counts = counts & whole
        values = self._rows(kind, look, window)
        total += torch.where(counts, values.double(), 0.0).sum(-1)
        return total, count + counts.sum(-1)

    def _rows(self, kind: Kind, look: Look, window: int | None) -> Tensor:
        """One number for each query: how its attention is spread."""
        weights = look.weights
        if kind.name == "mean_distance":
            place = self.position.to(weights.dtype)
            mean = (weights @ place[:, None, :, None])[..., 0]
            distance: Tensor = place[:, None] * weights.sum(-1) - mean
            return distance
        if kind.name == "entropy":
            return look.entropy
        most: Tensor = self.seen(window).clamp(min=2).to(weights.dtype).log()
        return look.entropy.div(most[:, None])
