"""Input from tables in memory or mapped into it: pandas, polars, Arrow and Hugging Face datasets.

Each function returns what makes the blocks and what counts the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from neoscope.errors import ExportError
from neoscope.export.reading.blocks import (
    Block,
    arrow_blocks,
    read_texts,
    rows_at_once,
    table_of,
)
from neoscope.export.reading.columns import Asked
from neoscope.export.reading.rows import typed_column

Reader = tuple[Callable[[], Iterator[Block]], Callable[[], int | None]]


def arrow_source(source: Any, asked: Asked, place: str) -> Reader:
    """Read whatever hands out Arrow's record batches: tables, readers, relations.

    Raises:
        ExportError: A column is missing, or it hands out no rows with columns.
    """
    if isinstance(source, pa.RecordBatch):
        source = pa.table(source)
    if isinstance(source, pa.Table):
        asked.among(source.column_names, place)

    def blocks() -> Iterator[Block]:
        try:
            reader = pa.RecordBatchReader.from_stream(source)
        except pa.ArrowException as error:
            raise ExportError(f"{place} has no columns: {error}") from error
        wanted = asked.among(reader.schema.names, place)
        names = [asked.text_column, *wanted.read]
        for batch in reader:
            table = pa.Table.from_batches([batch]).select(names)
            size = rows_at_once(table.nbytes, table.num_rows, asked.rows)
            parts = (table.slice(at, size) for at in range(0, table.num_rows, size))
            yield from arrow_blocks(parts, asked.text_column, wanted, place)

    return blocks, lambda: source.num_rows if isinstance(source, pa.Table) else None


def polars_source(frame: Any, asked: Asked, place: str) -> Reader:
    """Read a polars frame, a slice at a time."""
    wanted = asked.among(frame.columns, place)

    def blocks() -> Iterator[Block]:
        part = frame.select([asked.text_column, *wanted.read])
        size = rows_at_once(part.estimated_size(), len(part), asked.rows)
        tables = (part.slice(at, size).to_arrow() for at in range(0, len(part), size))
        yield from arrow_blocks(tables, asked.text_column, wanted, place)

    return blocks, lambda: len(frame)


def hf_source(dataset: Any, asked: Asked, place: str) -> Reader:
    """Read a Hugging Face dataset as the Arrow table that it is, whatever its format is set to."""
    wanted = asked.among(dataset.column_names, place)

    def blocks() -> Iterator[Block]:
        part = dataset.select_columns([asked.text_column, *wanted.read]).with_format("arrow")
        size = rows_at_once(dataset.data.nbytes, dataset.data.num_rows, asked.rows)
        yield from arrow_blocks(part.iter(batch_size=size), asked.text_column, wanted, place)

    return blocks, lambda: len(dataset)


def pandas_source(frame: Any, asked: Asked, place: str) -> Reader:
    """Read a pandas frame, a slice at a time, every column with its dtype; the index is left out.

    Raises:
        ExportError: A column is missing, or one that is wanted has no string as its name.
    """
    names = frame.columns.tolist()
    for name in names:
        if not isinstance(name, str) and asked.keep is None:
            raise ExportError(f"{place}: a column is named {name!r}; names must be strings")
    wanted = asked.among([name for name in names if isinstance(name, str)], place)

    def blocks() -> Iterator[Block]:
        types = {name: _type_of(frame[name], name, place) for name in wanted.read}
        n_bytes = frame[asked.text_column].memory_usage(index=False, deep=True)
        size = rows_at_once(n_bytes, len(frame), asked.rows)
        for start in range(0, len(frame), size):
            part = frame.iloc[start : start + size]
            texts, problems = read_texts(_values(part[asked.text_column]))
            columns = {}
            for name, kind in types.items():
                columns[name], bad = _column(part[name], kind, _namer(place, start, name))
                problems = {at: f"column {name!r} {why}" for at, why in bad.items()} | problems
            yield Block(texts, problems, table_of(columns), wanted)

    return blocks, lambda: len(frame)


def _type_of(series: Any, name: str, place: str) -> pa.DataType:
    """The type of a whole column, so that it does not depend on what stands in its first rows."""
    if series.dtype != object:
        try:
            return pa.Array.from_pandas(series.iloc[:0]).type
        except (pa.ArrowException, TypeError) as error:
            raise ExportError(
                f"{place}: column {name!r} is {series.dtype}, which Arrow cannot hold; convert it, "
                "or name the columns to keep"
            ) from error
    return typed_column(_values(series), None, _namer(place, 0, name))[0].type


def _column(
    series: Any, kind: pa.DataType, where: Callable[[int], str]
) -> tuple[pa.Array | pa.ChunkedArray, dict[int, str]]:
    if series.dtype != object:
        with contextlib.suppress(UnicodeEncodeError):
            return pa.Array.from_pandas(series, type=kind), {}
    return typed_column(_values(series), kind, where)


def _values(series: Any) -> list[Any]:
    """The values as Python's, with None for everything that pandas counts as missing."""
    missing = series.isna()
    values: list[Any] = series.tolist()
    if not missing.any():
        return values
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _namer(place: str, start: int, name: str) -> Callable[[int], str]:
    return lambda at: f"{place}: row {start + at}, column {name!r}"
