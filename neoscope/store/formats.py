"""The three file formats of a shard: Arrow tables to files and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from neoscope.errors import StoreError, nearest
from neoscope.store.arrays import feature_type, from_parts, parse_type, to_parts
from neoscope.store.manifest import Column, Manifest, Shard

Save = Callable[[BinaryIO], None]
Piece = tuple[int, Callable[[], pa.Table]]

# Large enough to compress and to read fast, small enough that a reader holds several.
ROW_GROUP_BYTES = 64 << 20
_TENSOR_DTYPES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "bool": "BOOL",
}
_NUMPY_DTYPES = {name: np.dtype(dtype) for dtype, name in _TENSOR_DTYPES.items()}


def canonical(table: pa.Table, features: Sequence[str]) -> pa.Table:
    """Return a table whose types and metadata do not depend on where it came from.

    Args:
        table: As it comes.
        features: The columns that were computed.

    Raises:
        StoreError: A feature is not there, or of a type or name that no format holds.
    """
    names = table.column_names
    if len(set(names)) < len(names):
        raise StoreError(f"two columns of one name among {names}")
    fields, columns = [], []
    for name in features:
        if name not in names:
            raise StoreError(f"no column {name!r} among {names}{nearest(name, names)}")
        if re.search(r"[/\\\0]|\.(values|offsets|valid)$", name):
            raise StoreError(f"a feature cannot be called {name!r}: its name is that of a file")
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = field.type
        if field.name in features:
            kind = feature_type(kind)
            if kind is None:
                raise StoreError(
                    f"feature {field.name!r} is {field.type}; expected a float, a fixed-size list "
                    "of floats, or a list of either"
                )
        columns.append(column if kind == field.type else column.cast(kind))
        fields.append(pa.field(field.name, kind))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def columns_of(table: pa.Table, features: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of a canonical table as the manifest lists them."""
    return tuple(Column(f.name, str(f.type), f.name in features) for f in table.schema)


def encode(
    file_format: str, stem: str, table: pa.Table, schema: tuple[Column, ...], about: str
) -> Iterator[tuple[str, Save]]:
    """Yield the files of a shard: each one's name, and what writes it to an open file."""
    carried = [column.name for column in schema if not column.feature]
    if file_format == "parquet":
        yield f"{stem}.parquet", lambda file: _write_parquet(file, table, carried, about)
        return
    features = [column.name for column in schema if column.feature]
    if file_format == "safetensors":
        tensors: dict[str, npt.NDArray[Any]] = {}
        for name in features:
            tensors |= to_parts(name, table[name])
        yield f"{stem}.safetensors", lambda file: _write_safetensors(file, tensors, about)
    else:
        for name in features:
            for part, array in to_parts(name, table[name]).items():
                yield f"{stem}.{part}.npy", partial(write_npy, array=array)
    if carried:
        rows = table.select(carried)
        yield f"{stem}.rows.parquet", lambda file: _write_parquet(file, rows, carried, about)


