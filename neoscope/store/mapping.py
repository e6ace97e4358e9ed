"""Whole columns mapped into memory: made once of many shards, and kept beside them."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from neoscope.errors import StoreError
from neoscope.files import atomic
from neoscope.store import arrays, formats
from neoscope.store.disk import disk_errors
from neoscope.store.manifest import Manifest
from neoscope.store.reading import gather, reading, stream
from neoscope.store.verify import file_record

FOLDER = ".mmap"


def map_any(folder: Path, manifest: Manifest, name: str) -> arrays.Array | pa.ChunkedArray:
    """Map a column: features of one width as `map_feature` does, others as `map_column`."""
    kind = manifest.feature_type(name)
    if kind is not None and not arrays.is_ragged(arrays.parse_type(kind)):
        return map_feature(folder, manifest, name)
    return map_column(folder, manifest, name)


def map_feature(folder: Path, manifest: Manifest, name: str) -> arrays.Array:
    """Map a feature of all shards: [rows, width] or [rows], read-only.

    A single shard of arrays is mapped itself. Of several, and of parquet, a copy is made below
    ``.mmap``, once.

    Raises:
        StoreError: The copy cannot be written.
    """
    shards = manifest.shards
    if len(shards) == 1 and manifest.file_format != "parquet":
        with reading(folder, shards[0].index):
            return formats.map_parts(folder, shards[0], manifest.file_format, [name])[name]

    def save(file: BinaryIO) -> None:
        shape, dtype = arrays.row_shape(arrays.parse_type(manifest.feature_type(name) or ""))
        formats.npy_header(file, dtype, (manifest.n_rows, *shape))
        for table in stream(folder, manifest, [name], range(manifest.n_rows)):
            formats.write_rows(file, arrays.to_numpy(table[name], feature=True))

    return formats.map_npy(_copy(folder, manifest, name, "npy", save))


def map_column(folder: Path, manifest: Manifest, name: str) -> pa.ChunkedArray:
    """Map any column of all shards as an Arrow column, whose rows are read when asked for."""

    def save(file: BinaryIO) -> None:
        schema = gather(folder, manifest, [name], range(0)).schema
        with pa.ipc.new_stream(file, schema) as out:
            for table in stream(folder, manifest, [name], range(manifest.n_rows)):
                out.write_table(table)

    path = _copy(folder, manifest, name, "arrow", save)
    table: pa.Table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    return table[name]


def _copy(
    folder: Path, manifest: Manifest, name: str, end: str, save: Callable[[BinaryIO], None]
) -> Path:
    """Return the file that holds a column of just these shards; make it if it is not there."""
    hashes = [file.sha256 for shard in manifest.shards for file in shard.files.values()]
    key = hashlib.sha256("\n".join([name, *hashes]).encode()).hexdigest()[:16]
    stem = urllib.parse.quote(name, safe=" ")[:100]
    path = folder / FOLDER / f"{stem}-{key}.{end}"
    if path.exists():
        return path
    try:
        with disk_errors(path.parent):
            path.parent.mkdir(exist_ok=True)
            with atomic(path) as temporary:
                with temporary.open("wb") as file:
                    save(file)
                digest = file_record(temporary).sha256
                with atomic(_hash_file(path)) as beside:
                    beside.write_text(digest, encoding="ascii")
    except StoreError as error:
        raise StoreError(
            f"a column is mapped from a copy in {path.parent}, which could not be made: {error}"
        ) from error
    # Copies of what the store held before; who has one open keeps it.
    older = re.compile(re.escape(stem) + r"-[0-9a-f]{16}\." + end)
    for other in path.parent.iterdir():
        if other != path and older.fullmatch(other.name):
            other.unlink(missing_ok=True)
            _hash_file(other).unlink(missing_ok=True)
    return path


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def altered_copies(folder: Path) -> tuple[str, ...]:
    """Return a line for every copy of a column that is not as it was made."""
    problems = []
    for path in sorted((folder / FOLDER).glob("*.sha256")):
        copy = path.with_name(path.name.removesuffix(".sha256"))
        if copy.exists() and file_record(copy).sha256 != path.read_text(encoding="ascii"):
            problems.append(f"{FOLDER}/{copy.name}: altered; remove it, and it is made anew")
    return tuple(problems)
