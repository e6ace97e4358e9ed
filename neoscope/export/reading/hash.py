"""A hash of rows that depends on their values and types, and on nothing of how Arrow holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def content_hash(columns: Iterable[pa.Array], more: str) -> str:
    """Return a sha256 of columns, in their order, and a string beside them.

    Chunks, offsets, dictionaries and what lies under a null make no difference.
    """
    digest = hashlib.sha256()
    for column in columns:
        _add(digest, f"{column.type}\0{len(column)}".encode())
        if isinstance(column, pa.ChunkedArray):
            column = _one(column)
        _array(digest, column)
    _add(digest, more.encode())
    return digest.hexdigest()


def _add(digest: Any, data: Any) -> None:
    """Add bytes with their number before them, so that no two lists of them read the same."""
    view = memoryview(data).cast("B")
    digest.update(len(view).to_bytes(8, "little"))
    digest.update(view)


def _one(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.unify_dictionaries().chunks or [pa.array([], column.type)])


def _array(digest: Any, array: pa.Array) -> None:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        array = array.storage
        kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    _add(digest, np.packbits(valid).tobytes())
    if pa.types.is_null(kind):
        return
    if pa.types.is_struct(kind):
        # Of a null struct, its fields are null too.
        for field, part in zip(kind, array.flatten(), strict=True):
            _add(digest, field.name.encode())
            _array(digest, part)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _lengths(digest, pc.list_value_length(array))
        _array(digest, array.flatten())
    elif pa.types.is_fixed_size_list(kind):
        _array(digest, array.flatten())
    elif str(kind) in {"string", "large_string", "binary", "large_binary"}:
        _lengths(digest, pc.binary_length(array))
        _strings(digest, array)
    elif pa.types.is_boolean(kind):
        _add(digest, np.packbits(array.fill_null(False).to_numpy(zero_copy_only=False)).tobytes())
    elif pa.types.is_primitive(kind):
        _numbers(digest, array, valid)
    else:
        for value in array.to_pylist():
            _add(digest, repr(value).encode("utf-8", "surrogatepass"))


def _lengths(digest: Any, lengths: pa.Array) -> None:
    _add(digest, lengths.fill_null(0).to_numpy().astype("<i8"))


def _strings(digest: Any, array: pa.Array) -> None:
    """Add the characters; there may be some under a null, which are left out."""
    if array.null_count:
        array = array.drop_null()
    if not len(array):
        return
    wide = str(array.type).startswith("large")
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)
    first, last = int(ends[array.offset]), int(ends[array.offset + len(array)])
    _add(digest, memoryview(data)[first:last] if data is not None else b"")


def _numbers(digest: Any, array: pa.Array, valid: np.ndarray) -> None:
    width = array.type.bit_width // 8
    data = array.buffers()[1]
    if data is None or not len(array):
        return
    words = np.frombuffer(data, np.uint8, len(array) * width, array.offset * width)
    if array.null_count:
        words = words.reshape(len(array), width)[valid].ravel()
    _add(digest, words)
