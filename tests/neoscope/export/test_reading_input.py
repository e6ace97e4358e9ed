"""Input that cannot be read: every error says what was found, where, and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neoscope.errors import ExportError
from neoscope.export.reading import read_chunks
from tests.neoscope.export.corpora import RECORDS, TABLE, only, typed_sources


def test_csv_faults_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,n\n"a\nb",1\nc\xff,2\nd,\xfe\xfe\n')
    chunk = only(path)
    assert chunk.texts == ["a\nb", None, "d"]
    assert chunk.columns["n"].to_pylist() == ["1", "2", None]
    assert chunk.problems == {
        1: "line 4, column 'text' is not valid UTF-8: byte 1 is 0xff",
        2: "line 5, column 'n' is not valid UTF-8: byte 0 is 0xfe",
    }
    for data, message in (
        (b'text,n\na,1\nb,"never closed\nc,3\n', "record that begins in line 3: unexpected end"),
        (b"text,text\na,b\n", "2 columns named 'text'"),
        (b"text,\xff\na,b\n", "column name .* is not valid UTF-8"),
        (b"", "is empty"),
        (b"text,n\n", "holds no rows"),
        ("text\na\n".encode("utf-16"), "UTF-16; expected UTF-8"),
    ):
        path.write_bytes(data)
        with pytest.raises(ExportError, match=message):
            list(read_chunks(path))


def test_a_csv_line_with_other_fields_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,n\n"a\nb",1\nc\nd,e,f\ng,2\n')
    chunk = only(path)
    assert chunk.texts == ["a\nb", None, None, "g"]
    assert chunk.columns["n"].to_pylist() == ["1", None, None, "2"]
    assert chunk.problems == {
        1: "line 4 has 1 field; expected 2: text, n",
        2: "line 5 has 3 fields; expected 2: text, n",
    }


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    for source in typed_sources(tmp_path).values():
        with pytest.raises(ExportError, match=r"no column 'texts'; it has 'id', .*mean 'text'"):
            list(read_chunks(source, text_column="texts"))
    for option in ({"id_column": "key"}, {"keep": ["key"]}, {"positions_column": "key"}):
        with pytest.raises(ExportError, match="no column 'key'"):
            read_chunks(TABLE, **option)
        with pytest.raises(ExportError, match="no column 'key'"):
            list(read_chunks(iter(["a"]), **option))


def test_options_that_mean_nothing_are_refused() -> None:
    for option, message in (
        ({"rows": 0}, "rows is 0"),
        ({"max_chars": -1}, "max_chars is -1"),
        ({"keep": "text"}, "keep is the string 'text'"),
        ({"id_column": "text"}, "are the same, 'text'"),
    ):
        with pytest.raises(ExportError, match=message):
            read_chunks(["a"], **option)
    with pytest.raises(ExportError, match="named 'id', the name of the numbers"):
        read_chunks(TABLE, text_column="id")
    assert read_chunks(TABLE, text_column="id", id_column="label")


def test_paths_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "data.parquet").write_bytes(b"PAR1 nothing of the kind")
    (tmp_path / "data.arrow").write_bytes(b"")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "folder.csv").mkdir()
    for name in ("empty.jsonl", "empty.txt"):
        (tmp_path / name).write_text("\n\n")
    for name, message in (
        ("dta.parquet", r"there is no file .*did you mean 'data\.parquet'"),
        ("no/where.csv", "no folder"),
        ("empty", r"holds no \.parquet files"),
        ("folder.csv", r"holds no \.parquet files"),
        ("data.parquet", r"data\.parquet is damaged"),
        ("data.arrow", r"suffix '\.arrow'; those that can be read are \.parquet, \.jsonl"),
        ("loop.jsonl", r"loop\.jsonl"),
        ("empty.jsonl", "holds no rows"),
        ("empty.txt", "holds no rows"),
    ):
        with pytest.raises(ExportError, match=message):
            list(read_chunks(tmp_path / name))


def test_a_parquet_file_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["some text"] * 9}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36
    path.write_bytes(data)
    with pytest.raises(ExportError, match=r"a\.parquet (is damaged|cannot be read)"):
        list(read_chunks(path))


def test_files_of_one_folder_must_have_the_same_columns(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    for other, message in (
        (TABLE.drop_columns("score"), r"b\.parquet differs from a\.parquet: column 'score' is not"),
        (TABLE.append_column("z", TABLE["id"]), r"b\.parquet .*'z' is string, and not there in a"),
        (TABLE.set_column(2, "label", TABLE["id"]), r"b\.parquet .*'label' is string, and int64"),
    ):
        pq.write_table(other, tmp_path / "b.parquet")
        with pytest.raises(ExportError, match=message):
            read_chunks(tmp_path)
    with pytest.raises(ExportError, match="id 'a' stands in row 0 and again in row 5"):
        list(read_chunks(tmp_path, keep=["text"]))


@pytest.mark.parametrize("source", [[], iter([]), TABLE.slice(0, 0), pd.DataFrame({"text": []})])
def test_input_without_rows_is_refused(source: Any) -> None:
    with pytest.raises(ExportError, match="holds no rows"):
        list(read_chunks(source))


def test_what_cannot_be_read_says_what_can() -> None:
    split = datasets.Dataset.from_list(RECORDS)
    for source, message in (
        (
            datasets.DatasetDict(train=split, test=split),
            "DatasetDict of the splits 'train', 'test'",
        ),
        ({"text": ["a"]}, "dict with the keys 'text'"),
        (b"text", "bytes"),
        (5, "the input is int; expected a path"),
        (pl.LazyFrame(RECORDS), "collect"),
        ([{1: "a"}], "named 1; names must be strings"),
        (pd.DataFrame({"text": ["a"], "z": [1j]}), "column 'z' is complex128"),
        (pd.DataFrame({0: ["a"]}), "named 0; names must be strings"),
        ("a text", "a text itself is given in a list"),
    ):
        with pytest.raises(ExportError, match=message):
            list(read_chunks(source))


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    for name in ("a.jsonl", "a.csv", "a.txt"):
        (tmp_path / name).touch()
        with pytest.raises(ExportError, match=rf"{name} cannot be read: Permission denied"):
            read_chunks(tmp_path / name)


def test_a_file_of_which_no_line_can_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("text\nmore text\n")
    with pytest.raises(ExportError, match=r"none of the first 2 rows .*: line 1 is not valid JSON"):
        list(read_chunks(path))
