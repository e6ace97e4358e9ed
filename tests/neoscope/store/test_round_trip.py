"""What is written is read back, from every format, by every way of reading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from neoscope.errors import StoreError
from neoscope.store import FeatureStore
from tests.neoscope.store.building import (
    FEATURES,
    FORMATS,
    ROWS,
    build,
    contents,
    rows_of,
    whole_table,
    writer,
)

every_format = pytest.mark.parametrize("file_format", FORMATS)


@every_format
@pytest.mark.parametrize("nulls", [False, True])
def test_arrow_round_trip(tmp_path: Path, file_format: str, nulls: bool) -> None:
    store = FeatureStore.open(build(tmp_path / "s", file_format=file_format, nulls=nulls))
    expected = whole_table(nulls=nulls)
    read = store.to_arrow()
    assert read.column_names == expected.column_names == list(store.columns)
    for name in expected.column_names:
        assert read[name].to_pylist() == expected[name].to_pylist(), name
    assert store.features == FEATURES
    assert (store.n_rows, len(store)) == (15, 15)
    assert store.verify() == ()


@every_format
def test_numpy_has_shapes_dtypes_and_nan_for_null(tmp_path: Path, file_format: str) -> None:
    store = FeatureStore.open(build(tmp_path / "s", file_format=file_format, nulls=True))
    half, loss = store.to_numpy("half"), store.to_numpy("loss")
    assert (half.shape, half.dtype) == ((15, 4), np.float16)
    assert (loss.shape, loss.dtype) == ((15,), np.float32)
    null = np.arange(15) % ROWS == 1
    assert np.array_equal(np.isnan(half).all(1), null) and np.array_equal(np.isnan(loss), null)
    assert half[2].tolist() == whole_table(nulls=True)["half"][2].as_py()
    assert store.to_numpy("label").tolist()[:3] == [0, None, 2]
    assert store.to_numpy("id")[7] == "row-7"
    spans = store.to_numpy("spans")
    assert spans[1] is None and spans[2].shape == (2, 3) and spans[3].shape == (0, 3)
    assert store.to_numpy("pattern")[4].tolist() == [0.5] * 4


@every_format
def test_store_without_rows(tmp_path: Path, file_format: str) -> None:
    store = FeatureStore.open(build(tmp_path / "none", shards=0, file_format=file_format))
    assert (store.n_rows, store.columns, list(store.iter_batches())) == (0, (), [])
    assert store.to_arrow().num_rows == 0 and "0 rows" in repr(store)
    with writer(tmp_path / "skipped", file_format=file_format) as out:
        for index in range(2):
            out.write(index, index * 3, index * 3 + 3, rows_of(0, rows=0), FEATURES, {})
        out.finish({})
    store = FeatureStore.open(tmp_path / "skipped")
    assert store.to_numpy("half").shape == store.to_numpy("half", mmap=True).shape == (0, 4)
    assert store.to_arrow().schema.field("spans").type == pa.list_(pa.list_(pa.float32(), 3))
    assert store.to_pandas().shape == (0, 7) and store.verify() == ()


@every_format
def test_a_slice_of_a_table_and_other_list_names_are_stored_alike(
    tmp_path: Path, file_format: str
) -> None:
    """Arrow's arrays may be windows of longer ones, with children of any name."""
    table = whole_table(nulls=True)
    odd = pa.list_(pa.field("vector", pa.float32(), nullable=False), 3)
    flat = pa.array(np.arange(45, dtype=np.float32))
    wide = pa.FixedSizeListArray.from_arrays(flat, type=odd)
    table = table.set_column(3, pa.field("wide", odd, metadata={"k": "v"}), wide)
    table = table.set_column(6, "pattern", table["pattern"].cast(pa.large_list(pa.float16())))
    window = table.replace_schema_metadata({"huggingface": "x"}).slice(3, 9)
    with writer(tmp_path / "s", file_format=file_format) as out:
        out.write(0, 0, 9, window, FEATURES, {})
        out.finish({})
    store = FeatureStore.open(tmp_path / "s")
    for name in table.column_names:
        assert store.to_arrow()[name].to_pylist() == window[name].to_pylist(), name
    assert store.to_numpy("wide").tolist() == np.arange(9, 36).reshape(9, 3).tolist()
    types = {column["name"]: column["type"] for column in store.manifest["schema"]}
    assert types["wide"] == "fixed_size_list<element: float>[3]"
    assert types["pattern"] == "list<element: halffloat>"


