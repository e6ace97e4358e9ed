"""Reading a corpus: any kind of input, as chunks of rows that depend on its content alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from neoscope.errors import ExportError
from neoscope.export.reading.blocks import Block, joined
from neoscope.export.reading.columns import asked
from neoscope.export.reading.hash import content_hash
from neoscope.export.reading.ids import SeenIds
from neoscope.export.reading.sources import Source, open_source


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows of the input, which become one shard of the output."""

    index: int
    """Its number among the chunks, from 0."""
    start: int
    """The number of its first row in the input, from 0."""
    ids: list[Any]
    """Of the id column, or row numbers."""
    texts: list[str | None]
    """None where there is a problem."""
    problems: dict[int, str]
    """Offset in the chunk to what is wrong with that row, in the order of the rows."""
    columns: pa.Table
    """The id column first, then the carried ones; the text among them is null where it is bad."""
    where: list[Any] | None
    """The values of the positions column, if one was asked for."""
    sha256: str
    """Of the ids, texts, problems, carried columns and positions: equal for equal input."""

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self.texts)


def read_chunks(
    source: Any,
    *,
    text_column: str = "text",
    id_column: str | None = None,
    keep: Sequence[str] | None = None,
    positions_column: str | None = None,
    rows: int = 4096,
    max_chars: int = 16_000_000,
) -> Iterator[Chunk]:
    """Return the chunks of an input, one after another, read as they are asked for.

    Args:
        source: A path to a .parquet, .jsonl, .ndjson, .csv, .tsv or .txt file (one text a line) or
            to a folder of .parquet files, which follow each other in the order of their names; a
            pandas or polars frame; an Arrow table, or what else hands out Arrow's record batches;
            a Hugging Face dataset; an iterable of texts or of mappings. Blank lines of .txt,
            .jsonl and .csv files are no rows. The values of a .csv file are strings.
        text_column: The column of the texts; also what the texts of an input without column names
            are called.
        id_column: The column that names the rows. None for "id" where there is such a column, and
            otherwise for row numbers in a new column "id".
        keep: The columns that are carried into the output beside the id; None for all.
        positions_column: A column that is read for ``where``.
        rows: Most rows of a chunk.
        max_chars: A chunk ends with the row that makes its texts this many characters long.

    Raises:
        ExportError: The input is not there, cannot be read or is empty; a column is missing; rows
            do not fit one another; an id stands in two rows. What can be found out before any row
            is read is raised at once, the rest as the rows are read.

    Example:
        >>> chunk = next(read_chunks(["one", None, "three"]))
        >>> chunk.ids, chunk.texts, chunk.problems
        ([0, 1, 2], ['one', None, 'three'], {1: 'the text is null'})
    """
    wish = asked(text_column, id_column, keep, positions_column, rows, max_chars)
    opened = open_source(source, wish)
    return _chunks(opened, wish.text_column, positions_column, wish.rows, wish.max_chars)


def count_rows(
    source: Any,
    *,
    text_column: str = "text",
    id_column: str | None = None,
    keep: Sequence[str] | None = None,
    positions_column: str | None = None,
    rows: int = 4096,
    max_chars: int = 16_000_000,
) -> int | None:
    """Return the number of rows of an input, or None if it is not known before they are read.

    Text files are read through once for it; nothing is taken from an iterator. The arguments are
    those of :func:`read_chunks`.

    Raises:
        ExportError: As :func:`read_chunks` would before it reads a row.
    """
    wish = asked(text_column, id_column, keep, positions_column, rows, max_chars)
    return open_source(source, wish).count()


def _chunks(
    source: Source, text_column: str, positions_column: str | None, rows: int, max_chars: int
) -> Iterator[Chunk]:
    seen = SeenIds(source.place)
    start = 0
    for index, block in enumerate(_cut(source.blocks(), rows, max_chars)):
        chunk = _chunk(block, index, start, text_column, positions_column)
        if block.wanted.id is not None:
            kind = chunk.columns.schema.field(0).type
            if pa.types.is_nested(kind):
                raise ExportError(
                    f"{source.place}: the id column {block.wanted.id!r} is {kind}; expected "
                    "strings or whole numbers"
                )
            seen.add(chunk.ids, kind, start)
        yield chunk
        start += chunk.n_rows
    if not start:
        raise ExportError(f"{source.place} holds no rows")


def _cut(blocks: Iterator[Block], rows: int, max_chars: int) -> Iterator[Block]:
    """Cut blocks anew, where chunks end; no block is read before those before it are handed on."""
    held: list[Block] = []
    n = chars = 0
    for block in blocks:
        begin = 0
        for at, text in enumerate(block.texts, 1):
            n += 1
            chars += len(text or "")
            if n == rows or chars >= max_chars:
                held.append(block.slice(begin, at))
                yield joined(held)
                held, n, chars, begin = [], 0, 0, at
        if begin < len(block.texts):
            held.append(block.slice(begin, len(block.texts)))
    if held:
        yield joined(held)


def _chunk(
    block: Block, index: int, start: int, text_column: str, positions_column: str | None
) -> Chunk:
    wanted, problems = block.wanted, dict(block.problems)
    read = {name: _compact(block.columns.column(name)) for name in wanted.read}
    text = pa.array(block.texts, pa.string())
    if wanted.id is None:
        ids = pa.array(range(start, start + len(text)), pa.int64())
    else:
        ids = read[wanted.id]
        for at in range(len(ids)) if ids.null_count else ():
            if not ids[at].is_valid:
                problems.setdefault(at, f"the id is null (column {wanted.id!r})")
    columns = {wanted.id or "id": ids}
    for name in wanted.carried:
        columns[name] = text if name == text_column else read[name]
    problems = dict(sorted(problems.items()))
    where = text if positions_column == text_column else read.get(positions_column or "")
    hashed = [text, *(column for column in columns.values() if column is not text)]
    hashed += [] if where is None else [where]
    more = json.dumps([list(columns), text_column, positions_column, list(problems.items())])
    return Chunk(
        index,
        start,
        ids.to_pylist(),
        block.texts,
        problems,
        pa.table(list(columns.values()), names=list(columns)),
        where.to_pylist() if where is not None else None,
        content_hash(hashed, more),
    )


def _compact(column: pa.ChunkedArray) -> pa.Array:
    """Return a chunk's column as one array, with a dictionary of what stands in it alone."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        # Older versions of Arrow give these for columns of no rows and of several dictionaries.
        array = pa.concat_arrays(array.unify_dictionaries().chunks)
    kind = array.type
    # Of ordered categories, those that do not occur here say where the others stand.
    if not pa.types.is_dictionary(kind) or kind.ordered:
        return array
    found = array.dictionary_decode().dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        found.indices.cast(kind.index_type), found.dictionary.cast(kind.value_type)
    )
