"""Input from files: Parquet, JSON lines, CSV and plain text, a block at a time."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from neoscope.errors import ExportError
from neoscope.export.reading.blocks import Block, arrow_blocks, decoded, rows_at_once, shown
from neoscope.export.reading.columns import Asked, Wanted
from neoscope.export.reading.rows import Row


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into an error that names it.

    Raises:
        ExportError: Something went wrong.
    """
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}") from error
    except (pa.ArrowException, csv.Error) as error:
        raise ExportError(f"{path} is damaged: {error}") from error


def parquet_schema(paths: list[Path], asked: Asked) -> Wanted:
    """Return the columns that are wanted of Parquet files, which must all have them alike.

    Raises:
        ExportError: A file cannot be read, or differs from the first.
    """
    first: dict[str, pa.DataType] = {}
    wanted: Wanted | None = None
    for path in paths:
        with reading(path), _parquet(path) as file:
            schema = file.schema_arrow
        if wanted is None:
            wanted = asked.among(schema.names, str(path))
        names = schema.names if asked.keep is None else [asked.text_column, *wanted.read]
        types = {name: schema.field(name).type for name in names if name in schema.names}
        first = first or types
        for name in {**first, **types}:
            if first.get(name) != types.get(name):
                raise ExportError(
                    f"{path} differs from {paths[0].name}: column {name!r} is "
                    f"{types.get(name, 'not there')}, and {first.get(name, 'not there')} in "
                    f"{paths[0].name}"
                )
    assert wanted is not None
    return wanted


def parquet_rows(paths: list[Path]) -> int:
    """Return the number of rows, from the files' footers."""
    count = 0
    for path in paths:
        with reading(path), _parquet(path) as file:
            count += file.metadata.num_rows
    return count


def parquet_blocks(paths: list[Path], asked: Asked, wanted: Wanted) -> Iterator[Block]:
    """Yield the rows of Parquet files, one after another, never a whole row group at once."""
    columns = [asked.text_column, *wanted.read]
    for path in paths:
        with reading(path), _parquet(path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            n_bytes = sum(group.total_byte_size for group in groups)
            size = rows_at_once(n_bytes, file.metadata.num_rows, asked.rows)
            batches = file.iter_batches(batch_size=size, columns=columns)
            tables = (pa.Table.from_batches([batch]) for batch in batches)
            yield from arrow_blocks(tables, asked.text_column, wanted, str(path))


def text_rows(path: Path, text_column: str) -> Iterator[Row]:
    """Yield the lines of a text file, each a text; blank lines are none."""
    for number, line in _lines(path):
        text, why = decoded(line)
        yield Row({text_column: text}, why and f"line {number} is {why}", len(line))


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the lines of a file of JSON lines; blank lines are none."""
    for number, line in _lines(path):
        text, why = decoded(line)
        if text is None:
            yield Row({}, f"line {number} is {why}", 0)
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            why = str(error) or type(error).__name__
            yield Row({}, f"line {number} is not valid JSON: {why}", 0)
            continue
        if isinstance(values, dict):
            yield Row(values, None, len(line))
        else:
            yield Row({}, f"line {number} is no JSON object: {shown(values)}", 0)


def count_lines(path: Path) -> int:
    """Return the number of lines that are not blank."""
    return sum(1 for _ in _lines(path))


def csv_header(path: Path, delimiter: str) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        ExportError: There are none, or they are not UTF-8.
    """
    records = _csv_records(path, delimiter)
    header = next(records, None)
    records.close()
    if header is None:
        raise ExportError(f"{path} is empty: it has no line of column names")
    for name in header[1]:
        if why := decoded(name.encode("utf-8", "surrogateescape"))[1]:
            raise ExportError(f"{path}: the column name {name!r} is {why}")
    return header[1]


def csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Yield the records of a CSV file after its first; all values are strings.

    Raises:
        ExportError: The quotes of a record do not match.
    """
    records = _csv_records(path, delimiter)
    _, header = next(records)
    for number, fields in records:
        if len(fields) != len(header):
            has = f"{len(fields)} field" + "s" * (len(fields) != 1)
            problem = f"line {number} has {has}; expected {len(header)}: {', '.join(header)}"
            yield Row({}, problem, sum(map(len, fields)))
            continue
        values: dict[str, str | None] = dict(zip(header, fields, strict=True))
        wrong = None
        for name, field in zip(header, fields, strict=True):
            if not field.isascii():
                values[name], why = decoded(field.encode("utf-8", "surrogateescape"))
                wrong = wrong or (why and f"line {number}, column {name!r} is {why}")
        yield Row(values, wrong, sum(map(len, fields)))


def count_csv(path: Path, delimiter: str) -> int:
    """Return the number of records after the first."""
    return sum(1 for _ in _csv_records(path, delimiter)) - 1


def _parquet(path: Path) -> pq.ParquetFile:
    # Without these, whole row groups are fetched before the first of their rows is handed out.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with reading(path), path.open("rb") as file:
        _check_encoding(path, file)
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _csv_records(path: Path, delimiter: str) -> Generator[tuple[int, list[str]], None, None]:
    with reading(path), path.open("rb") as file:
        _check_encoding(path, file)
    encoding, errors = "utf-8-sig", "surrogateescape"
    with reading(path), path.open(newline="", encoding=encoding, errors=errors) as lines:
        # Strict: otherwise a quote that is never closed swallows the rest of the file.
        records = csv.reader(lines, delimiter=delimiter, strict=True)
        pull: Callable[[], list[str] | None] = partial(next, records, None)
        while (fields := _with_long_fields(pull, records.line_num)) is not None:
            if fields:
                yield records.line_num, fields


def _with_long_fields(pull: Callable[[], list[str] | None], line: int) -> list[str] | None:
    """Read one record; the limit of a field's length belongs to the whole process."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        return pull()
    except csv.Error as error:
        raise csv.Error(f"the record that begins in line {line + 1}: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _check_encoding(path: Path, file: IO[bytes]) -> None:
    if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
        raise ExportError(f"{path} is UTF-16; expected UTF-8")
    file.seek(0)
