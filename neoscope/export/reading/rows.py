"""Rows of Python values to blocks: types are those of the first rows, and later rows must fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from neoscope.errors import ExportError, nearest
from neoscope.export.reading.blocks import Block, read_texts, shown, table_of
from neoscope.export.reading.columns import Asked, Wanted

# What Arrow raises for a value that it cannot take.
_REFUSALS = (pa.ArrowException, OverflowError, TypeError, ValueError)


class Row(NamedTuple):
    """One row: its values, what is wrong with it, if anything, and about how long its text is."""

    values: Mapping[Any, Any]
    problem: str | None
    size: int


def python_rows(source: Iterable[Any], text_column: str) -> Iterator[Row]:
    """Yield the items of an iterable as rows: mappings as they are, anything else as a text.

    The first item that is not None decides which of the two is expected.
    """
    mappings: bool | None = None
    for item in source:
        if mappings is None and item is not None:
            mappings = isinstance(item, Mapping)
        if not mappings:
            yield Row({text_column: item}, None, len(item) if isinstance(item, str) else 0)
        elif isinstance(item, Mapping):
            text = item.get(text_column)
            yield Row(item, None, len(text) if isinstance(text, str) else 0)
        else:
            yield Row({}, f"the row is {type(item).__name__}, not a mapping: {shown(item)}", 0)


def row_blocks(
    rows: Iterator[Row], asked: Asked, place: str, header: Sequence[str] | None = None
) -> Iterator[Block]:
    """Yield rows as blocks, each no more than a chunk, none read before it is needed.

    Args:
        rows: The rows.
        asked: What the caller asked for.
        place: What errors call the input.
        header: The columns; None for those of the first block's rows.

    Raises:
        ExportError: A column is missing, or a row has a column or a value that does not fit the
            first rows.
    """
    wanted: Wanted | None = None
    types: dict[str, pa.DataType] = {}
    start = 0
    while piece := _gather(rows, asked):
        if wanted is None:
            names = list(header or dict.fromkeys(name for row in piece for name in row.values))
            _check_names(names, piece, place)
            wanted = asked.among(names, place)
        if asked.keep is None:
            _check_known(piece, {asked.text_column, *wanted.read}, start, place)
        texts, problems = read_texts(row.values.get(asked.text_column) for row in piece)
        columns = {}
        for name in wanted.read:
            values = [row.values.get(name) for row in piece]
            where = _namer(place, start, name)
            columns[name], bad = typed_column(values, types.get(name), where)
            types[name] = columns[name].type
            problems = {at: f"column {name!r} {why}" for at, why in bad.items()} | problems
        problems |= {at: row.problem for at, row in enumerate(piece) if row.problem}
        yield Block(texts, dict(sorted(problems.items())), table_of(columns), wanted)
        start += len(piece)


def typed_column(
    values: list[Any], kind: pa.DataType | None, where: Callable[[int], str]
) -> tuple[pa.Array, dict[int, str]]:
    """Return values as an Arrow array, and what is wrong with those that it holds as null.

    Args:
        values: The values.
        kind: The type that earlier rows have; None where these are the first.
        where: Makes the words that an error opens with, of an offset in ``values``.

    Raises:
        ExportError: A value is of another type than those before it.
    """
    problems: dict[int, str] = {}
    try:
        found = pa.array(values)
    except UnicodeEncodeError:
        problems = {at: "holds a lone surrogate" for at, v in enumerate(values) if not _encodes(v)}
        values = [None if at in problems else value for at, value in enumerate(values)]
        found = _array(values)
    except _REFUSALS:
        found = None
    if kind is None:
        if found is None:
            at = _first_refused(values)
            kind = pa.array(values[:at]).type
            raise ExportError(_misfit(where(at), values[at], kind if at else None))
        # A column that begins with nothing is most likely one of notes.
        return (found.cast(pa.string()) if pa.types.is_null(found.type) else found), problems
    if found is not None and found.type == kind:
        return found, problems
    # Arrow cuts 2.5 to 2 and drops the keys of a struct that it does not know.
    fitted = _array(values, kind)
    if fitted is not None and not _loses(values, fitted.to_pylist()):
        return fitted, problems
    for at, value in enumerate(values):
        one = _array([value], kind)
        if one is None or _loses([value], one.to_pylist()):
            raise ExportError(_misfit(where(at), value, kind))
    raise ExportError(f"{where(0)}: these values cannot be held as {kind}")


def _gather(rows: Iterator[Row], asked: Asked) -> list[Row]:
    piece: list[Row] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += row.size
        if len(piece) >= asked.rows or size >= asked.max_chars:
            break
    return piece


def _check_names(names: list[Any], piece: list[Row], place: str) -> None:
    for name in names:
        if not isinstance(name, str):
            raise ExportError(f"{place}: a column is named {shown(name)}; names must be strings")
        if not _encodes(name):
            raise ExportError(f"{place}: the column name {name!r} is not valid Unicode")
    if not names and piece[0].problem:
        raise ExportError(
            f"{place}: none of the first {len(piece)} rows can be read: {piece[0].problem}"
        )


def _check_known(piece: list[Row], known: set[str], start: int, place: str) -> None:
    for at, row in enumerate(piece):
        if not row.values.keys() <= known:
            name = next(name for name in row.values if name not in known)
            raise ExportError(
                f"{place}: row {start + at} has a column {name!r} that no row of the first chunk "
                f"has{nearest(str(name), known)}; name the columns to keep, or give each row all"
            )


def _namer(place: str, start: int, name: str) -> Callable[[int], str]:
    return lambda at: f"{place}: row {start + at}, column {name!r}"


def _misfit(where: str, value: Any, kind: pa.DataType | None) -> str:
    found = f"{where}: found {type(value).__name__} {shown(value)}"
    if kind is None:
        return f"{found}, which no type of Arrow can hold"
    return (
        f"{found}, which does not fit {kind}, as the column was read from the rows above; give it "
        "one type, or leave it out: keep= lists the columns to carry along"
    )


def _array(values: Sequence[Any], kind: pa.DataType | None = None) -> pa.Array | None:
    try:
        return pa.array(values, kind)
    except _REFUSALS:
        return None


def _encodes(value: Any) -> bool:
    try:
        pa.array([value])
    except UnicodeEncodeError:
        return False
    except _REFUSALS:
        return True
    return True


def _first_refused(values: list[Any]) -> int:
    """Where the first value stands that those before it do not agree with."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if _array(values[:middle]) is None else (middle, bad)
    return good


def _loses(before: Any, after: Any) -> bool:
    """Whether a value read back from Arrow is not what was put in; absent keys may become null."""
    if hasattr(before, "tolist"):
        before = before.tolist()
    if isinstance(before, Mapping):
        if not isinstance(after, Mapping):
            return True
        return any(v is not None and _loses(v, after.get(key)) for key, v in before.items())
    if isinstance(before, list | tuple):
        if not isinstance(after, list) or len(before) != len(after):
            return True
        return any(_loses(a, b) for a, b in zip(before, after, strict=True))
    return bool(before != after) and not (before != before and after != after)
