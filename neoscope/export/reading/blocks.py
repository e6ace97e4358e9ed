"""Blocks: some rows of the input, their texts checked, the other columns as an Arrow table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from neoscope.errors import ExportError
from neoscope.export.reading.columns import Wanted

_TEXT_TYPES = {"string", "large_string", "string_view", "binary", "large_binary", "binary_view"}
BLOCK_BYTES = 4 << 20
"""About as much of a file or table as is turned into Python strings at once."""


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of the input."""

    texts: list[str | None]
    """None where there is a problem."""
    problems: dict[int, str]
    """Offset in the block to what is wrong with that row."""
    columns: pa.Table
    """Everything that was read except the text."""
    wanted: Wanted

    def slice(self, start: int, stop: int) -> Block:
        """Return the rows from ``start`` up to ``stop``."""
        if start == 0 and stop == len(self.texts):
            return self
        problems = {at - start: why for at, why in self.problems.items() if start <= at < stop}
        columns = self.columns.slice(start, stop - start)
        return Block(self.texts[start:stop], problems, columns, self.wanted)


def joined(blocks: list[Block]) -> Block:
    """Return blocks that follow one another as one."""
    if len(blocks) == 1:
        return blocks[0]
    texts: list[str | None] = []
    problems: dict[int, str] = {}
    for block in blocks:
        problems |= {len(texts) + at: why for at, why in block.problems.items()}
        texts += block.texts
    columns = pa.concat_tables([block.columns for block in blocks])
    return Block(texts, problems, columns, blocks[0].wanted)


def table_of(columns: dict[str, Any]) -> pa.Table:
    """Return columns as a table; no metadata of where they come from is kept."""
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def rows_at_once(n_bytes: int, n_rows: int, most: int) -> int:
    """Return how many rows make a block, so that long texts do not make huge ones."""
    return max(1, min(most, BLOCK_BYTES * max(n_rows, 1) // max(n_bytes, 1)))


def shown(value: Any, most: int = 60) -> str:
    """Return a value's repr, cut for an error message."""
    text = repr(value[:most] if isinstance(value, str | bytes) else value)
    return text if len(text) <= most else f"{text[:most]}..."


def decoded(data: bytes) -> tuple[str | None, str | None]:
    """Return UTF-8 bytes as a string, or None and what is wrong with them."""
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        return None, f"not valid UTF-8: byte {error.start} is 0x{data[error.start]:02x}"


def read_texts(values: Iterable[Any]) -> tuple[list[str | None], dict[int, str]]:
    """Return values as texts, and for each that is none, what is wrong with it."""
    texts: list[str | None] = []
    problems: dict[int, str] = {}
    text: str | None
    for at, value in enumerate(values):
        text = str(value) if isinstance(value, str) else None
        if text is None:
            missing = value is None or (isinstance(value, float) and value != value)
            kind = type(value).__name__
            why = "null" if missing else f"{kind}, not a string: {shown(value)}"
            problems[at] = f"the text is {why}"
        elif not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                problems[at] = (
                    f"the text is not valid Unicode: character {error.start} is the lone surrogate "
                    f"U+{ord(text[error.start]):04X}"
                )
                text = None
        texts.append(text)
    return texts, problems


def arrow_block(table: pa.Table, text_column: str, wanted: Wanted, place: str) -> Block:
    """Return rows of an Arrow table as a block.

    Raises:
        ExportError: A nested column holds strings that are not valid UTF-8.
    """
    texts, problems = _arrow_texts(table.column(text_column))
    columns = {}
    for name in wanted.read:
        columns[name], bad = _valid(_plain(table.column(name)), name, place)
        problems = bad | problems
    return Block(texts, problems, table_of(columns), wanted)


def arrow_blocks(
    tables: Iterable[pa.Table], text_column: str, wanted: Wanted, place: str
) -> Iterator[Block]:
    """Yield tables as blocks."""
    for table in tables:
        if table.num_rows:
            yield arrow_block(table, text_column, wanted, place)


def _arrow_texts(column: pa.ChunkedArray) -> tuple[list[str | None], dict[int, str]]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    is_text = str(kind) in _TEXT_TYPES
    # A file's strings are not checked when they are read: as bytes, one bad row is one bad row.
    values = (column.cast(pa.large_binary()) if is_text else column).to_pylist()
    texts: list[str | None] = []
    problems: dict[int, str] = {}
    text: str | None
    why: str | None
    for at, value in enumerate(values):
        if value is None:
            text, why = None, "null"
        elif is_text:
            text, why = decoded(value)
        else:
            text, why = None, f"{kind}, not a string: {shown(value)}"
        texts.append(text)
        if why:
            problems[at] = f"the text is {why}"
    return texts, problems


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without the types of views, which not every reader of the export knows."""
    plain = {"string_view": pa.string(), "binary_view": pa.binary()}.get(str(column.type))
    return column if plain is None else column.cast(plain)


def _valid(
    column: pa.ChunkedArray, name: str, place: str
) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """Check the strings of a carried column, which a file does not warrant to be UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if str(column.type) not in {"string", "large_string"}:
            raise ExportError(f"{place}: column {name!r} is damaged: {error}") from error
    else:
        return column, {}
    values: list[str | None] = []
    problems = {}
    for at, data in enumerate(column.cast(pa.large_binary()).to_pylist()):
        value, why = (None, None) if data is None else decoded(data)
        values.append(value)
        if why:
            problems[at] = f"column {name!r} is {why}"
    return pa.chunked_array([pa.array(values, column.type)]), problems
