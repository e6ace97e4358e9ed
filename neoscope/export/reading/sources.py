"""Everything that can be exported from, as one thing: a name, its rows in blocks, their number."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from neoscope.errors import ExportError, nearest
from neoscope.export.reading import files
from neoscope.export.reading.blocks import Block
from neoscope.export.reading.columns import Asked
from neoscope.export.reading.frames import arrow_source, hf_source, pandas_source, polars_source
from neoscope.export.reading.rows import python_rows, row_blocks

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
"""The files that can be read, told apart by these."""


@dataclass(frozen=True)
class Source:
    """Input that was found, and whose columns were looked at as far as that reads nothing."""

    place: str
    """What errors call it."""
    blocks: Callable[[], Iterator[Block]]
    count: Callable[[], int | None]
    """The number of rows, or None where that cannot be known beforehand."""


def open_source(source: Any, asked: Asked) -> Source:
    """Return the input that ``source`` means; see :func:`neoscope.export.reading.read_chunks`.

    Raises:
        ExportError: It is not there, cannot be read, or is nothing that can be.
    """
    kind = type(source).__name__
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), asked)
    if isinstance(source, bytes):
        raise ExportError("the input is bytes; expected a path, a table or an iterable of texts")
    if _is_a(source, "pandas", "DataFrame"):
        return Source("the frame", *pandas_source(source, asked, "the frame"))
    if _is_a(source, "polars", "DataFrame"):
        return Source("the frame", *polars_source(source, asked, "the frame"))
    if _is_a(source, "polars", "LazyFrame"):
        raise ExportError("the input is a polars LazyFrame; collect() it, or write it to parquet")
    if _is_a(source, "datasets", "Dataset"):
        return Source("the dataset", *hf_source(source, asked, "the dataset"))
    if isinstance(source, Mapping):
        keys = ", ".join(repr(key) for key in list(source)[:10])
        if _is_a(source, "datasets", "DatasetDict", "IterableDatasetDict"):
            raise ExportError(f"the input is a {kind} of the splits {keys}; choose one of them")
        raise ExportError(f"the input is a {kind} with the keys {keys}; expected rows or a table")
    if isinstance(source, pa.Array | pa.ChunkedArray):
        source = pa.table({asked.text_column: source})
    series = _is_a(source, "pandas", "Series") or _is_a(source, "polars", "Series")
    if hasattr(source, "__arrow_c_stream__") and not series:
        return Source("the table", *arrow_source(source, asked, "the table"))
    if isinstance(source, Iterable):
        return _iterable(source, asked)
    raise ExportError(
        f"the input is {kind}; expected a path, a pandas or polars frame, an Arrow table, a "
        "dataset, or an iterable of texts or of mappings"
    )


def _iterable(source: Iterable[Any], asked: Asked) -> Source:
    place = f"the {type(source).__name__}"

    def blocks() -> Iterator[Block]:
        return row_blocks(python_rows(source, asked.text_column), asked, place)

    return Source(place, blocks, lambda: len(source) if isinstance(source, Sized) else None)


def _open_path(path: Path, asked: Asked) -> Source:
    place = str(path)
    with files.reading(path):
        if not path.exists():
            raise ExportError(
                f"there is no file {place!r}; a text itself is given in a list"
                + _similar(path, SUFFIXES)
            )
        folder = path.is_dir()
        inside = sorted(p for p in path.glob("*.parquet") if p.is_file()) if folder else []
    if folder and not inside:
        raise ExportError(
            f"the folder {place} holds no .parquet files (those below it are not read)"
        )
    suffix = ".parquet" if folder else path.suffix.lower()
    if suffix == ".parquet":
        paths = inside or [path]
        wanted = files.parquet_schema(paths, asked)
        read = partial(files.parquet_blocks, paths, asked, wanted)
        return Source(place, read, partial(files.parquet_rows, paths))
    if suffix in (".csv", ".tsv"):
        delimiter = "," if suffix == ".csv" else "\t"
        header = files.csv_header(path, delimiter)
        asked.among(header, place)
        rows = partial(files.csv_rows, path, delimiter)
        count = partial(files.count_csv, path, delimiter)
        return Source(place, lambda: row_blocks(rows(), asked, place, header), count)
    if suffix == ".txt":
        asked.among([asked.text_column], place)
        rows = partial(files.text_rows, path, asked.text_column)
    elif suffix in SUFFIXES:
        rows = partial(files.json_rows, path)
    else:
        raise ExportError(
            f"{place} has the suffix {path.suffix!r}; those that can be read are "
            f"{', '.join(SUFFIXES)}{nearest(path.suffix, SUFFIXES)}"
        )
    with files.reading(path):
        path.open("rb").close()
    return Source(place, lambda: row_blocks(rows(), asked, place), partial(files.count_lines, path))


def _similar(path: Path, suffixes: Iterable[str]) -> str:
    """Name the file beside a missing one that was most likely meant."""
    if not path.parent.is_dir():
        return f" (there is no folder {str(path.parent)!r} either)"
    beside = (p.name for p in path.parent.iterdir() if p.is_dir() or p.suffix in suffixes)
    return nearest(path.name, beside)


def _is_a(source: Any, module: str, *names: str) -> bool:
    """Whether something is of a library's class, without importing the library."""
    # What is not imported yet has made nothing.
    kinds = tuple(getattr(sys.modules.get(module), name, None) for name in names)
    return isinstance(source, tuple(kind for kind in kinds if isinstance(kind, type)))
