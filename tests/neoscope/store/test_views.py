"""Views, batches, memory maps, datasets and joins agree with the whole table."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from neoscope.errors import StoreError
from neoscope.store import FeatureStore
from tests.neoscope.store.building import FORMATS, build, rows_of, whole_table, writer

CHOICES: list[Any] = [
    None,
    slice(3, 13),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(4, 4),
    [0, 5, 14],
    [14, 0, -1, 7, 7],
    [],
    range(2, 9, 3),
    np.arange(15) % 4 == 1,
    pd.Series(np.arange(15) > 9),
    torch.tensor([3, 1]),
]


@pytest.fixture(scope="module", params=FORMATS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp(request.param) / "s"
    return FeatureStore.open(build(folder, nulls=True, file_format=request.param))


def chosen(rows: Any) -> list[int]:
    positions = np.arange(15)
    if rows is None or isinstance(rows, slice):
        return positions[rows or slice(None)].tolist()
    asked = np.asarray(rows)
    return positions[asked if asked.size else asked.astype(int)].tolist()


@pytest.mark.parametrize("rows", CHOICES, ids=lambda rows: f"{type(rows).__name__} {rows}"[:25])
def test_every_way_of_reading_a_view_agrees(store: FeatureStore, rows: Any) -> None:
    view = store.select(["half", "id", "spans", "label"], rows)
    at = chosen(rows)
    expected = whole_table(nulls=True).take(np.array(at, dtype=int))
    assert len(view) == len(at) and view.columns == ("half", "id", "spans", "label")
    assert view.features == ("half", "spans")
    table = view.to_arrow()
    for name in view.columns:
        assert table[name].to_pylist() == expected[name].to_pylist(), name
    half = store.to_numpy("half")[at]
    assert np.array_equal(view.to_numpy("half"), half, equal_nan=True)
    mapped = view.to_numpy("half", mmap=True)
    assert np.array_equal(mapped, half, equal_nan=True)
    frame = view.to_pandas()
    assert frame["id"].tolist() == expected["id"].to_pylist()
    for i, row in enumerate(at):
        value = frame["half"][i]
        assert value is None if row % 5 == 1 else np.array_equal(value, half[i])
    for size in (1, 4, 100):
        batches = list(view.iter_batches(batch_size=size))
        assert [len(b["id"]) for b in batches] == [
            len(at[i : i + size]) for i in range(0, len(at), size)
        ]
        got = np.concatenate([np.empty((0, 4)), *(b["half"] for b in batches)])
        assert np.array_equal(got, half, equal_nan=True)
        assert [i for b in batches for i in b["id"]] == expected["id"].to_pylist()


def test_a_view_of_a_view(store: FeatureStore) -> None:
    view = store.select(rows=slice(2, 12)).select(["id"], [1, -1]).select(rows=[True, False])
    assert view.to_arrow()["id"].to_pylist() == ["row-3"]
    assert store.select(rows=[5, 9, 2]).select(rows=slice(1, None)).to_numpy("id").tolist() == [
        "row-9",
        "row-2",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([15], "no row 15: the store has 15"),
        ([-16], "no row -16"),
        ([True], "a mask of 1 rows for a store of 15"),
        ([0.5], "rows are a slice, a mask or whole numbers"),
        (3, "rows are a slice, a mask or whole numbers, not 3"),
        ("x", "rows are a slice"),
    ],
)
def test_rows_that_do_not_exist_are_refused(store: FeatureStore, rows: Any, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.select(rows=rows)


def test_unknown_columns_are_refused_with_the_nearest(store: FeatureStore) -> None:
    for ask in (
        lambda: store.to_numpy("halv"),
        lambda: store.to_arrow(["halv"]),
        lambda: store.to_pandas(["halv"]),
        lambda: store.iter_batches(["halv"]),
        lambda: store.select(["halv"]),
        lambda: store.to_torch_dataset(["halv"]),
    ):
        with pytest.raises(StoreError, match=r"no column 'halv' in .*it has id, label.*'half'\?"):
            ask()
    with pytest.raises(StoreError, match="a list of names, not one name"):
        store.to_arrow("half")
    with pytest.raises(StoreError, match="each once"):
        store.select(["half", "half"])
    with pytest.raises(StoreError, match="batch_size is at least 1"):
        store.iter_batches(batch_size=0)
    with pytest.raises(StoreError, match="column 'spans' is ragged: it can be read, but not"):
        store.to_numpy("spans", mmap=True)
    with pytest.raises(StoreError, match="column 'label' is no feature"):
        store.to_numpy("label", mmap=True)


def test_repr_is_one_readable_line(store: FeatureStore) -> None:
    text = repr(store)
    assert "\n" not in text
    assert "15 rows, 7 columns, 5 of them features: half: fixed_size_list" in text
    assert "and 2 more" in text


def test_mapped_columns_are_made_once_and_follow_the_shards(tmp_path: Path) -> None:
    store = FeatureStore.open(build(tmp_path / "s"))
    mapped = store.to_numpy("half", mmap=True)
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    (copy,) = (tmp_path / "s" / ".mmap").glob("*.npy")
    when = copy.stat().st_mtime_ns
    assert np.array_equal(store.to_numpy("half", mmap=True), mapped)
    assert copy.stat().st_mtime_ns == when
    assert isinstance(store.select(rows=slice(2, 9, 3)).to_numpy("half", mmap=True), np.memmap)
    build(tmp_path / "t", nulls=True)
    for path in (tmp_path / "t").iterdir():
        path.replace(tmp_path / "s" / path.name)
    assert np.isnan(FeatureStore.open(tmp_path / "s").to_numpy("half", mmap=True)).any()
    (newer,) = (tmp_path / "s" / ".mmap").glob("*.npy")
    assert newer != copy and store.verify() != ()


def test_an_altered_copy_of_a_column_is_found_out(tmp_path: Path) -> None:
    store = FeatureStore.open(build(tmp_path / "s"))
    store.to_numpy("half", mmap=True)
    assert store.verify() == ()
    (copy,) = (tmp_path / "s" / ".mmap").glob("*.npy")
    copy.write_bytes(copy.read_bytes()[:-2] + b"XX")
    assert store.verify() == (f".mmap/{copy.name}: altered; remove it, and it is made anew",)


@pytest.mark.parametrize("file_format", ["npy", "safetensors"])
def test_a_single_shard_of_arrays_is_mapped_itself(tmp_path: Path, file_format: str) -> None:
    store = FeatureStore.open(build(tmp_path / "s", shards=1, file_format=file_format))
    assert isinstance(store.to_numpy("half", mmap=True), np.memmap)
    assert np.array_equal(store.to_numpy("half", mmap=True), store.to_numpy("half"))
    assert not (tmp_path / "s" / ".mmap").exists()


def test_column_names_with_dots_and_prefixes(tmp_path: Path) -> None:
    names = ["id", "a", "a.b", "a.b.list", "loss.é x", "spans", "pattern"]
    with writer(tmp_path / "s") as out:
        for index in range(2):
            table = rows_of(index).rename_columns(names)
            out.write(index, index * 5, index * 5 + 5, table, names[2:], {})
        out.finish({})
    store = FeatureStore.open(tmp_path / "s")
    assert store.to_arrow(["a"]).column_names == ["a"]
    assert store.to_numpy("a.b").shape == (10, 4)
    assert store.to_numpy("a.b.list", mmap=True).shape == (10, 3)
    assert store.to_numpy("loss.é x", mmap=True).shape == (10,)


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_dataset_in_a_data_loader(store: FeatureStore, workers: int) -> None:
    columns = ["half", "loss", "id"]
    dataset = store.select(rows=slice(2, None)).to_torch_dataset(columns)
    assert len(dataset) == 13 and set(dataset[0]) == set(columns)
    loader = DataLoader(dataset, batch_size=4, num_workers=workers)
    batches = list(loader)
    half = torch.cat([batch["half"] for batch in batches])
    assert half.dtype == torch.float16
    assert torch.equal(half.nan_to_num(), torch.tensor(store.to_numpy("half")[2:]).nan_to_num())
    assert [i for batch in batches for i in batch["id"]] == [f"row-{i}" for i in range(2, 15)]


def test_torch_dataset_rows(store: FeatureStore) -> None:
    dataset = store.select(rows=[9, 4, 1]).to_torch_dataset()
    row = dataset[1]
    assert row["id"] == "row-4" and row["label"] == 4
    assert row["spans"].shape == (1, 3) and row["pattern"].tolist() == [0.5] * 4
    assert dataset[2]["label"] is None and dataset[2]["spans"] is None
    assert dataset[-1]["half"].isnan().all()
    with pytest.raises(IndexError):
        dataset[3]
    assert len(list(iter(dataset))) == 3
    sent = pickle.dumps(dataset)
    assert len(sent) < 20_000
    assert pickle.loads(sent)[0]["id"] == "row-9"


def test_join_puts_features_beside_a_frame(store: FeatureStore) -> None:
    frame = pd.DataFrame({"id": ["row-8", "row-2", "row-8"], "y": [1, 0, 1]}, index=[7, 3, 5])
    joined = store.join(frame)
    assert list(joined.columns) == ["id", "y", *store.features] and list(joined.index) == [7, 3, 5]
    half = store.to_numpy("half")
    for row, at in zip(joined["half"], (8, 2, 8), strict=True):
        assert np.array_equal(row, half[at])
    assert list(store.join(frame, columns=["label"])["label"]) == [8, 2, 8]
    some = pd.DataFrame({"id": ["nobody", "row-3"]}, index=[0, 9])
    assert list(store.join(some, how="inner").index) == [9]


def test_join_refuses_what_is_ambiguous(store: FeatureStore) -> None:
    def frame(**columns: Any) -> pd.DataFrame:
        return pd.DataFrame(columns)

    for given, options, message in [
        (frame(id=["row-1", "nobody"]), {}, "1 of 2 ids .* first 'nobody'; how='inner'"),
        (frame(id=[1]), {}, r"first 1 \(there \['str'\], in the frame \['int'\]\)"),
        (frame(key=["row-1"]), {"on": "key"}, "no column 'key' in .*"),
        (frame(ID=["row-1"]), {}, "the frame has no column 'id', only"),
        (frame(id=["row-1"], half=[0]), {}, r"both the frame and the store: \['half'\]"),
        (frame(id=["row-1"]), {"columns": ["x"]}, "no column 'x'"),
    ]:
        with pytest.raises(StoreError, match=message):
            store.join(given, **options)
    twice = store.select(rows=[3, 3, 4])
    with pytest.raises(StoreError, match="id 'row-3' stands in several rows"):
        twice.join(frame(id=["row-4"]))
