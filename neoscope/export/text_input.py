"""Texts out of what holds them in memory: a list, an array, a column of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from neoscope.errors import ArgumentError
from neoscope.export.reading.blocks import read_texts, shown


def texts_of(source: Any) -> tuple[list[str | None], dict[int, str]]:
    """Return the texts of a list, an array, a series or a frame of one column.

    Args:
        source: [texts] or [texts, 1].

    Returns:
        The texts, None for what is none, and to the number of each of those what is wrong.

    Raises:
        ArgumentError: It is not one column.

    Example:
        >>> texts_of(["one", 2])
        (['one', None], {1: 'the text is int, not a string: 2'})
    """
    return read_texts(_values(source))


def _values(source: Any) -> Iterable[Any]:
    # What is known by its module need not be imported to be recognised.
    home = type(source).__module__.partition(".")[0]
    if home == "scipy":
        raise ArgumentError("expected texts, found a sparse matrix of numbers")
    if isinstance(source, str | bytes | Mapping):
        kind = type(source).__name__
        raise ArgumentError(f"expected several texts, found {kind}: a list, as [x]")
    shape = _shape(source)
    if shape is None and hasattr(source, "__array__"):
        source = np.asarray(source)
        shape = source.shape
    if shape is not None and len(shape) != 1:
        _check_one_column(shape)
        source = _only_column(source, home)
    if getattr(getattr(source, "dtype", None), "kind", "") == "c":
        raise ArgumentError("Complex data not supported: expected texts")
    if home == "pandas":
        missing = source.isna().tolist()
        return [
            None if null else value for value, null in zip(source.tolist(), missing, strict=True)
        ]
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(source, method):
            return list(getattr(source, method)())
    try:
        values: Iterable[Any] = iter(source)
    except TypeError:
        kind = type(source).__name__
        raise ArgumentError(f"expected several texts, found {kind}: {shown(source)}") from None
    return values


def _shape(source: Any) -> tuple[int, ...] | None:
    shape = getattr(source, "shape", None)
    return shape if isinstance(shape, tuple) else None


def _check_one_column(shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise ArgumentError(f"expected one column of texts, found shape={shape}")
    if shape[1] != 1:
        # The first words are scikit-learn's, which its users and its checks look for.
        few = "while a minimum of 1 is required" if not shape[1] else "expected one column of texts"
        raise ArgumentError(
            f"found {shape[1]} feature(s) (shape={shape}) {few}. Of a frame, take one: "
            "frame['text'], or ColumnTransformer([('text', Featurizer(), 'text')])"
        )


def _only_column(source: Any, home: str) -> Any:
    if home == "pandas":
        return source.iloc[:, 0]
    if home == "polars":
        return source.to_series(0)
    if home == "pyarrow":
        return source.column(0)
    return np.asarray(source)[:, 0]
