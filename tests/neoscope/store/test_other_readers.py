"""Parquet shards are read by other tools, in a process that has no neoscope."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neoscope.store import FeatureStore
from neoscope.store.disk import LOCK, TEMPORARY
from tests.neoscope.store.building import build

READERS = {
    "pandas": """
import pandas
frame = pandas.read_parquet(sorted(glob.glob(folder + "/*.parquet")))
rows = frame[["id", "half", "wide", "loss"]].to_dict("records")
""",
    "polars": """
import polars
rows = polars.read_parquet(folder + "/*.parquet").select("id", "half", "wide", "loss").to_dicts()
""",
    "duckdb": """
import duckdb
found = duckdb.sql(f"select id, half, wide, loss from '{folder}/*.parquet'")
rows = [dict(zip(found.columns, row)) for row in found.fetchall()]
""",
    "datasets": """
import datasets
datasets.disable_progress_bars()
found = datasets.load_dataset(
    "parquet", data_files=folder + "/*.parquet", split="train", cache_dir=sys.argv[2]
)
rows = found.select_columns(["id", "half", "wide", "loss"]).to_list()
""",
}
START = """
import glob, json, sys
sys.modules["neoscope"] = None
try:
    import neoscope
except ImportError:
    pass
else:
    raise SystemExit("neoscope can be imported")
folder = sys.argv[1]
"""
END = """
def plain(value):
    return None if value is None else [float(x) for x in value]
print(json.dumps([
    [row["id"], plain(row["half"]), plain(row["wide"]), float(row["loss"])] for row in rows
]))
"""


@pytest.mark.parametrize("reader", READERS)
def test_parquet_is_read_without_neoscope(tmp_path: Path, reader: str) -> None:
    pytest.importorskip(reader)
    store = FeatureStore.open(build(tmp_path / "s"))
    command = [sys.executable, "-c", START + READERS[reader] + END]
    done = subprocess.run(
        [*command, str(tmp_path / "s"), str(tmp_path / "cache")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = sorted(json.loads(done.stdout.splitlines()[-1]), key=lambda row: int(row[0][4:]))
    assert [row[0] for row in rows] == [f"row-{i}" for i in range(15)]
    for at, name in ((1, "half"), (2, "wide"), (3, "loss")):
        expected = store.to_numpy(name).astype(np.float64)
        assert np.array_equal(np.array([row[at] for row in rows]), expected), name


def test_pandas_and_pyarrow_read_the_folder_as_it_is(tmp_path: Path) -> None:
    import pandas as pd
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    folder = build(tmp_path / "s")
    store = FeatureStore.open(folder)
    store.to_numpy("wide", mmap=True)  # leaves a copy that can be mapped
    beside = (LOCK, "._manifest.json.0.tmp", ".part-00003.parquet.0.tmp")
    for name in beside:  # as while it is written, and after a writer was killed
        (folder / name).write_text("{")
    expected = store.to_numpy("id").tolist()
    assert pd.read_parquet(folder)["id"].tolist() == expected
    assert pq.read_table(folder)["id"].to_pylist() == expected
    assert ds.dataset(folder).to_table()["id"].to_pylist() == expected
    assert all(TEMPORARY.fullmatch(name) for name in beside[1:])


def test_null_features_are_null_elsewhere(tmp_path: Path) -> None:
    import pandas as pd

    build(tmp_path / "s", shards=1, nulls=True)
    frame = pd.read_parquet(tmp_path / "s" / "part-00000.parquet")
    assert frame["half"].isna().tolist() == [False, True, False, False, False]
