"""Values to JSON and back, so that they come back equal and of their own type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError

_ARRAYS = "biufUO"
_NUMBERS = "biuf"
Tensors = dict[str, NDArray[Any]]


def encode(value: Any, where: str, tensors: Tensors | None = None) -> Any:
    """Return a value as what ``json`` writes; the inverse of :func:`decode`.

    Args:
        value: None, a bool, a number, a string, a numpy scalar, an array of numbers, strings or
            such values, or a list, tuple or mapping of all these.
        where: What it is, for the error.
        tensors: Arrays of numbers are put here, under the name of what they are, instead of
            becoming JSON.

    Raises:
        ProbeError: It is something else.

    Example:
        >>> encode((1, float("inf")), "x")
        {'$tuple': [1, {'$float': 'inf'}]}
        >>> decode(encode({0: "a"}, "x"), "x")
        {0: 'a'}
    """
    if isinstance(value, np.generic):
        return _encode_array(np.asarray(value), "$scalar", where)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, np.ndarray):
        if tensors is not None and value.dtype.kind in _NUMBERS and value.dtype.itemsize <= 8:
            return _put(value, where, tensors)
        return _encode_array(value, "$array", where)
    if isinstance(value, list):
        return [encode(item, f"{where}[{i}]", tensors) for i, item in enumerate(value)]
    if type(value) is tuple:
        return {"$tuple": encode(list(value), where, tensors)}
    if isinstance(value, Mapping):
        held = {key: encode(item, f"{where}[{key!r}]", tensors) for key, item in value.items()}
        if all(type(key) is str and not key.startswith("$") for key in held):
            return held
        return {"$pairs": [[encode(key, where), item] for key, item in held.items()]}
    raise ProbeError(
        f"{where} is {_shown(value)}, which cannot be kept: expected None, a bool, a number, a "
        "string, an array of numbers or strings, or a list, tuple or dict of these"
    )


def decode(value: Any, where: str, tensors: Mapping[str, NDArray[Any]] | None = None) -> Any:
    """Return what :func:`encode` was given.

    Args:
        value: As ``json`` read it.
        where: What it is, for the error.
        tensors: What :func:`encode` put there.

    Raises:
        ProbeError: It is nothing that :func:`encode` makes.
    """
    if isinstance(value, list):
        return [decode(item, where, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("$"):
        return {key: decode(item, where, tensors) for key, item in value.items()}
    held = value[tag]
    try:
        if tag == "$float":
            return float(held)
        if tag == "$tuple":
            return tuple(decode(held, where, tensors))
        if tag == "$pairs":
            return {decode(k, where): decode(item, where, tensors) for k, item in held}
        if tag == "$tensor":
            return _take(held, value["order"], tensors or {})
        if tag in ("$array", "$scalar"):
            array = _decode_array(held, where)
            return array[()] if tag == "$scalar" else array
    except (TypeError, ValueError, KeyError) as error:
        raise ProbeError(f"{where} cannot be read: {error}") from error
    raise ProbeError(f"{where} cannot be read: there is no kind of value called {tag!r}")


def _put(array: NDArray[Any], where: str, tensors: Tensors) -> dict[str, str]:
    """Keep an array, and the order of its axes in memory: products of it round accordingly."""
    turned = array.flags.f_contiguous and not array.flags.c_contiguous
    plain = np.asarray(array).astype(array.dtype.newbyteorder("="))
    tensors[where] = np.ascontiguousarray(plain.T) if turned else np.array(plain, order="C")
    return {"$tensor": where, "order": "F" if turned else "C"}


def _take(name: str, order: str, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    # A copy of its own: what a file was read into cannot be written, and may lie askew in memory.
    array = np.array(tensors[name], order="C")
    return array.T if order == "F" else array


def _encode_array(array: NDArray[Any], tag: str, where: str) -> dict[str, Any]:
    if array.dtype.kind not in _ARRAYS or array.dtype == np.longdouble:
        raise ProbeError(
            f"{where} is an array of {array.dtype}, which cannot be kept: expected numbers of at "
            "most 64 bits, strings or plain objects"
        )
    items = [encode(item, where) for item in array.ravel().tolist()]
    dtype = array.dtype.newbyteorder("=").str
    return {tag: {"dtype": dtype, "shape": list(array.shape), "values": items}}


def _decode_array(held: Mapping[str, Any], where: str) -> NDArray[Any]:
    dtype = np.dtype(held["dtype"])
    if dtype.kind not in _ARRAYS:
        raise ValueError(f"an array of {dtype} is not expected")
    values = [decode(item, where) for item in held["values"]]
    flat = np.empty(len(values), dtype)
    for at, item in enumerate(values):
        flat[at] = item
    return flat.reshape(held["shape"])


def _shown(value: Any) -> str:
    said = " ".join(repr(value).split())
    return f"{type(value).__name__}: {said if len(said) < 60 else said[:57] + '...'}"
