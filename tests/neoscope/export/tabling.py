"""Rows good and bad, and the table that they become."""

from __future__ import annotations

from typing import Any

from neoscope.export.extractor import Extractor
from neoscope.export.reading import Chunk, read_chunks
from neoscope.export.spec import FeatureSpec
from neoscope.export.table import (
    ShardTable,
    shard_table,
)
from tests.neoscope.export.oracle import OUTSIDE, tiny

MODEL = tiny()


ROWS = [
    {"id": "p", "text": "the film", "label": 1},
    {"id": "q", "text": None, "label": 2},
    {"id": "r", "text": "é a", "label": None},
    {"id": "s", "text": OUTSIDE, "label": 4},
    {"id": "t", "text": "a", "label": 5},
]


GOOD = ["the film", "é a", "a"]


REASONS = {1: "the text is null", 3: "token id 270 is outside the model's vocabulary of 270"}


def chunk_of(rows: Any, **options: Any) -> Chunk:
    return next(read_chunks(rows, **options))


def shard(
    spec: FeatureSpec, rows: Any = ROWS, on_error: Any = "null", **options: Any
) -> ShardTable:
    chunk = chunk_of(rows, positions_column=spec.column, **options)
    extractor = Extractor(MODEL, spec)
    encoded = extractor.encode(chunk.texts, where=chunk.where, problems=chunk.problems)
    return shard_table(chunk, extractor.run(encoded), extractor, on_error, "text")
