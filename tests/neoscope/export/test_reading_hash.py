"""The hash of a chunk: equal for equal rows, another for any other cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tests.neoscope.export.corpora import only


def test_the_hash_changes_with_every_cell() -> None:
    rows = [
        {"id": i, "text": t, "s": s, "b": i == 1, "l": [i, None], "d": {"x": t, "y": s}}
        for i, (t, s) in enumerate([("a", "bc"), ("", None), ("c", "")])
    ]
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = pa.Table.from_pylist(rows).schema.append(pa.field("k", kind))
    rows = [row | {"k": "xyx"[i]} for i, row in enumerate(rows)]

    def hashed(rows: list[dict[str, Any]]) -> str:
        return only(pa.Table.from_pylist(rows, schema=schema), positions_column="s").sha256

    seen = {hashed(rows)}
    changes: dict[str, list[Any]] = {
        "id": [None, 7],
        "text": [None, "z", "a "],
        "s": [None, "", "b"],
        "b": [None, True, False],
        "l": [None, [], [0], [None, 0], [0, 0]],
        "d": [None, {"x": "a"}, {"x": None, "y": "bc"}, {"x": "ab", "y": "c"}],
        "k": [None, "y", ""],
    }
    count = 1
    for at in range(3):
        for name, values in changes.items():
            for value in values:
                changed = [dict(row) for row in rows]
                changed[at][name] = value
                if pa.Table.from_pylist(changed, schema=schema) != (
                    pa.Table.from_pylist(rows, schema=schema)
                ):
                    seen.add(hashed(changed))
                    count += 1
    assert len(seen) == count
    table = pa.Table.from_pylist(rows, schema=schema)
    assert only(table).sha256 != only(table.rename_columns({"b": "c"})).sha256
    assert only(table).sha256 != only(table, keep=["s"]).sha256
    assert only(["a", 5]).sha256 != only(["a", 6]).sha256


def test_the_hash_does_not_see_how_arrow_holds_the_rows() -> None:
    kinds = {
        "n": pa.array([9, 1, None, 3]),
        "h": pa.array(np.array([9, 1, 2, 3], np.float16)),
        "b": pa.array([True, None, True, False]),
        "s": pa.array(["z", "a", None, ""]),
        "l": pa.array([[9], [1], None, [2, None]]),
        "f": pa.array([[9, 9], [1, 2], None, [2, None]], pa.list_(pa.int32(), 2)),
        "d": pa.array([{"x": 9}, {"x": 1}, None, {"x": None}]),
        "t": pa.array([9, 1, None, 3], pa.timestamp("us", "UTC")),
        "m": pa.array([[("k", 1)], [], None, [("k", 2)]], pa.map_(pa.string(), pa.int8())),
        "k": pa.array(["z", "b", None, "a"]).dictionary_encode(),
        "v": pa.array([[9, 9], [1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
        "z": pa.nulls(4),
    }
    table = pa.table({"text": ["z", "a", "b", "c"], **kinds})
    expected = only(table.slice(1)).sha256
    assert only(pa.concat_tables([table.slice(1, 1), table.slice(2)])).sha256 == expected
    assert only(table.take([1, 2, 3])).sha256 == expected
    other = pa.array(["a", "c", "b"]).dictionary_encode().take(pa.array([2, None, 0]))
    assert only(table.slice(1).set_column(10, "k", other)).sha256 == expected
    # What lies under a null.
    valid = pa.array([True, False, True]).buffers()[1]
    under = pa.Array.from_buffers(pa.int64(), 3, [valid, pa.array([1, 77, 3]).buffers()[1]])
    assert only(table.slice(1).set_column(1, "n", under)).sha256 == expected
    text = pa.array(["a", "hidden", ""]).buffers()
    under = pa.Array.from_buffers(pa.string(), 3, [valid, *text[1:]])
    assert only(table.slice(1).set_column(4, "s", under)).sha256 == expected
