"""Rows that cannot be used as they are: each is a problem of its own, or an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neoscope.errors import ExportError
from neoscope.export.reading import read_chunks
from tests.neoscope.export.corpora import everything, invalid_strings, only, write_jsonl


def test_a_bad_json_line_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id": 1, "text": "a\\u0000\\ud83d\\ude00", "tag": "x"}\r\n'
        b'{"id": 2, "text": \n\n[1, 2]\n{"id": 3, "text": "b\xff"}\n{"id": 4, "text": "\\ud800"}\n'
        b'{"id": 5, "text": 7}\n{"id": 6, "text": "ok\xe2\x80\xa8", "tag": "y\\udfff"}\n{"id": 7}\n'
        + b"[" * 200_000
        + b"\n"
    )
    chunk = only(path)
    assert chunk.ids == [1, None, None, None, 4, 5, 6, 7, None]
    assert chunk.texts == ["a\0😀", None, None, None, None, None, "ok\u2028", None, None]
    assert chunk.columns["tag"].to_pylist() == ["x", *[None] * 8]
    reasons = list(chunk.problems.items())
    assert [at for at, _ in reasons] == [1, 2, 3, 4, 5, 6, 7, 8]
    for (_, reason), start in zip(
        reasons,
        (
            "line 2 is not valid JSON: Expecting value",
            "line 4 is no JSON object: [1, 2]",
            "line 5 is not valid UTF-8: byte 20 is 0xff",
            "the text is not valid Unicode: character 0 is the lone surrogate U+D800",
            "the text is int, not a string: 7",
            "column 'tag' holds a lone surrogate",
            "the text is null",
            "line 10 is not valid JSON",
        ),
        strict=True,
    ):
        assert reason.startswith(start)


def test_texts_that_are_none_are_problems_of_their_rows() -> None:
    texts = ["a", None, float("nan"), 5, b"bytes", "\udc80", "", {"text": "x"}, np.str_("n")]
    chunk = only(iter(texts))
    assert chunk.texts == ["a", None, None, None, None, None, "", None, "n"]
    assert type(chunk.texts[-1]) is str
    assert chunk.problems == {
        1: "the text is null",
        2: "the text is null",
        3: "the text is int, not a string: 5",
        4: "the text is bytes, not a string: b'bytes'",
        5: "the text is not valid Unicode: character 0 is the lone surrogate U+DC80",
        7: "the text is dict, not a string: {'text': 'x'}",
    }
    assert chunk.columns["text"].to_pylist() == chunk.texts
    frame = pd.DataFrame({"text": pd.Series(["a", None, pd.NA, 5, "\ud800", ""], dtype=object)})
    assert only(frame).texts == ["a", None, None, None, None, ""]
    assert only(frame).problems[2] == "the text is null"
    chunk = only([None, {"text": "a"}, "stray", {}])
    assert chunk.texts == [None, "a", None, None]
    assert list(chunk.problems.values()) == [
        "the text is null",
        "the row is str, not a mapping: 'stray'",
        "the text is null",
    ]


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "binary", "dictionary"])
def test_invalid_utf8_in_parquet_is_a_problem_of_one_row(tmp_path: Path, kind: str) -> None:
    column = invalid_strings(b"fine", "é".encode(), b"0123456789ab\xff", b"")
    if kind == "dictionary":
        column = column.dictionary_encode()
    elif kind != "string":
        column = column.cast(getattr(pa, kind)())
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"text": column}), path)
    for source in (path, pa.table({"text": column})):
        chunk = only(source)
        assert chunk.texts == ["fine", "é", None, ""]
        assert chunk.problems == {2: "the text is not valid UTF-8: byte 12 is 0xff"}
        assert chunk.columns["text"].type == pa.string()
        chunk.columns.validate(full=True)


def test_invalid_utf8_in_a_carried_column_is_a_problem_of_its_row() -> None:
    table = pa.table({"text": ["a", "b"], "note": invalid_strings(b"x\xff", b"fine")})
    chunk = only(table)
    assert chunk.columns["note"].to_pylist() == [None, "fine"]
    assert chunk.problems == {0: "column 'note' is not valid UTF-8: byte 1 is 0xff"}
    assert only(table, keep=[]).problems == {}
    nested = pa.ListArray.from_arrays([0, 1, 2], invalid_strings(b"x\xff", b"fine"))
    with pytest.raises(ExportError, match="column 'note' is damaged"):
        only(pa.table({"text": ["a", "b"], "note": nested}))


def test_a_text_column_of_another_type_is_a_problem_of_every_row() -> None:
    chunk = only(pa.table({"text": pa.array([5, None])}))
    assert chunk.problems == {0: "the text is int64, not a string: 5", 1: "the text is null"}
    assert chunk.columns["text"].type == pa.string()
    assert only(pa.table({"text": pa.nulls(2)})).problems[1] == "the text is null"


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("kind", [int, str, float])
def test_an_id_that_comes_twice_is_found_across_chunks(rows: int, kind: type) -> None:
    records = [{"id": kind(i), "text": "x"} for i in range(40)]
    assert everything(records, rows=rows)[0] == [kind(i) for i in range(40)]
    records[37]["id"] = records[11]["id"]
    records[39]["id"] = records[0]["id"]
    with pytest.raises(
        ExportError, match=rf"id {kind(11)!r} stands in row 11 and again in row 37 "
    ):
        list(read_chunks(records, rows=rows))


def test_null_ids_are_problems_and_nested_ones_refused() -> None:
    chunk = only([{"id": 1, "text": "a"}, {"text": "b"}, {"id": None, "text": "c"}])
    assert chunk.ids == [1, None, None]
    assert chunk.problems == dict.fromkeys([1, 2], "the id is null (column 'id')")
    with pytest.raises(ExportError, match="id column 'id' is list<"):
        only([{"id": [1], "text": "a"}])


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (1, "a"),
        (1, 2.5),
        (1, True),
        (1, 2**70),
        ("a", 1),
        ("a", b"a"),
        (0.5, 2**53 + 1),
        (None, 1),
        ([1], ["a"]),
        ({"a": 1}, {"b": 2}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
    ],
)
def test_a_later_value_of_another_type_is_named(first: Any, later: Any, tmp_path: Path) -> None:
    records = [{"text": "t", "v": first} for _ in range(7)]
    records[6]["v"] = later
    with pytest.raises(ExportError, match=r"row 6, column 'v': found .* does not fit"):
        list(read_chunks(records, rows=2))
    if not isinstance(later, bytes):
        path = write_jsonl(tmp_path / "a.jsonl", records)
        with pytest.raises(ExportError, match=r"a\.jsonl: row 6, column 'v'"):
            list(read_chunks(path, rows=2))
    assert len(everything(records, rows=2, keep=["text"])[0]) == 7


def test_values_that_do_fit_are_taken() -> None:
    for values in (
        [0.5, 3, None],
        [{"a": 1, "b": 2}, {"a": None}, None],
        [[1], [], None],
        [1, 2.0],
    ):
        records = [{"text": "t", "v": value} for value in values]
        table = pa.concat_tables([c.columns for c in read_chunks(records, rows=1)])
        assert len(table) == len(values)
    with pytest.raises(ExportError, match=r"row 2, column 'v': found str 'a', which .* int64"):
        only([{"text": "t", "v": value} for value in [1, 2, "a", 4]])
    with pytest.raises(ExportError, match=r"row 0, column 'v': found object .*no type"):
        only([{"text": "t", "v": object()}])
    with pytest.raises(ExportError, match=r"the frame: row 1, column 'v': found str"):
        only(pd.DataFrame({"text": ["a", "b"], "v": pd.Series([1, "a"], dtype=object)}))


def test_a_column_that_appears_later_is_named() -> None:
    records = [{"text": "a", "label": 1}, {"text": "b"}, {"text": "c", "labels": 2}]
    with pytest.raises(ExportError, match=r"row 2 has a column 'labels' .*did you mean 'label'"):
        list(read_chunks(records, rows=1))
    chunks = list(read_chunks(records, rows=1, keep=["label"]))
    assert [c.columns["label"].to_pylist() for c in chunks] == [[1], [None], [None]]