def _write_parquet(file: BinaryIO, table: pa.Table, carried: list[str], about: str) -> None:
    per_row = max(1, table.nbytes // max(1, table.num_rows))
    pq.write_table(
        table.replace_schema_metadata({b"neoscope": about.encode()}),
        file,
        compression="zstd",
        # Float vectors have neither repeats nor a useful minimum.
        use_dictionary=carried,
        write_statistics=carried,
        row_group_size=max(1, ROW_GROUP_BYTES // per_row),
    )


def npy_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the head of a .npy file, so that its rows can follow."""
    np.lib.format.write_array_header_1_0(
        file,
        {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape},
    )


def write_rows(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write the values of an array; unlike what numpy writes, a full disk is named as such."""
    file.write(np.ascontiguousarray(array).data)


def write_npy(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write a .npy file."""
    npy_header(file, array.dtype, array.shape)
    write_rows(file, array)


def _write_safetensors(file: BinaryIO, tensors: dict[str, npt.NDArray[Any]], about: str) -> None:
    """Write tensors one by one; the library's writer would hold them all a second time."""
    # Wide types first: with a header of a multiple of 8 bytes, every tensor is aligned.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": {"neoscope": about}}
    at = 0
    for name, array in ordered:
        dtype = _TENSOR_DTYPES[array.dtype.name]
        offsets = [at, at + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        write_rows(file, array)


def _map_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size < path.stat().st_size:
            raise ValueError("no safetensors header")
        header = json.loads(file.read(size))
    found: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            shape, dtype = tuple(tensor["shape"]), _NUMPY_DTYPES[tensor["dtype"]]
            offset = 8 + size + tensor["data_offsets"][0]
            found[name] = (
                np.memmap(path, dtype, "r", offset, shape)
                if 0 not in shape
                else np.empty(shape, dtype)
            )
    return found


def map_npy(path: Path) -> npt.NDArray[Any]:
    """Map a .npy file into memory; it is never unpickled."""
    # Not np.load, which takes an archive of arrays for one too.
    array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    return array


def map_parts(
    folder: Path, shard: Shard, file_format: str, names: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Map the arrays of some features of a shard, of a format that holds arrays."""
    stem = f"part-{shard.index:05d}."
    if file_format == "safetensors":
        parts = _map_safetensors(folder / f"{stem}safetensors")
    else:
        wanted = {
            f"{stem}{name}{end}.npy"
            for name in names
            for end in ("", ".values", ".offsets", ".valid")
        }
        files = [name for name in shard.files if name in wanted]
        parts = {file[len(stem) : -len(".npy")]: map_npy(folder / file) for file in files}
    return parts


def pieces(folder: Path, manifest: Manifest, shard: Shard, names: Sequence[str]) -> Iterator[Piece]:
    """Yield a shard in pieces that fit in memory: how many rows, and what reads them."""
    if manifest.file_format == "parquet":
        with pq.ParquetFile(folder / f"part-{shard.index:05d}.parquet") as file:
            for group in range(file.num_row_groups):
                n_rows = file.metadata.row_group(group).num_rows
                yield n_rows, partial(_read_group, file, group, names)
    else:
        yield shard.rows, lambda: _read_arrays(folder, manifest, shard, names)


def _read_group(file: pq.ParquetFile, group: int, names: Sequence[str]) -> pa.Table:
    # `select`: Arrow gives "a.b" to a request for "a" as well.
    return file.read_row_group(group, columns=list(names)).select(list(names))


def _read_arrays(folder: Path, manifest: Manifest, shard: Shard, names: Sequence[str]) -> pa.Table:
    schema = {column.name: column for column in manifest.schema or ()}
    features = [name for name in names if schema[name].feature]
    carried = [name for name in names if not schema[name].feature]
    columns: dict[str, Any] = {}
    if features:
        parts = map_parts(folder, shard, manifest.file_format, features)
        columns |= {n: from_parts(n, parse_type(schema[n].type), parts) for n in features}
    if carried:
        with pq.ParquetFile(folder / f"part-{shard.index:05d}.rows.parquet") as file:
            rows = file.read(columns=carried)
            columns |= {name: rows[name] for name in carried}
    return pa.table({name: columns[name] for name in names})


def empty(folder: Path, manifest: Manifest, names: Sequence[str]) -> pa.Table:
    """Return a table of no rows with the types of the store."""
    schema = {column.name: column for column in manifest.schema or ()}
    fields = []
    for name in names:
        if schema[name].feature:
            fields.append(pa.field(name, parse_type(schema[name].type)))
        else:
            end = "parquet" if manifest.file_format == "parquet" else "rows.parquet"
            stem = f"part-{manifest.shards[0].index:05d}"
            fields.append(pq.read_schema(folder / f"{stem}.{end}").field(name))
    return pa.schema(fields).empty_table()