@every_format
def test_written_twice_is_byte_equal(tmp_path: Path, file_format: str) -> None:
    first, second = (
        contents(build(tmp_path / name, nulls=True, file_format=file_format)) for name in "ab"
    )
    assert first == second
    assert set(first) - {"_manifest.json"} and all(name[0] != "." for name in first)


def test_parquet_is_compressed_and_says_what_it_is(tmp_path: Path) -> None:
    build(tmp_path / "s")
    file = pq.ParquetFile(tmp_path / "s" / "part-00000.parquet")
    group = file.metadata.row_group(0)
    by_path = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert by_path["half.list.element"].compression == "ZSTD"
    assert not by_path["half.list.element"].is_stats_set and by_path["id"].is_stats_set
    metadata = json.loads(file.schema_arrow.metadata[b"neoscope"])
    assert metadata["about"] == {"model": "m"} and metadata["identity"]["weights"] == "abc"


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neoscope.store.formats.ROW_GROUP_BYTES", 200)
    build(tmp_path / "s")
    assert pq.ParquetFile(tmp_path / "s" / "part-00000.parquet").num_row_groups > 1
    store = FeatureStore.open(tmp_path / "s")
    assert store.to_arrow().equals(whole_table())
    assert [len(b["id"]) for b in store.iter_batches(batch_size=7)] == [7, 7, 1]


def test_safetensors_is_read_by_its_own_library(tmp_path: Path) -> None:
    build(tmp_path / "s", file_format="safetensors")
    with safe_open(tmp_path / "s" / "part-00001.safetensors", "np") as file:
        assert np.array_equal(
            file.get_tensor("wide"), np.array(rows_of(1)["wide"].to_pylist(), "f4")
        )
        assert set(file.keys()) == {
            "half", "wide", "loss",
            "spans.values", "spans.offsets", "pattern.values", "pattern.offsets",
        }  # fmt: skip
        assert json.loads(file.metadata()["neoscope"])["about"] == {"model": "m"}


def test_npy_is_read_by_numpy(tmp_path: Path) -> None:
    build(tmp_path / "s", file_format="npy")
    mapped = np.load(tmp_path / "s" / "part-00001.half.npy", mmap_mode="r", allow_pickle=False)
    assert mapped.tolist() == rows_of(1)["half"].to_pylist()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    build(tmp_path / "s", shards=1, file_format="npy")
    path = tmp_path / "s" / "part-00000.half.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    record = json.loads((tmp_path / "s" / "_manifest.json").read_text())
    record["shards"][0]["files"][path.name]["bytes"] = path.stat().st_size
    (tmp_path / "s" / "_manifest.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"shard 0 of .* cannot be read"):
        FeatureStore.open(tmp_path / "s").to_numpy("half")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["halv"]}, "no column 'halv'.*did you mean 'half'"),
        ({"features": ["id"]}, "feature 'id' is string; expected a float"),
        ({"rename": ("loss", "a/b")}, "a feature cannot be called 'a/b'"),
        ({"rename": ("loss", "half.valid")}, "a feature cannot be called 'half.valid'"),
        ({"rename": ("loss", "half")}, "two columns of one name"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_no_format_holds_is_refused(
    tmp_path: Path, change: dict[str, list[str]], message: str
) -> None:
    table = rows_of(0)
    old, new = change.get("rename", ("", ""))
    table = table.rename_columns([new if name == old else name for name in table.column_names])
    features = [new if name == old else name for name in change.get("features", FEATURES)]
    with writer(tmp_path / "s") as out, pytest.raises(StoreError, match=message):
        out.write(0, 0, 5, table, features, {})


def test_column_that_parquet_cannot_hold_is_named_with_its_shard(tmp_path: Path) -> None:
    empty = pa.array([{}] * 5, pa.struct([]))
    with writer(tmp_path / "s") as out:
        with pytest.raises(StoreError, match=r"shard 0 holds what cannot be written: .*[Ss]truct"):
            out.write(0, 0, 5, rows_of(0).append_column("odd", empty), FEATURES, {})
        out.write(0, 0, 5, rows_of(0), FEATURES, {})


def test_type_that_no_feature_has_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "s", file_format="npy") / "_manifest.json"
    path.write_text(path.read_text().replace("<element: halffloat>[4]", "<element: int64>[4]"))
    with pytest.raises(StoreError, match="no type that a feature can have: 'int64'"):
        FeatureStore.open(tmp_path / "s").to_arrow()
