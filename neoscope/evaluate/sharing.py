"""Which token sequences share a beginning, so that it is computed once; and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
# A beginning shorter than this part of what follows saves less than splitting attention costs.
_LEAST_SHARE = 1 / 16
# A unit is not cut while the beginning that both halves would compute is more than this part of it.
_MOST_REPEATED = 1 / 4


@dataclass(frozen=True)
class Member:
    """One sequence of a unit."""

    index: int
    """Which of the sequences that were given."""
    shared: int
    """How many of its first tokens are those of the member before it, and computed there."""
    length: int
    """All its tokens."""

    @property
    def own(self) -> int:
        """Tokens that are computed for it."""
        return self.length - self.shared


Unit = list[Member]
"""Sequences of which each shares its beginning with the one before; the first shares nothing."""


def n_tokens(unit: Unit) -> int:
    """Tokens that are computed for a unit."""
    return sum(member.own for member in unit)


def units(sequences: Sequence[Ids], budget: int) -> list[Unit]:
    """Split sequences into units, largest first; together they hold each sequence once.

    Neighbours in lexicographic order have the longest common beginnings, so that a unit computes
    every distinct beginning once: as many tokens as a prefix tree of its sequences has nodes.

    Args:
        sequences: Token ids, no two alike and none empty.
        budget: About the most tokens of a unit. It is passed where a cut would have the sequences
            after it compute a long common beginning again, and by a sequence that is longer.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].tolist())
    found: list[Unit] = []
    before: Ids | None = None
    size = 0
    for index in order:
        ids = sequences[index]
        common = 0 if before is None else _common(before, ids)
        member = Member(index, common, len(ids))
        useless = common < _LEAST_SHARE * member.own
        full = size + member.own > budget and common < _MOST_REPEATED * size
        if before is None or useless or full:
            member = Member(index, 0, len(ids))
            found.append([])
            size = 0
        found[-1].append(member)
        size += member.own
        before = ids
    return sorted(found, key=lambda unit: (-unit[0].length, unit[0].index))


def apart(sequences: Sequence[Ids]) -> list[Unit]:
    """Return each sequence as a unit of its own, longest first."""
    alone = [[Member(i, 0, len(ids))] for i, ids in enumerate(sequences)]
    return sorted(alone, key=lambda unit: (-unit[0].length, unit[0].index))


def batches(units: Sequence[Unit], budget: int) -> Iterator[list[Unit]]:
    """Yield neighbouring units of at most ``budget`` tokens together; a larger one stands alone."""
    batch: list[Unit] = []
    size = 0
    for unit in units:
        cost = n_tokens(unit)
        if batch and size + cost > budget:
            yield batch
            batch, size = [], 0
        batch.append(unit)
        size += cost
    if batch:
        yield batch


def _common(a: Ids, b: Ids) -> int:
    """Length of the longest common beginning."""
    n = min(len(a), len(b))
    unlike = np.flatnonzero(a[:n] != b[:n])
    return int(unlike[0]) if len(unlike) else n
