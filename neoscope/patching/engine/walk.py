"""The walk: exact outcomes of many patches in one way up the layers.

A patch at layer l and column c changes nothing below l or left of c. So all patched rows climb
together: each joins where its patch is, holds only its own tail of columns, and reads the base
run's keys and values to the left of it. Each layer is one matrix product per weight for all rows.
In the last layer only what the metric reads is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.base import Base
from neoscope.patching.engine.rows import Indices, Tails, Tokens, joined, on
from neoscope.patching.engine.walk_attention import RowAttention
from neoscope.run import Run

Changes = Callable[[int], Mapping[str, Tokens]]
"""Layer -> what is written there: residual streams (resid_pre, resid_mid, resid_post) and what is
added to them (attn_out, mlp_out)."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the patched rows hold in the end."""

    row: Indices
    """Rows that moved; of all others the base run holds."""
    hidden: Float[Tensor, "rows P d_model"]
    """Their residual stream after the last block, in the columns that the metric reads."""


class Walk:
    """One way up the layers with the rows of some cells."""

    def __init__(
        self,
        base: Base,
        pair: Indices,
        columns: Int[Tensor, "pairs P"],
        changes: Changes,
        start: Indices | None = None,
    ) -> None:
        """Begin without rows.

        Args:
            base: The unpatched run.
            pair: The pair of each row.
            columns: What the metric reads.
            changes: What is written where; token sets are sorted by row.
            start: First column of each row that is changed in more than one layer; other rows, and
                those with -1 here, begin with the first token that is written.
        """
        self.base, self.pair, self.changes = base, pair, changes
        self.start = np.full(len(pair), -1, np.int64) if start is None else start
        self.read = columns.cpu().numpy()
        self.tails = Tails(len(pair), base.n_columns)
        self.stream = torch.empty(0, base.config.d_model, device=base.device, dtype=base.dtype)
        self._attention = RowAttention(base, self.tails, pair, self.read)

    def run(self, first: int) -> Outcome:
        """Walk from a layer to the end."""
        n_layers = self.base.config.n_layers
        pending: Tokens | None = None
        for layer in range(first, n_layers):
            found = self.changes(layer)
            begun = self._begun(joined([pending, found.get("resid_pre")]), found.get("begin"))
            fresh = self._admit(layer, begun)
            if layer == n_layers - 1:
                found = {
                    site: tokens if site in ("q", "k", "v") else self._seen(tokens)
                    for site, tokens in found.items()
                }
            pending = self._block(layer, fresh, found, last=layer == n_layers - 1)
        return self._outcome(pending)

    # ---- one layer -----------------------------------------------------------------------------

    def _begun(self, written: Tokens | None, begin: Tokens | None) -> Tokens | None:
        """Let rows that are not live begin as the base run is, where nothing else is written."""
        if begin is None:
            return written
        new = begin.keep(self.tails.place[begin.row] < 0)
        if written is not None:
            n = self.base.n_columns
            known = written.row * n + written.column
            new = new.keep(~np.isin(new.row * n + new.column, known))
        return joined([written, new])

    def _admit(self, layer: int, tokens: Tokens | None) -> NDArray[np.bool_]:
        """Write into live rows, let new ones in; return which flat tokens may differ from base."""
        tails = self.tails
        n_before = tails.n_tokens
        if tokens is None:
            return np.ones(n_before, bool)
        new = tails.place[tokens.row] < 0
        self._write(tokens.keep(~new))
        fresh = tokens.keep(new)
        row, at = np.unique(fresh.row, return_index=True)
        start = np.where(self.start[row] < 0, fresh.column[at], self.start[row])
        tails.grow(row, start)
        live, column = tails.live[n_before:], tails.column[n_before:]
        base = self.base.stream(layer).flatten(0, 1)
        own = base[on(self.base.device, self._base_index(tails.row[live], column))]
        self.stream = torch.cat([self.stream, own])
        self._write(fresh)
        changed = np.zeros(tails.n_tokens, bool)
        changed[:n_before] = True
        changed[tails.flat(fresh.row, fresh.column)] = True
        return changed

    def _block(
        self, layer: int, changed: NDArray[np.bool_], found: Mapping[str, Tokens], *, last: bool
    ) -> Tokens | None:
        """Take all rows through a block; return tokens after it of rows that are not yet live."""
        base, tails = self.base, self.tails
        asked = self._asked() if last else np.ones(tails.n_tokens, bool)
        chosen = None if bool(asked.all()) else on(base.device, np.flatnonzero(asked))
        before = self.stream if chosen is None else self.stream[chosen]
        middle = before
        if tails.n_tokens:
            middle = before + self._attention(layer, self.stream, changed, asked, found)
        written, sparse = self._at_middle(layer, before, asked, found)
        if written is not None:
            middle = middle.index_copy(0, written[0], written[1])
        n = len(middle)
        both = middle if sparse is None else torch.cat([middle, sparse.value])
        after = both + self._mlp(layer, both) if len(both) else both
        post = None if sparse is None else Tokens(sparse.row, sparse.column, after[n:])
        self.stream = after[:n]
        if last:
            self._final = asked
        write = joined([found.get("resid_post"), self._from_mlp_out(layer, middle, asked, found)])
        if write is None:
            return post
        live = tails.place[write.row] >= 0
        self._write(write.keep(live), asked)
        return joined([post, write.keep(~live)])

    def _at_middle(
        self, layer: int, before: Tensor, asked: NDArray[np.bool_], found: Mapping[str, Tokens]
    ) -> tuple[tuple[Tensor, Tensor] | None, Tokens | None]:
        """Return what is written between attention and MLP: into live rows, and of other rows."""
        attn_out = found.get("attn_out")
        if attn_out is not None:
            attn_out = self._added(attn_out, self.base.stream(layer), before, asked)
        tokens = joined([found.get("resid_mid"), attn_out])
        if tokens is None:
            return None, None
        live = self.tails.place[tokens.row] >= 0
        into, others = tokens.keep(live), tokens.keep(~live)
        index = on(self.base.device, self._among(into, asked))
        return (index, into.value) if len(into) else None, others if len(others) else None

    def _from_mlp_out(
        self, layer: int, middle: Tensor, asked: NDArray[np.bool_], found: Mapping[str, Tokens]
    ) -> Tokens | None:
        mlp_out = found.get("mlp_out")
        if mlp_out is None:
            return None
        return self._added(mlp_out, self.base("resid_mid", layer), middle, asked)

    def _added(
        self, tokens: Tokens, base: Tensor, stream: Tensor, asked: NDArray[np.bool_]
    ) -> Tokens:
        """Add to the stream of live rows where they are, to the base run's elsewhere."""
        live = self.tails.place[tokens.row] >= 0
        index = self._base_index(tokens.row, tokens.column)
        table = base.flatten(0, 1)
        if bool(live.any()):
            index[live] = len(table) + self._among(tokens.keep(live), asked)
            table = torch.cat([table, stream])
        return Tokens(tokens.row, tokens.column, tokens.value + table[on(self.base.device, index)])

    def _mlp(self, layer: int, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        block = self.base.block(layer)
        out: Tensor = block.mlp(block.ln2(x)[None], Run(self.base.visibility))[0]
        return out

    # ---- indices -------------------------------------------------------------------------------

    def _base_index(self, row: Indices, column: Indices) -> Indices:
        index: Indices = self.pair[row] * self.base.n_columns + column
        return index

    def _asked(self) -> NDArray[np.bool_]:
        """Which flat tokens the metric reads."""
        reads = np.zeros((self.base.n_pairs, self.base.n_columns), bool)
        np.put_along_axis(reads, self.read, True, 1)
        asked: NDArray[np.bool_] = reads[
            self.pair[self.tails.row[self.tails.live]], self.tails.column
        ]
        return asked

    def _seen(self, tokens: Tokens) -> Tokens:
        """Of tokens written into the last block's stream, those that the metric reads."""
        seen = (self.read[self.pair[tokens.row]] == tokens.column[:, None]).any(1)
        return tokens.keep(seen)

    def _among(self, tokens: Tokens, asked: NDArray[np.bool_]) -> Indices:
        """Index of live tokens among the asked-for ones."""
        rank = np.cumsum(asked) - 1
        found: Indices = rank[self.tails.flat(tokens.row, tokens.column)]
        return found

    def _write(self, tokens: Tokens, asked: NDArray[np.bool_] | None = None) -> None:
        if not len(tokens):
            return
        index = (
            self.tails.flat(tokens.row, tokens.column)
            if asked is None
            else self._among(tokens, asked)
        )
        at = on(self.base.device, index)
        self.stream = self.stream.index_copy(0, at, tokens.value.to(self.stream.dtype))

    def _outcome(self, pending: Tokens | None) -> Outcome:
        base, tails = self.base, self.tails
        final = np.flatnonzero(self._final) if tails.n_tokens else np.zeros(0, np.int64)
        row, column = tails.row[tails.live[final]], tails.column[final]
        value = self.stream
        if pending is not None:
            row, column = (
                np.concatenate([row, pending.row]),
                np.concatenate([column, pending.column]),
            )
            value = torch.cat([value, pending.value.to(value.dtype)])
        moved, place = np.unique(row, return_inverse=True)
        read = self.read[self.pair[moved]]
        stream = base.stream(base.config.n_layers).flatten(0, 1)
        index = self.pair[moved][:, None] * base.n_columns + read
        hidden = stream[on(base.device, index)]
        token, slot = np.nonzero(column[:, None] == read[place])
        hidden[on(base.device, place[token]), on(base.device, slot)] = value[on(base.device, token)]
        return Outcome(moved, hidden)
