"""Rows of a store as a stream of Arrow tables, in any order, a piece at a time in memory."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neoscope.errors import StoreError
from neoscope.store import formats
from neoscope.store.manifest import Manifest

Rows = range | npt.NDArray[np.int64]
"""Which rows of the store a view has, in its order."""


def choose(rows: Rows, wanted: Any) -> Rows:
    """Return the rows that are left when some of a view's rows are chosen.

    Args:
        rows: The view's.
        wanted: A slice, a boolean mask, or indexes; negative ones count from the end.

    Raises:
        StoreError: A mask of another length, an index that does not exist, or something else.
    """
    if isinstance(wanted, slice):
        return rows[wanted]
    asked = np.asarray(wanted)
    if asked.size == 0 and asked.dtype != bool:
        asked = asked.astype(np.int64)
    if asked.ndim != 1 or asked.dtype.kind not in "biu":
        raise StoreError(f"rows are a slice, a mask or whole numbers, not {wanted!r:.80}")
    if asked.dtype == bool:
        if len(asked) != len(rows):
            raise StoreError(f"a mask of {len(asked)} rows for a store of {len(rows)}")
        asked = np.flatnonzero(asked)
    outside = (asked < -len(rows)) | (asked >= len(rows))
    if outside.any():
        raise StoreError(f"no row {asked[outside][0]}: the store has {len(rows)}")
    return as_array(rows)[asked.astype(np.int64)]


def as_array(rows: Rows) -> npt.NDArray[np.int64]:
    """Return rows as an array."""
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)
    return rows


def as_index(rows: Rows) -> slice | npt.NDArray[np.int64]:
    """Return what takes the rows out of an array, without a copy where that can be."""
    if isinstance(rows, range) and rows.step > 0:
        return slice(rows.start, rows.stop, rows.step)
    return as_array(rows)


def in_order(rows: Rows) -> tuple[Rows, npt.NDArray[np.int64] | None]:
    """Return rows in the order of the store, and where each of them stood (None: there)."""
    if rows.step > 0 if isinstance(rows, range) else bool(np.all(np.diff(rows) >= 0)):
        return rows, None
    rows = as_array(rows)
    order = np.argsort(rows, kind="stable").astype(np.int64)
    return rows[order], order


def stream(
    folder: Path, manifest: Manifest, names: Sequence[str], rows: Rows, *, block: int = 1024
) -> Iterator[pa.Table]:
    """Yield tables that hold the rows in their order, none larger than a shard.

    Args:
        folder: The store.
        manifest: Its manifest.
        names: The columns.
        rows: If they are not in the order of the store, the shards are read for each block.
        block: How many rows a block has.

    Raises:
        StoreError: A file is not what the manifest says.
    """
    if in_order(rows)[1] is None:
        yield from _ascending(folder, manifest, list(names), rows)
        return
    for start in range(0, len(rows), block):
        yield gather(folder, manifest, names, rows[start : start + block])


def gather(folder: Path, manifest: Manifest, names: Sequence[str], rows: Rows) -> pa.Table:
    """Return all the rows as one table."""
    if manifest.schema is None:
        return pa.table({})
    ascending, order = in_order(rows)
    tables = list(_ascending(folder, manifest, list(names), ascending))
    if not tables:
        with reading(folder, manifest.shards[0].index):
            return formats.empty(folder, manifest, names)
    table = pa.concat_tables(tables)
    return table if order is None else table.take(np.argsort(order))


def _ascending(
    folder: Path, manifest: Manifest, names: list[str], rows: Rows
) -> Iterator[pa.Table]:
    start = 0
    for shard in manifest.shards:
        stop = start + shard.rows
        if len(_between(rows, start, stop)):
            with reading(folder, shard.index):
                for n_rows, load in formats.pieces(folder, manifest, shard, names):
                    inside = _between(rows, start, start + n_rows)
                    if len(inside):
                        yield _pick(load(), inside, start)
                    start += n_rows
                if start != stop:
                    raise ValueError(f"{start - stop + shard.rows} rows, expected {shard.rows}")
        start = stop


def _between(rows: Rows, start: int, stop: int) -> Rows:
    return rows[bisect_left(rows, start) : bisect_left(rows, stop)]


def _pick(table: pa.Table, rows: Rows, start: int) -> pa.Table:
    if isinstance(rows, range) and rows.step == 1:
        return table.slice(rows.start - start, len(rows))
    return table.take(as_array(rows) - start)


@contextlib.contextmanager
def reading(folder: Path, index: int) -> Iterator[None]:
    """Say which shard it was when reading fails."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StoreError(f"shard {index} of {folder} cannot be read: {error}") from error
