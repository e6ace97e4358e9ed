"""A chunk of the input and its features, as the table of one shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neoscope.errors import ExportError
from neoscope.export.encoding import Encoded
from neoscope.export.extractor import Extractor, Values
from neoscope.export.reading import Chunk
from neoscope.export.spec import Feature
from neoscope.export.token_rows import TOKEN_COLUMNS, token_rows

ON_ERROR = ("fail", "skip", "null")


@dataclass(frozen=True, eq=False)
class ShardTable:
    """What is written for one chunk."""

    index: int
    start: int
    """First row of the input."""
    stop: int
    """One past the last."""
    table: pa.Table
    facts: Mapping[str, Any]
    """What the manifest remembers: tokens, what was cut, skipped or left null."""


def refuse_problems(chunk: Chunk, encoded: Encoded) -> None:
    """Raise for the first row that cannot be used.

    Raises:
        ExportError: Names the row, its id and the reason.
    """
    for offset in sorted(encoded.problems)[:1]:
        more = len(encoded.problems) - 1
        others = f" ({more} more in rows {chunk.start} to {chunk.start + chunk.n_rows - 1})"
        raise ExportError(
            f"row {chunk.start + offset} (id {chunk.ids[offset]!r}): {encoded.problems[offset]}"
            f"{others if more else ''}; on_error='skip' leaves such rows out, 'null' keeps them "
            "without features"
        )


def shard_table(
    chunk: Chunk, values: Values, extractor: Extractor, on_error: str, text_column: str
) -> ShardTable:
    """Put rows, what they carry, and their features into one table.

    Args:
        chunk: The rows.
        values: Their features.
        extractor: What made them.
        on_error: ``skip`` leaves rows with a problem out, ``null`` keeps them without features.
        text_column: Left out where a row is a token: the token's own text stands there.

    Raises:
        ExportError: A column of the input is called as a feature is.
    """
    encoded = values.encoded
    check_names(chunk.columns.column_names, extractor.features, extractor.spec.by_token)
    columns = {f.name: _column(f, values) for f in extractor.features}
    if extractor.spec.by_token:
        carried = chunk.columns
        if text_column in carried.column_names:
            carried = carried.drop_columns([text_column])
        carried = carried.take(pa.array(encoded.text))
        tokens = token_rows(chunk.texts, encoded, extractor.model.tokenizer)
        # Of no rows, Arrow could not tell that these are strings.
        kinds = {"token": pa.string()}
        said = {name: pa.array(column, kinds.get(name)) for name, column in tokens.items()}
        columns = {**said, **columns}
    else:
        carried = chunk.columns
        if on_error == "skip" and encoded.problems:
            keep = np.ones(chunk.n_rows, bool)
            keep[list(encoded.problems)] = False
            carried = carried.filter(pa.array(keep))
            columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
    for name, column in columns.items():
        carried = carried.append_column(name, column)
    return ShardTable(
        chunk.index,
        chunk.start,
        chunk.start + chunk.n_rows,
        carried,
        _facts(chunk, encoded, on_error),
    )


def check_names(carried: Sequence[str], features: Sequence[Feature], by_token: bool) -> None:
    """Refuse columns of the input that are called as what is added.

    Raises:
        ExportError: Names the column.
    """
    added = {*(f.name for f in features), *(TOKEN_COLUMNS if by_token else ())}
    for name in carried:
        if name in added:
            raise ExportError(
                f"the input has a column {name!r}, which is what a new column would be called; "
                "rename it, or leave it out: keep= lists the columns to carry along"
            )


def _facts(chunk: Chunk, encoded: Encoded, on_error: str) -> dict[str, Any]:
    problems = [
        {"row": chunk.start + i, "id": chunk.ids[i], "reason": encoded.problems[i]}
        for i in sorted(encoded.problems)
    ]
    return {
        "tokens": len(encoded.ids),
        "truncated": len(encoded.cut),
        "cut_tokens": sum(encoded.cut.values()),
        "skipped": problems if on_error == "skip" else [],
        "nulled": problems if on_error == "null" else [],
        "input_sha256": chunk.sha256,
    }


def _column(feature: Feature, values: Values) -> pa.Array:
    data, filled = values.features[feature.name], values.filled[feature.name]
    if feature.width is None:
        return pa.ListArray.from_arrays(_starts(values.sizes[feature.name]), pa.array(data))
    flat = _vectors(data, filled)
    if feature.pool != "spans":
        return flat
    places = values.encoded.places
    assert places is not None
    counts = np.array([len(spans) for spans in places.spans], np.int64)
    bad = np.isin(np.arange(len(counts)), list(values.encoded.problems))
    return pa.ListArray.from_arrays(_starts(counts), flat, mask=pa.array(bad))


def _starts(sizes: NDArray[np.int64]) -> pa.Array:
    """Where each of several lists begins, and the last ends."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if starts[-1] >= 2**31:
        raise ExportError(
            f"one shard would have lists of {starts[-1]:,} values in all, more than Arrow's lists "
            "hold; choose a smaller shard_rows"
        )
    return pa.array(starts.astype(np.int32))


def _vectors(data: NDArray[Any], filled: NDArray[np.bool_]) -> pa.Array:
    missing = None if filled.all() else ~filled
    if data.shape[1] == 1:
        return pa.array(data[:, 0], mask=missing)
    flat = pa.array(np.ascontiguousarray(data).reshape(-1))
    mask = None if missing is None else pa.array(missing)
    return pa.FixedSizeListArray.from_arrays(flat, data.shape[1], mask=mask)
