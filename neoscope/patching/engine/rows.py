"""Rows: patched copies of prompts, each kept only from its first changed column on.

A row is one cell in one pair. What stands left of its first changed column is the base run's, so a
row is its tail, and all tails lie one after another in one flat tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Values of some tokens of some rows, sorted by row, then column."""

    row: Indices
    """Row number of each token."""
    column: Indices
    """Column of each token."""
    value: Tensor
    """[tokens, d_model], or [tokens, d_head] of one head."""
    head: Indices | None = None
    """The head of each, for queries, keys and values."""

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.row)

    def keep(self, chosen: NDArray[np.bool_]) -> Tokens:
        """Return the chosen ones."""
        if bool(chosen.all()):
            return self
        at = on(self.value.device, np.flatnonzero(chosen))
        head = None if self.head is None else self.head[chosen]
        return Tokens(self.row[chosen], self.column[chosen], self.value[at], head)


def joined(parts: Sequence[Tokens | None]) -> Tokens | None:
    """Return all tokens of several sets; None if there are none."""
    some = [part for part in parts if part is not None and len(part)]
    if len(some) < 2:
        return some[0] if some else None
    row = np.concatenate([part.row for part in some])
    column = np.concatenate([part.column for part in some])
    order = np.lexsort((column, row))
    value = torch.cat([part.value for part in some])
    return Tokens(row[order], column[order], value[on(value.device, order)])


class Tails:
    """Where the tokens of the live rows lie in the flat tensor."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        """Begin with no row live.

        Args:
            n_rows: Row numbers go up to this.
            n_columns: Columns of the batch; every tail ends with the last.
        """
        self.n_columns = n_columns
        self.row: Indices = np.zeros(0, np.int64)
        """Row number of each live row, in the order in which they came."""
        self.start: Indices = np.zeros(0, np.int64)
        """First column of each live row."""
        self.place: Indices = np.full(n_rows, -1, np.int64)
        """Index among the live rows of each row; -1 where it is not live."""
        self._index()

    def _index(self) -> None:
        lengths = self.n_columns - self.start
        self.offset: Indices = np.cumsum(lengths) - lengths
        """Where each live row begins in the flat tensor."""
        self.live: Indices = np.repeat(np.arange(len(lengths)), lengths)
        """Of each flat token: index among the live rows."""
        self.column: Indices = np.arange(len(self.live)) - np.repeat(
            self.offset - self.start, lengths
        )
        """Of each flat token: its column."""

    @property
    def n_tokens(self) -> int:
        """Tokens of all live rows."""
        return len(self.live)

    def grow(self, row: Indices, start: Indices) -> None:
        """Append rows that were not live."""
        self.place[row] = len(self.row) + np.arange(len(row))
        self.row = np.concatenate([self.row, row])
        self.start = np.concatenate([self.start, start])
        self._index()

    def flat(self, row: Indices, column: Indices) -> Indices:
        """Return the flat index of tokens of live rows."""
        place = self.place[row]
        flat: Indices = self.offset[place] + column - self.start[place]
        return flat

    def buckets(self, ratio: float) -> Iterator[Indices]:
        """Yield indices of live rows in groups of like length, longest first.

        Args:
            ratio: The shortest of a group has at least this share of the longest's tokens; 0 puts
                all into one.
        """
        order = np.argsort(self.start, kind="stable")
        lengths = self.n_columns - self.start[order]
        first = 0
        while first < len(order):
            stop = int(np.searchsorted(-lengths, -lengths[first] * ratio, side="right"))
            yield order[first:stop]
            first = stop


def on(device: torch.device, index: Indices) -> Int[Tensor, "..."]:
    """Return an index where the tensors are."""
    return torch.from_numpy(np.require(index, requirements=["C", "W"])).to(
        device, non_blocking=True
    )
