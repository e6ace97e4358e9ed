"""Reading a corpus: the same rows from every source, read no further than needed."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neoscope.export.reading import count_rows, read_chunks
from tests.neoscope.export.corpora import (
    RECORDS,
    TABLE,
    TEXTS,
    everything,
    only,
    typed_sources,
    write_jsonl,
)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 100])
def test_every_source_with_types_gives_the_same_chunks(tmp_path: Path, rows: int) -> None:
    first = None
    for name, source in typed_sources(tmp_path).items():
        chunks = list(read_chunks(source, rows=rows))
        assert [c.start for c in chunks] == list(range(0, 5, rows)), name
        assert [c.index for c in chunks] == list(range(len(chunks))), name
        table = pa.concat_tables([c.columns for c in chunks])
        assert table.to_pylist() == RECORDS, name
        assert table.schema.equals(TABLE.schema, check_metadata=True), name
        assert [t for c in chunks for t in c.texts] == TEXTS, name
        assert not any(c.problems for c in chunks)
        assert all(c.where is None for c in chunks)
        first = first or [c.sha256 for c in chunks]
        assert [c.sha256 for c in chunks] == first, name


def test_counting_reads_no_rows(tmp_path: Path) -> None:
    for name, source in typed_sources(tmp_path).items():
        expected = None if name in ("generator", "reader", "iterable") else 5
        assert count_rows(source) == expected, name
        assert len(everything(source)[0]) == 5, name


def test_polars_and_typed_pandas_frames_keep_their_types() -> None:
    frame = pl.DataFrame(RECORDS).with_columns(
        day=pl.lit("2020-01-01").str.to_date(), kind=pl.lit("x").cast(pl.Categorical), l=[[1]] * 5
    )
    chunks = list(read_chunks(frame, rows=2))
    table = pa.concat_tables([c.columns for c in chunks])
    assert pl.from_arrow(table).equals(frame)  # type: ignore[union-attr]
    assert [c.sha256 for c in chunks] == everything(frame.rechunk(), rows=2)[2]
    assert everything(frame["text"])[1] == TEXTS

    pandas = pd.DataFrame(
        {
            "text": pd.Series(TEXTS, dtype="string"),
            "n": pd.array([1, None, 3, 4, 5], dtype="Int16"),
            "when": pd.date_range("2020", periods=5, tz="UTC"),
            "kind": pd.Categorical(["x", "y", None, "x", "z"]),
            "mixed": pd.Series([None, None, None, "s", float("nan")], dtype=object),
        }
    )
    pandas.index = pd.Index([5, 5, 5, 1, 2], name="key")
    table = pa.concat_tables([c.columns for c in read_chunks(pandas, rows=2)])
    assert table.column_names == ["id", "text", "n", "when", "kind", "mixed"]
    assert table["n"].type == pa.int16() and table["n"].to_pylist() == [1, None, 3, 4, 5]
    assert table["when"].type.tz == "UTC"
    assert table["kind"].to_pylist() == ["x", "y", None, "x", "z"]
    assert table["mixed"].to_pylist() == [None, None, None, "s", None]
    assert everything(pandas["text"])[1] == TEXTS


def test_text_files_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n  \ntw\xff\xc3\nthree \x0b\x0c \xe2\x80\xa8\rx\0\nlast")
    chunk = only(path, text_column="line")
    assert chunk.texts == ["one", None, "three \x0b\x0c \u2028\rx\0", "last"]
    assert chunk.problems == {1: "line 4 is not valid UTF-8: byte 2 is 0xff"}
    assert chunk.columns.to_pydict() == {"id": [0, 1, 2, 3], "line": chunk.texts}
    assert count_rows(path) == 4


def test_csv_is_read_as_strings(tmp_path: Path) -> None:
    for name, delimiter in (("rows.csv", ","), ("rows.TSV", "\t")):
        path = tmp_path / name
        long = "x" * 1_000_000
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows(
                [["id", "text", "n"], *(["r" + str(i), t, i] for i, t in enumerate(TEXTS))]
            )
            file.write("\r\n")
            writer.writerow(["long", long, ""])
        before = csv.field_size_limit()
        chunk = only(path)
        assert csv.field_size_limit() == before
        assert chunk.texts == [*TEXTS, long]
        assert chunk.ids == ["r0", "r1", "r2", "r3", "r4", "long"]
        assert chunk.columns["n"].to_pylist() == ["0", "1", "2", "3", "4", ""]
        assert count_rows(path) == 6


def test_a_chunk_ends_at_rows_or_characters_whatever_the_source(tmp_path: Path) -> None:
    lengths = [3, 3, 4, 1, 30, 0, 0, 9, 1, 2, 2, 2]
    records = [{"text": "é" * n, "n": n} for n in lengths]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet", row_group_size=5)
    hashes = set()
    for source in (
        records,
        iter(records),
        write_jsonl(tmp_path / "a.jsonl", records),
        tmp_path / "a.parquet",
        pd.DataFrame(records),
        pl.DataFrame(records),
    ):
        chunks = list(read_chunks(source, rows=4, max_chars=10))
        assert [c.n_rows for c in chunks] == [3, 2, 4, 3]
        assert [c.start for c in chunks] == [0, 3, 5, 9]
        hashes.add(tuple(c.sha256 for c in chunks))
    assert len(hashes) == 1
    assert [c.n_rows for c in read_chunks(["long", "", "text"], max_chars=1)] == [1, 2]


def test_generators_are_read_no_further_than_needed() -> None:
    for make in (lambda i: "x" * 10, lambda i: {"id": i, "text": "x" * 10}):
        consumed = 0

        def items(make: Any = make) -> Iterator[Any]:
            nonlocal consumed
            for i in range(1000):
                consumed += 1
                yield make(i)

        source = items()
        assert count_rows(source) is None
        chunks = read_chunks(source, rows=8)
        assert consumed == 0
        next(chunks)
        assert consumed <= 9
        next(chunks)
        assert consumed <= 17
        consumed = 0
        chunks = read_chunks(items(), rows=500, max_chars=45)
        for n in range(1, 4):
            assert next(chunks).n_rows == 5
            assert consumed <= 5 * n + 1


def test_an_error_of_the_callers_generator_is_left_alone() -> None:
    def items() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    chunks = read_chunks(items(), rows=1)
    assert next(chunks).texts == ["a"]
    with pytest.raises(ZeroDivisionError):
        next(chunks)


def test_a_parquet_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    schema = pa.schema([("text", pa.string())])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression=None) as writer:
        for _ in range(4):
            texts = [rng.bytes(20_000).hex() for _ in range(250)]
            writer.write_table(pa.table({"text": texts}), row_group_size=250)
    assert path.stat().st_size > 39_000_000
    del texts
    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for chunk in read_chunks(path, max_chars=1_000_000):
            assert chunk.n_rows == 25
            assert pa.total_allocated_bytes() - arrow < 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_columns_are_chosen_and_ordered() -> None:
    chunk = only(RECORDS, keep=["score", "id", "label"], positions_column="label")
    assert chunk.columns.column_names == ["id", "score", "label"]
    assert chunk.where == [3, 1, 2, 2**60, -4]
    chunk = only(RECORDS, id_column="label", keep=[], positions_column="score")
    assert chunk.columns.column_names == ["label"]
    assert chunk.ids == [3, 1, 2, 2**60, -4]
    assert chunk.where == [0.5, None, -0.0, 1e300, 2.0]
    chunk = only(RECORDS, id_column="label")
    assert chunk.columns.column_names == ["label", "id", "text", "score"]
    chunk = only(["a", "b"])
    assert chunk.ids == [0, 1]
    assert chunk.columns.schema.types == [pa.int64(), pa.string()]
    spans = [{"text": "a", "at": [(0, 1)]}, {"text": "b", "at": [[0, 1], [1, 2]]}]
    assert only(spans, keep=["text"], positions_column="at").where == [[[0, 1]], [[0, 1], [1, 2]]]


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    for name, source in typed_sources(tmp_path).items():
        if name not in ("generator", "reader"):
            assert everything(source, rows=2) == everything(source, rows=2), name


def test_a_chunk_carries_the_categories_that_occur_in_it() -> None:
    kinds = pa.array(["c", "a", None, "b", "a"]).dictionary_encode()
    table = pa.table({"text": TEXTS, "kind": kinds.cast(pa.dictionary(pa.int8(), pa.string()))})
    chunks = list(read_chunks(table, rows=2))
    assert [c.columns["kind"].chunk(0).dictionary.to_pylist() for c in chunks] == [
        ["c", "a"],
        ["b"],
        ["a"],
    ]
    assert all(c.columns["kind"].type == table["kind"].type for c in chunks)
    ordered = pd.DataFrame({"text": TEXTS, "kind": pd.Categorical(list("zzyyx"), ordered=True)})
    for chunk in read_chunks(ordered, rows=2):
        assert chunk.columns["kind"].chunk(0).dictionary.to_pylist() == ["x", "y", "z"]
