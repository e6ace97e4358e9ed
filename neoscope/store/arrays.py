"""Columns as arrays: Arrow's lists of floats to numpy and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from neoscope.errors import StoreError

Array = npt.NDArray[Any]
_FLOATS = {str(kind): kind for kind in (pa.float16(), pa.float32(), pa.float64())}


def feature_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which a feature is stored, or None for what is no feature."""
    types = pa.types
    if types.is_floating(kind):
        return kind
    inner = feature_type(kind.value_type) if hasattr(kind, "value_type") else None
    if types.is_fixed_size_list(kind) and types.is_floating(kind.value_type):
        return pa.list_(pa.field("element", inner), kind.list_size)
    is_list = types.is_list(kind) or types.is_large_list(kind)
    if is_list and inner is not None and not types.is_list(inner):
        return pa.list_(pa.field("element", inner))
    return None


def parse_type(text: str) -> pa.DataType:
    """Return the feature type that Arrow prints so.

    Example:
        >>> str(parse_type("fixed_size_list<element: halffloat>[768]"))
        'fixed_size_list<element: halffloat>[768]'

    Raises:
        StoreError: A manifest was changed: no feature has such a type.
    """
    if text in _FLOATS:
        return _FLOATS[text]
    if match := re.fullmatch(r"fixed_size_list<element: (\w+)>\[(\d{1,9})\]", text):
        return pa.list_(pa.field("element", parse_type(match[1])), int(match[2]))
    if match := re.fullmatch(r"list<element: (\w+|fixed_size_list.+)>", text):
        return pa.list_(pa.field("element", parse_type(match[1])))
    raise StoreError(f"no type that a feature can have: {text!r:.80}")


def is_ragged(kind: pa.DataType) -> bool:
    """Whether rows hold different numbers of values."""
    return bool(pa.types.is_list(kind))


def row_shape(kind: pa.DataType) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and dtype of one row (of a ragged feature: of one item of a row)."""
    if is_ragged(kind):
        return row_shape(kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return (kind.list_size,), np.dtype(kind.value_type.to_pandas_dtype())
    return (), np.dtype(kind.to_pandas_dtype())


def dense(array: pa.Array) -> Array:
    """Return one Arrow array of floats or fixed-size lists as [rows] or [rows, width].

    Null rows are NaN. Without any, nothing is copied and the result is read-only.
    """
    shape, dtype = row_shape(array.type)
    if not shape:
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype)
    (width,) = shape
    flat = array.values.slice(array.offset * width, len(array) * width)
    values = np.asarray(flat.to_numpy(zero_copy_only=False), dtype).reshape(len(array), width)
    if array.null_count:
        values = values.copy()
        values[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values


def ragged(array: pa.Array) -> list[Array | None]:
    """Return one array per row of a list column; None for null rows."""
    offsets = array.offsets.to_numpy()
    values = dense(array.values)
    null = array.is_null().to_numpy(zero_copy_only=False)
    return [None if null[i] else values[offsets[i] : offsets[i + 1]] for i in range(len(array))]


def objects(items: list[Any]) -> Array:
    """Return a 1-d array of objects, whatever their shapes."""
    found = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        found[i] = item
    return found


def to_numpy(column: pa.ChunkedArray, *, feature: bool) -> Array:
    """Return a column as numpy has it.

    Features: [rows, width] or [rows], NaN where null; ragged ones an array of arrays. Others: as
    Arrow gives them, but whole numbers with nulls stay whole numbers, in an array of objects.
    """
    if not feature:
        if column.null_count and pa.types.is_integer(column.type):
            return objects(column.to_pylist())
        return np.asarray(column.to_numpy())
    if is_ragged(column.type):
        return objects([row for chunk in column.chunks for row in ragged(chunk)])
    shape, dtype = row_shape(column.type)
    if column.num_chunks == 1:
        return dense(column.chunk(0))
    return np.concatenate([np.empty((0, *shape), dtype), *map(dense, column.chunks)])


def to_parts(name: str, column: pa.ChunkedArray) -> dict[str, Array]:
    """Return the arrays that hold a feature in the formats that know arrays alone."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunks, or too long for one
        array = pa.concat_arrays(array.chunks) if array.chunks else pa.array([], column.type)
    parts = {}
    if array.null_count:
        parts[f"{name}.valid"] = array.is_valid().to_numpy(zero_copy_only=False)
    if not is_ragged(array.type):
        return {name: dense(array), **parts}
    rows = ragged(array)
    counts = [0 if row is None else len(row) for row in rows]
    shape, dtype = row_shape(array.type)
    values = [np.empty((0, *shape), dtype), *(row for row in rows if row is not None)]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return {f"{name}.values": np.concatenate(values), f"{name}.offsets": offsets, **parts}


def from_parts(name: str, kind: pa.DataType, parts: Mapping[str, Array]) -> pa.Array:
    """Return a feature from its arrays: the other way of `to_parts`, without a copy."""
    valid = parts.get(f"{name}.valid")
    mask = None if valid is None else pa.array(~np.asarray(valid))
    if is_ragged(kind):
        values = from_parts(
            f"{name}.values", kind.value_type, {f"{name}.values": parts[f"{name}.values"]}
        )
        offsets = pa.array(np.asarray(parts[f"{name}.offsets"]).astype(np.int32))
        return pa.ListArray.from_arrays(offsets, values, type=kind, mask=mask)
    array = np.asarray(parts[name])
    shape, dtype = row_shape(kind)
    if array.shape[1:] != shape or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, not {kind} of each row")
    if not shape:
        return pa.array(array, mask=None if mask is None else ~np.asarray(valid))
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), type=kind, mask=mask)
