"""Promise 4: nothing is lost, whenever the process dies and whatever is bad.

More of it is tested where the work is done: a store's writer killed at each of its calls, and disks
that are full or read-only (``tests/neoscope/store/test_faults.py``); a tuned lens or a model that
is killed while it is trained (``analysis/test_tuned_training.py``, ``organism/test_training.py``);
an actor of Ray that is killed (``export/test_ray_engine.py``); Ctrl-C in a sweep of patches or of
probes, in an evaluation, a demonstration and in each command, which return or keep what is done.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import neoscope as ns
from neoscope import organism
from neoscope.errors import ExportError, NeoscopeError
from neoscope.export import FeatureSpec, to_store
from neoscope.store import FeatureStore
from tests.promises import killed_saves, kills


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def told_by(script: ModuleType, *arguments: str) -> Any:
    """Run a script in which processes are killed; return what it says."""
    command = [sys.executable, str(script.__file__), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_random_moments_work_goes_on_and_ends_byte_equal(tmp_path: Path) -> None:
    left = told_by(kills, str(tmp_path), "7")
    assert {kind: len(found) >= kills.KILLS[kind] for kind, found in left.items()} == dict.fromkeys(
        kills.KILLS, True
    )
    assert kills.KILLS["parquet"] == 30
    # The kills met exports at work, not only before they began or after they ended.
    n_shards = kills.N_ROWS // kills.SHARD_ROWS
    assert len({n for n in left["parquet"] if 0 < n < n_shards}) >= 8
    for kind in kills.KILLS:
        expected = contents(tmp_path / kind / "whole")
        turns = [folder for folder in (tmp_path / kind).iterdir() if folder.name != "whole"]
        assert len(turns) >= kills.KILLS[kind] // 3
        for folder in turns:
            assert contents(folder) == expected, folder
    store = FeatureStore.open(tmp_path / "parquet" / "0")
    ids = store.to_arrow(["id"])["id"].to_pylist()
    assert ids == [f"text-{i}" for i in range(kills.N_ROWS)]


def test_a_save_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    told = told_by(killed_saves, str(tmp_path))
    assert len(told) >= 15
    for kind, found in told.items():
        assert (found[0], found[-1]) == ("old", "new"), kind
        allowed = {"old", "new"}
        if kind == "probes of a sweep":
            # A folder a place: what is half replaced says so, and is no mixture of two.
            allowed.add("ProbeError")
        assert {one.partition(":")[0] for one in found} <= allowed, (kind, found)


# ---- what is bad is named, and costs nothing that is done ---------------------------------------


SPEC = FeatureSpec("resid_post", layers=[1], pool="last")
SENTENCES = [sentence.text for sentence in organism.sentences("filler", 60, seed=8)]


def _corpus(folder: Path) -> Path:
    """Three files of 20 rows."""
    folder.mkdir()
    for i in range(3):
        rows = [{"id": f"r{20 * i + j}", "text": SENTENCES[20 * i + j]} for j in range(20)]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{i}.parquet")
    return folder


def _bad_row(corpus: Path) -> None:
    table = pq.read_table(corpus / "2.parquet").to_pylist()
    table[5]["text"] = None
    pq.write_table(pa.Table.from_pylist(table), corpus / "2.parquet")


def _bad_file(corpus: Path) -> None:
    # The footer, and with it the number of rows and the columns, is whole.
    data = bytearray((corpus / "2.parquet").read_bytes())
    data[4:200] = bytes(196)
    (corpus / "2.parquet").write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_bad_row, r"row 45 \(id 'r45'\): the text is null"), (_bad_file, r"2\.parquet")],
)
def test_a_bad_row_or_file_is_named_and_costs_no_shard(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    model, corpus = ns.load("organism"), _corpus(tmp_path / "corpus")
    options: dict[str, Any] = {"spec": SPEC, "shard_rows": 10, "progress": False}
    to_store(model, corpus, tmp_path / "whole", **options)
    shutil.copytree(corpus, tmp_path / "sound")
    spoil(corpus)
    with pytest.raises(ExportError, match=said):
        to_store(model, corpus, tmp_path / "store", **options)
    assert len(FeatureStore.open(tmp_path / "store", partial=True)) == 40
    shutil.rmtree(corpus)
    shutil.copytree(tmp_path / "sound", corpus)
    assert to_store(model, corpus, tmp_path / "store", **options).resumed_rows == 40
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("cut", r"checkpoint.model\.safetensors"),
        ("another", r"store holds something else.*\n  model: "),
    ],
)
def test_a_bad_checkpoint_is_named_and_costs_no_shard(
    damage: str, said: str, tmp_path: Path
) -> None:
    at, store = tmp_path / "checkpoint", tmp_path / "store"
    shutil.copytree(organism.path(), at)
    options: dict[str, Any] = {"spec": SPEC, "shard_rows": 10, "progress": False}

    def stop(now: Any) -> None:
        if now.rows >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_store(ns.load(at), SENTENCES, store, **(options | {"progress": stop}))
    done = contents(store)
    weights = at / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        shutil.copyfile(organism.path("before") / "model.safetensors", weights)
    with pytest.raises(NeoscopeError, match=said):
        to_store(ns.load(at), SENTENCES, store, **options)
    assert contents(store) == done
    shutil.copyfile(organism.path() / "model.safetensors", weights)
    report = to_store(ns.load(at), SENTENCES, store, **options)
    assert report.resumed_rows >= 20
    to_store(ns.load(at), SENTENCES, tmp_path / "whole", **options)
    assert contents(store) == contents(tmp_path / "whole")
