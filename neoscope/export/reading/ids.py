"""The ids that were seen, 16 bytes each, so that one that comes twice is found among millions."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from neoscope.errors import ExportError
from neoscope.export.reading.blocks import shown


class SeenIds:
    """Finds ids that stand in two rows of one input.

    Whole numbers are compared themselves; of anything else, 8 bytes of a hash are: two ids among
    ten million are taken for the same with a chance of three in a million.

    Args:
        place: What errors call the input.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        # Sorted hashes with their rows, each run more than twice as long as the next: an id is
        # moved a few times at most, and looked for in few runs.
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, ids: list[Any], kind: pa.DataType, start: int) -> None:
        """Take in the ids of the rows from ``start`` on; null is none.

        Raises:
            ExportError: An id stands in an earlier row too.
        """
        at = np.array([i for i, key in enumerate(ids) if key is not None], dtype=np.int64)
        keys = [ids[i] for i in at]
        if pa.types.is_integer(kind):
            hashes = np.array(keys, np.uint64 if pa.types.is_uint64(kind) else np.int64)
            hashes = hashes.view(np.uint64)
        else:
            hashes = np.array([_hash(key) for key in keys], np.uint64)
        order = np.argsort(hashes, kind="stable")
        hashes, rows = hashes[order], at[order] + start
        self._check(hashes, rows, ids, start)
        self._runs.append((hashes, rows))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            below, above = self._runs[-2:]
            hashes = np.concatenate([below[0], above[0]])
            order = np.argsort(hashes, kind="stable")
            self._runs[-2:] = [(hashes[order], np.concatenate([below[1], above[1]])[order])]

    def _check(self, hashes: np.ndarray, rows: np.ndarray, ids: list[Any], start: int) -> None:
        twice = np.flatnonzero(hashes[1:] == hashes[:-1])
        found = [(int(rows[i + 1]), int(rows[i])) for i in twice]
        for seen, seen_rows in self._runs:
            if len(seen):
                place = np.minimum(np.searchsorted(seen, hashes), len(seen) - 1)
                hits = np.flatnonzero(seen[place] == hashes)
                found += [(int(rows[i]), int(seen_rows[place[i]])) for i in hits]
        if found:
            again, first = min(found)
            raise ExportError(
                f"{self.place}: the id {shown(ids[again - start])} stands in row {first} and again "
                f"in row {again} (rows count from 0); choose a column whose values differ"
            )


def _hash(key: Any) -> int:
    data = key.encode() if isinstance(key, str) else repr(key).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
