"""Attention of patched rows: their own tails, and the base run's keys and values to the left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.linear import linear
from neoscope.patching.engine.base import Base
from neoscope.patching.engine.rows import Indices, Tails, Tokens, on


class RowAttention:
    """One layer's attention for all live rows.

    Queries, keys and values of the base run and of the rows' own tokens stand in one table; each
    row's rectangle is picked from it.
    """

    def __init__(self, base: Base, tails: Tails, pair: Indices, read: Indices) -> None:
        """Hold what all layers share.

        Args:
            base: The unpatched run.
            tails: The live rows; it grows.
            pair: The pair of each row.
            read: [pairs, P]: columns that the metric reads.
        """
        self.base, self.tails, self.pair, self.read = base, tails, pair, read
        # One kernel for all rows where launches are what costs; few idle queries where they are.
        self._ratio = 0.6 if base.device.type == "cpu" else 0.0

    def __call__(
        self,
        layer: int,
        stream: Float[Tensor, "tokens d_model"],
        changed: NDArray[np.bool_],
        asked: NDArray[np.bool_],
        found: Mapping[str, Tokens],
    ) -> Float[Tensor, "asked d_model"]:
        """Return what attention writes at the asked-for tokens.

        Args:
            layer: The layer.
            stream: All flat tokens, before the layer.
            changed: Which of them may differ from the base run.
            asked: Which are wanted.
            found: Queries, keys and values of heads that are given.
        """
        base, tails = self.base, self.tails
        attn, d = base.block(layer).attn, base.config.d_model
        device = base.device
        every = bool(changed.all())
        x = stream if every else stream[on(device, np.flatnonzero(changed))]
        x = base.block(layer).ln1(x)
        new = linear(x, attn.weight_qkv[d:])
        self._pin(new.unflatten(-1, (2, -1))[:, 0], found.get("k"), changed)
        self._pin(new.unflatten(-1, (2, -1))[:, 1], found.get("v"), changed)
        keys_values = torch.cat([base.keys_values(layer), new])
        own = asked & changed
        at = own[changed]
        x = x if bool(at.all()) else x[on(device, np.flatnonzero(at))]
        new = linear(x, attn.weight_qkv[:d])
        self._pin(new, found.get("q"), own)
        queries = torch.cat([base("q", layer).flatten(2).flatten(0, 1), new])
        sources = (self._sources(changed), self._sources(own))
        allowed = base.allowed(layer)
        out = torch.empty(int(asked.sum()), d, device=device, dtype=stream.dtype)
        rank = np.cumsum(asked) - 1
        for rows in tails.buckets(self._ratio):
            columns = self._query_columns(rows, asked)
            z = self._attend(rows, columns, sources, (queries, keys_values), allowed)
            real = columns >= tails.start[rows][:, None]
            flat = tails.offset[rows][:, None] + columns - tails.start[rows][:, None]
            put = on(device, rank[flat[real]])
            picked = z if bool(real.all()) else z[on(device, np.flatnonzero(real.ravel()))]
            out.index_copy_(0, put, picked)
        return linear(out, attn.weight_o, attn.b_O)

    def _pin(self, table: Tensor, tokens: Tokens | None, own: NDArray[np.bool_]) -> None:
        """Write given queries, keys or values of heads into those of the own tokens."""
        if tokens is None:
            return
        flat = self.tails.flat(tokens.row, tokens.column)
        tokens, flat = tokens.keep(own[flat]), flat[own[flat]]
        assert tokens.head is not None
        by_head = table.unflatten(-1, (self.base.config.n_heads, -1))
        at = on(table.device, (np.cumsum(own) - 1)[flat])
        by_head[at, on(table.device, tokens.head)] = tokens.value.to(table.dtype)

    def _attend(
        self,
        rows: Indices,
        columns: Indices,
        sources: tuple[Indices, Indices],
        tables: tuple[Tensor, Tensor],
        allowed: Bool[Tensor, "rows 1 query key"],
    ) -> Float[Tensor, "queries d_model"]:
        """Attend in a rectangle of rows; queries left of a row's own tail are the base run's."""
        device, heads = self.base.device, self.base.config.n_heads
        keys, own = sources
        index = on(device, np.take_along_axis(own[rows], columns, 1).ravel())
        q = tables[0].index_select(0, index).view(*columns.shape, heads, -1)
        kv = tables[1].index_select(0, on(device, keys[rows].ravel()))
        kv = kv.view(len(rows), -1, 2, heads, q.shape[-1])
        mask = _mask(allowed, on(device, self.pair[self.tails.row[rows]]), columns, device)
        z = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            kv[:, :, 0].transpose(1, 2),
            kv[:, :, 1].transpose(1, 2),
            attn_mask=mask,
            scale=1.0,
        )
        return z.transpose(1, 2).reshape(columns.size, -1)

    def _sources(self, own: NDArray[np.bool_]) -> Indices:
        """Where each live row's columns lie in a table of the base's tokens, then the own ones."""
        tails, n = self.tails, self.base.n_columns
        source = self.pair[tails.row][:, None] * n + np.arange(n)[None]
        n_base = self.base.n_pairs * n
        source[tails.live[own], tails.column[own]] = n_base + np.arange(int(own.sum()))
        return source

    def _query_columns(self, rows: Indices, asked: NDArray[np.bool_]) -> Indices:
        """Columns of the queries of some rows, [rows, queries]."""
        if bool(asked.all()):
            first = int(self.tails.start[rows].min())
            return np.broadcast_to(
                np.arange(first, self.base.n_columns), (len(rows), self.base.n_columns - first)
            )
        return self.read[self.pair[self.tails.row[rows]]]


def _mask(
    allowed: Bool[Tensor, "rows 1 query key"],
    pair: Int[Tensor, "n"],
    columns: Indices,
    device: torch.device,
) -> Bool[Tensor, "n_or_1 1 asked key"]:
    if len(allowed) == 1 and bool((columns == columns[:1]).all()):
        return allowed[:, :, on(device, columns[0])]
    rows = torch.zeros_like(pair) if len(allowed) == 1 else pair
    return allowed[:, 0][rows[:, None], on(device, columns)][:, None]
