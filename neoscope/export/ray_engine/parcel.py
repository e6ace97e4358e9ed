"""How chunks and their outcomes travel: Arrow bytes with a JSON header, one row of Ray Data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from neoscope import errors
from neoscope.errors import ExportError, NeoscopeError
from neoscope.export.reading import Chunk
from neoscope.export.table import ShardTable

_COLUMN = "parcel"
_HEADER = b"neoscope"


@dataclass(frozen=True)
class Outcome:
    """What became of one chunk."""

    number: int
    """Of the chunk among those that were sent."""
    shard: ShardTable | None = None
    texts: int = 0
    tokens: int = 0
    unseen: str | None = None
    """The warning of words that the model cannot know."""
    error: NeoscopeError | None = None
    details: str = ""
    """The traceback of an error that was not raised on purpose."""


def chunk_bytes(number: int, chunk: Chunk) -> bytes:
    """Return a chunk as bytes."""
    header = {
        "number": number,
        "index": chunk.index,
        "start": chunk.start,
        "texts": chunk.texts,
        "problems": list(chunk.problems.items()),
        "where": chunk.where,
        "sha256": chunk.sha256,
    }
    return _sealed(chunk.columns, header)


def read_chunk(row: pa.Table) -> tuple[int, Chunk]:
    """Return the number and the chunk of :func:`chunk_bytes`, out of a row of Ray Data."""
    columns, header = _opened(row)
    chunk = Chunk(
        header["index"],
        header["start"],
        columns.column(0).to_pylist(),
        header["texts"],
        dict(map(tuple, header["problems"])),
        columns,
        header["where"],
        header["sha256"],
    )
    return header["number"], chunk


def outcome_row(outcome: Outcome) -> pa.Table:
    """Return an outcome as a row of Ray Data."""
    shard, error = outcome.shard, outcome.error
    header = {
        "number": outcome.number,
        "shard": None if shard is None else [shard.index, shard.start, shard.stop],
        "facts": None if shard is None else dict(shard.facts),
        "texts": outcome.texts,
        "tokens": outcome.tokens,
        "unseen": outcome.unseen,
        "error": None if error is None else [type(error).__name__, str(error)],
        "details": outcome.details,
    }
    return row_of(_sealed(pa.table({}) if shard is None else shard.table, header))


def read_outcome(row: pa.Table) -> Outcome:
    """Return the outcome of :func:`outcome_row`."""
    table, header = _opened(row)
    shard = header["shard"]
    error = header["error"] and getattr(errors, header["error"][0], ExportError)(header["error"][1])
    return Outcome(
        header["number"],
        None if shard is None else ShardTable(shard[0], shard[1], shard[2], table, header["facts"]),
        header["texts"],
        header["tokens"],
        header["unseen"],
        error,
        header["details"],
    )


def row_of(data: bytes) -> pa.Table:
    """Return one row that holds bytes: what Ray Data can neither split nor merge."""
    return pa.table({_COLUMN: pa.array([data], pa.large_binary())})


def _sealed(table: pa.Table, header: Mapping[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata({_HEADER: json.dumps(header, default=str)})
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(table.replace_schema_metadata(schema.metadata))
    sealed: bytes = sink.getvalue().to_pybytes()
    return sealed


def _opened(row: pa.Table) -> tuple[pa.Table, Any]:
    table = pa.ipc.open_stream(row.column(_COLUMN)[0].as_buffer()).read_all()
    header = json.loads(table.schema.metadata[_HEADER])
    return table.replace_schema_metadata(None), header
