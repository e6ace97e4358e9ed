"""The same few rows as every kind of input, and short ways to read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from neoscope.export.reading import Chunk, read_chunks

RECORDS = [
    {"id": "a", "text": "plain", "label": 3, "score": 0.5},
    {"id": "b", "text": "é😀\0 \x07\u2028end", "label": 1, "score": None},
    {"id": "c", "text": "", "label": 2, "score": -0.0},
    {"id": "d", "text": "two\nlines", "label": 2**60, "score": 1e300},
    {"id": "e", "text": ' "quoted", ', "label": -4, "score": 2.0},
]
TEXTS = [record["text"] for record in RECORDS]
TABLE = pa.Table.from_pylist(RECORDS)


def invalid_strings(*values: bytes) -> pa.Array:
    """An Arrow column of strings that nobody checked."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def typed_sources(folder: Path) -> dict[str, Any]:
    """The same rows with the same types, from everything that has types."""
    pq.write_table(TABLE, folder / "one.parquet", row_group_size=2)
    parts = folder / "parts"
    parts.mkdir()
    pq.write_table(TABLE.slice(0, 3), parts / "part-0.parquet")
    pq.write_table(TABLE.slice(3), parts / "part-1.parquet", compression="zstd")
    (parts / "notes.md").write_text("not data")
    frame = pd.DataFrame(RECORDS).astype({"id": object, "text": object})
    dataset = datasets.Dataset.from_list(RECORDS)
    return {
        "records": RECORDS,
        "generator": (dict(record) for record in RECORDS),
        "parquet": folder / "one.parquet",
        "folder": str(parts),
        "jsonl": write_jsonl(folder / "rows.jsonl", RECORDS),
        "ndjson": write_jsonl(folder / "rows.ndjson", RECORDS),
        "pandas": frame,
        "table": TABLE,
        "chunked": pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 3), TABLE.slice(4)]),
        "reader": pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(2)),
        "dataset": dataset,
        "selected": datasets.Dataset.from_list(RECORDS[::-1]).select([4, 3, 2, 1, 0]),
        "iterable": dataset.to_iterable_dataset(),
    }


def everything(source: Any, **options: Any) -> tuple[list[Any], list[str | None], list[str]]:
    """Ids, texts and hashes of all chunks."""
    chunks = list(read_chunks(source, **options))
    ids = [key for chunk in chunks for key in chunk.ids]
    texts = [text for chunk in chunks for text in chunk.texts]
    return ids, texts, [chunk.sha256 for chunk in chunks]


def only(source: Any, **options: Any) -> Chunk:
    (chunk,) = read_chunks(source, **options)
    return chunk
