"""Small stores, the same every time, and the bytes that are in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from neoscope.store import StoreWriter

FORMATS = ("parquet", "safetensors", "npy")
FEATURES = ("half", "wide", "loss", "spans", "pattern")
IDENTITY: dict[str, Any] = {"weights": "abc", "spec": {"pool": ["mean"], "layers": [1, 2]}}
ROWS = 5
"""Rows of every shard."""


def rows_of(index: int, *, nulls: bool = False, rows: int = ROWS) -> pa.Table:
    """One shard's rows: every kind of feature, with null rows if asked for."""
    random = np.random.default_rng(index)
    half = random.standard_normal((rows, 4)).astype(np.float16)
    wide = random.standard_normal((rows, 3)).astype(np.float32)
    start = index * rows

    def unless_null(values: list[Any]) -> list[Any]:
        return [None if nulls and i == 1 else value for i, value in enumerate(values)]

    spans = [wide[: i % 3].tolist() for i in range(rows)]
    return pa.table(
        {
            "id": pa.array([f"row-{i}" for i in range(start, start + rows)]),
            "label": pa.array(unless_null(list(range(start, start + rows))), pa.int64()),
            "half": pa.array(unless_null(half.tolist()), pa.list_(pa.float16(), 4)),
            "wide": pa.array(unless_null(wide.tolist()), pa.list_(pa.float32(), 3)),
            "loss": pa.array(unless_null(wide[:, 0].tolist()), pa.float32()),
            "spans": pa.array(unless_null(spans), pa.list_(pa.list_(pa.float32(), 3))),
            "pattern": pa.array(
                unless_null([[0.5] * i for i in range(rows)]), pa.list_(pa.float16())
            ),
        }
    )


def writer(path: Path, **changes: Any) -> StoreWriter:
    options: dict[str, Any] = {"kind": "features", "identity": IDENTITY, "about": {"model": "m"}}
    return StoreWriter(path, **(options | changes))


def write_shard(out: StoreWriter, index: int, *, nulls: bool = False) -> int:
    start, facts = index * ROWS, {"tokens": index}
    return out.write(index, start, start + ROWS, rows_of(index, nulls=nulls), FEATURES, facts)


def build(path: Path, *, shards: int = 3, nulls: bool = False, **changes: Any) -> Path:
    """Write a store, or what is missing of it."""
    with writer(path, **changes) as out:
        for index in range(shards):
            if index not in out.done:
                write_shard(out, index, nulls=nulls)
        out.finish({"rows": shards * ROWS})
    return path


def whole_table(*, shards: int = 3, nulls: bool = False) -> pa.Table:
    return pa.concat_tables([rows_of(i, nulls=nulls) for i in range(shards)])


def contents(path: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too."""
    return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.is_file()}
