"""From paths to the walk: what receivers read anew, and where that enters the running model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.base import Base
from neoscope.patching.engine.rows import Tokens, on
from neoscope.patching.paths.senders import SenderWalk, layer_of
from neoscope.run import Run


@dataclass(frozen=True, eq=False)
class PathCell:
    """What a group of senders writes anew reaches some receivers' inputs, and nobody else's."""

    group: int
    """Number of the group of senders."""
    receivers: tuple[str, ...]
    layers: tuple[int, ...]
    """The receivers' layers, in order; the last layer for the logits."""
    columns: Int[Tensor, "pairs n"] | None = None
    """Where senders are; None for all positions."""


class PathReduction:
    """What path cells write in a batch of pairs; row = index of the cell * pairs + pair."""

    def __init__(self, base: Base, walk: SenderWalk, cells: Sequence[PathCell]) -> None:
        """Sort the receivers by layer.

        Args:
            base: The unpatched run.
            walk: Its groups are those that the cells name.
            cells: Paths.
        """
        self.base, self.walk, self.cells = base, walk, cells

    @property
    def first(self) -> int:
        """The lowest receiver's layer."""
        return min(cell.layers[0] for cell in self.cells)

    def starts(self) -> NDArray[np.int64]:
        """First column that a sender can change, for cells with receivers in several layers."""
        start = np.full(len(self.cells) * self.base.n_pairs, -1, np.int64)
        several = [i for i, cell in enumerate(self.cells) if len(cell.layers) > 1]
        if several:
            first = self.first_moved()
            for i in several:
                start[i * self.base.n_pairs :][: self.base.n_pairs] = first
        return start

    def first_moved(self) -> NDArray[np.int64]:
        """First column of each pair where the two runs can differ; that of its text if unknown."""
        mask = self.base.mask.numpy()
        may = self.walk.values.may_differ("attn_out", 0)
        if may is not None:
            mask = mask & may.cpu().numpy()
        return np.where(mask.any(1), mask.argmax(1), self.base.n_columns - 1)

    def __call__(self, layer: int) -> Mapping[str, Tokens]:
        """Return what is written in a layer."""
        wanted: dict[str, list[int]] = {}
        for i, cell in enumerate(self.cells):
            for receiver in cell.receivers:
                at = self.base.config.n_layers - 1 if receiver == "logits" else layer_of(receiver)
                if at == layer:
                    wanted.setdefault(receiver, []).append(i)
        if not wanted:
            return {}
        found: dict[str, Tokens | None] = {}
        heads = {name: cells for name, cells in wanted.items() if "<" in name}
        if heads:
            found |= self._heads(layer, heads)
        if f"m{layer}" in wanted:
            found["mlp_out"] = self._mlp(layer, wanted[f"m{layer}"])
        if "logits" in wanted:
            found["resid_post"] = self._logits(wanted["logits"])
        return {site: tokens for site, tokens in found.items() if tokens is not None}

    # ---- the three kinds of receivers ----------------------------------------------------------

    def _heads(self, layer: int, wanted: Mapping[str, Sequence[int]]) -> dict[str, Tokens]:
        """Queries, keys and values of heads, computed from the stream that each reads."""
        streams = self.walk.before_attention(layer)
        base, block = self.base, self.base.block(layer)
        here = base.stream(layer)
        weights = {"q": block.attn.W_Q, "k": block.attn.W_K, "v": block.attn.W_V}
        read: dict[str, list[Tokens]] = {}
        cells = sorted({i for some in wanted.values() for i in some})
        rows = self._moved(cells, streams)
        here = here[rows.pair, rows.column]
        normed = block.ln1(here + self._gain(streams, rows))
        for receiver, some in wanted.items():
            head, kind = int(receiver.partition(".h")[2].partition("<")[0]), receiver[-2]
            chosen = np.isin(rows.cell_array, np.array(some))
            at = on(base.device, np.flatnonzero(chosen))
            value = normed[at] @ weights[kind][head]
            read.setdefault(kind, []).append(
                Tokens(
                    rows.row[chosen],
                    rows.column_array[chosen],
                    value,
                    np.full(int(chosen.sum()), head, np.int64),
                )
            )
        begin = Tokens(rows.row, rows.column_array, here)
        return {"begin": begin} | {kind: _stacked(parts) for kind, parts in read.items()}

    def _mlp(self, layer: int, cells: Sequence[int]) -> Tokens | None:
        streams = self.walk.before_mlp(layer)
        base, block = self.base, self.base.block(layer)
        rows = self._moved(cells, streams)
        if not len(rows.row):
            return None
        here = base("resid_mid", layer)[rows.pair, rows.column]
        both = torch.cat([here + self._gain(streams, rows), here])
        new, old = block.mlp(block.ln2(both)[None], Run(base.visibility))[0].chunk(2)
        written = base("mlp_out", layer)[rows.pair, rows.column] + (new - old)
        return Tokens(rows.row, rows.column_array, written)

    def _logits(self, cells: Sequence[int]) -> Tokens | None:
        n_layers = self.base.config.n_layers
        streams = self.walk.before_attention(n_layers)
        rows = self._moved(cells, streams)
        here = self.base.stream(n_layers)[rows.pair, rows.column]
        return Tokens(rows.row, rows.column_array, here + self._gain(streams, rows))

    # ---- which tokens --------------------------------------------------------------------------

    def _moved(self, cells: Sequence[int], streams: Tensor) -> _Rows:
        """Tokens of the cells at which any of their senders changes the stream."""
        base = self.base
        real = base.mask.to(base.device)
        moved = (streams != 0).any(-1) & real
        may = self.walk.values.may_differ("attn_out", 0)
        if may is not None:
            moved &= may
        sent = moved[[self.cells[i].group for i in cells]]
        slot, pair, column = sent.nonzero().unbind(1)
        numbers = np.array(list(cells), np.int64)
        cell = numbers[slot.cpu().numpy()]
        return _Rows(
            cell * base.n_pairs + pair.cpu().numpy(), cell, column.cpu().numpy(), pair, column
        )

    def _gain(self, streams: Tensor, rows: _Rows) -> Tensor:
        """What the senders of each token's cell have added to the stream there."""
        index = torch.tensor([cell.group for cell in self.cells], device=streams.device)
        group = index[on(streams.device, rows.cell_array)]
        gain: Tensor = streams[group, rows.pair, rows.column]
        return gain


@dataclass(frozen=True, eq=False)
class _Rows:
    row: NDArray[np.int64]
    cell_array: NDArray[np.int64]
    column_array: NDArray[np.int64]
    pair: Tensor
    column: Tensor


def _stacked(parts: Sequence[Tokens]) -> Tokens:
    """Tokens of several heads; order does not matter to who writes them."""
    heads = [part.head for part in parts if part.head is not None]
    return Tokens(
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.column for part in parts]),
        torch.cat([part.value for part in parts]),
        np.concatenate(heads),
    )
