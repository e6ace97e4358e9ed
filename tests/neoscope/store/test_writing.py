"""A store is resumed where it stopped, by one writer at a time, and only for the same thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoscope.errors import StoreError
from neoscope.store import FeatureStore
from tests.neoscope.store.building import (
    FEATURES,
    FORMATS,
    IDENTITY,
    build,
    contents,
    rows_of,
    write_shard,
    writer,
)


@pytest.mark.parametrize("file_format", FORMATS)
def test_resumed_store_is_byte_equal(tmp_path: Path, file_format: str) -> None:
    whole = contents(build(tmp_path / "whole", file_format=file_format))
    with writer(tmp_path / "s", file_format=file_format) as out:
        write_shard(out, 0)
        write_shard(out, 2)
        assert not out.complete and out.damaged == ()
    with writer(tmp_path / "s", file_format=file_format) as out:
        assert out.done == {0, 2} and out.shard_facts(2) == {"tokens": 2}
        with pytest.raises(StoreError, match=r"shard 1 of .* is not written yet"):
            out.shard_facts(1)
    assert contents(build(tmp_path / "s", file_format=file_format)) == whole
    with writer(tmp_path / "s", file_format=file_format) as out:
        assert out.complete and out.done == {0, 1, 2}


def test_bytes_written_are_returned(tmp_path: Path) -> None:
    with writer(tmp_path / "s", file_format="npy") as out:
        written = write_shard(out, 0)
    assert written == sum(p.stat().st_size for p in (tmp_path / "s").glob("part-*"))


def test_dropped_shard_is_written_again(tmp_path: Path) -> None:
    whole = contents(build(tmp_path / "s"))
    (tmp_path / "s" / "part-00001.parquet").unlink()
    with pytest.raises(StoreError, match=r"is damaged: part-00001.parquet: missing; run the"):
        FeatureStore.open(tmp_path / "s")
    with writer(tmp_path / "s") as out:
        assert out.damaged == ("part-00001.parquet: missing",)
        assert out.done == {0, 2} and not out.complete
    assert contents(build(tmp_path / "s")) == whole


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("how", ["truncated", "altered", "longer"])
def test_damaged_shard_is_named_and_rewritten_alone(
    tmp_path: Path, file_format: str, how: str
) -> None:
    whole = contents(build(tmp_path / "s", file_format=file_format))
    path = next(iter(sorted((tmp_path / "s").glob("part-00001*"))))
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[:-10]
    elif how == "longer":
        data += b"x"
    else:
        data[len(data) // 2] ^= 1
    store = FeatureStore.open(tmp_path / "s")
    path.write_bytes(data)
    (problem,) = store.verify()
    assert problem.startswith(f"{path.name}: {how}")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "s").glob("part-*")}
    seen: list[tuple[int, int]] = []
    with writer(
        tmp_path / "s", file_format=file_format, progress=lambda *at: seen.append(at)
    ) as out:
        assert out.damaged == (problem,) and out.done == {0, 2}
    assert seen[-1][0] == seen[-1][1] and len(seen) == len(before)
    assert contents(build(tmp_path / "s", file_format=file_format)) == whole
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "s").glob("part-*")}
    assert {n.split(".")[0] for n in after if after[n] != before[n]} == {"part-00001"}


def test_extra_shard_is_named_and_removed(tmp_path: Path) -> None:
    build(tmp_path / "s")
    (tmp_path / "s" / "part-00009.parquet").write_bytes(b"x")
    (tmp_path / "s" / "notes.txt").write_text("mine")
    (problem,) = FeatureStore.open(tmp_path / "s").verify()
    assert problem == "part-00009.parquet: extra: the manifest does not list it"
    with writer(tmp_path / "s") as out:
        assert out.complete
    assert sorted(p.name for p in (tmp_path / "s").glob("[np]*")) == [
        "notes.txt",
        *(f"part-0000{i}.parquet" for i in range(3)),
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"kind": "activations"}, ["kind: the folder has 'features', now 'activations'"]),
        ({"file_format": "npy"}, ["file_format: the folder has 'parquet', now 'npy'"]),
        (
            {"identity": {"weights": "abd", "spec": {"pool": ["last"], "layers": (1, 2)}}},
            [
                "weights: the folder has 'abc', now 'abd'",
                "spec.pool: the folder has ['mean'], now ['last']",
            ],
        ),
        (
            {"identity": {"weights": "abc", "spec": {**IDENTITY["spec"], "stride": 4}}},
            ["spec.stride: the folder has nothing, now 4"],
        ),
        ({"identity": {**IDENTITY, "spec": None}}, ["spec: the folder has {"]),
    ],
    ids=["kind", "format", "values", "new", "shape"],
)
def test_something_else_is_refused_with_the_difference(
    tmp_path: Path, changes: dict[str, Any], lines: list[str]
) -> None:
    before = contents(build(tmp_path / "s"))
    with (
        pytest.raises(StoreError, match="holds something else") as caught,
        writer(tmp_path / "s", **changes),
    ):
        pass
    told = str(caught.value).splitlines()[1:]
    assert len(told) == len(lines)
    assert all(found.strip().startswith(line) for found, line in zip(told, lines, strict=True))
    assert contents(tmp_path / "s") == before


def test_what_is_only_about_it_may_differ_and_stays(tmp_path: Path) -> None:
    whole = contents(build(tmp_path / "s"))
    assert contents(build(tmp_path / "s", about={"model": "other"})) == whole


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(StoreError, match=r"not empty.*'thesis.txt'; write"), writer(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["thesis.txt"]
    with pytest.raises(StoreError, match=r"thesis.txt"), writer(tmp_path / "thesis.txt"):
        pass


def test_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.neoscope.store.building import writer\n"
        "with writer(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"in\n"
        with pytest.raises(StoreError, match=rf"another process \(pid {other.pid}\)"):
            writer(tmp_path / "s").__enter__()
        other.kill()
    build(tmp_path / "s")  # the lock of a killed process is none
    with writer(tmp_path / "s"), pytest.raises(StoreError, match="another process"):
        writer(tmp_path / "s").__enter__()
    assert not (tmp_path / "s" / ".lock").exists()


def test_shards_are_written_once_and_have_the_same_columns(tmp_path: Path) -> None:
    with writer(tmp_path / "s") as out:
        write_shard(out, 0)
        with pytest.raises(StoreError, match=r"shard 0 of .* is written already"):
            write_shard(out, 0)
        changed = rows_of(1).rename_columns({"id": "key"})
        with pytest.raises(StoreError, match=r"found key \(string\), expected id \(str"):
            out.write(1, 5, 10, changed, FEATURES, {})
        with pytest.raises(StoreError, match="their order changed"):
            out.write(1, 5, 10, rows_of(1).select(rows_of(1).column_names[::-1]), FEATURES, {})
        with pytest.raises(StoreError, match="a manifest cannot hold"):
            out.write(1, 5, 10, rows_of(1), FEATURES, {"loss": float("nan")})
        write_shard(out, 2)
        with pytest.raises(StoreError, match="shard 1 should begin at input row 5, but the next"):
            out.finish({})
    assert sorted(contents(tmp_path / "s")) == [
        "_manifest.json",
        "part-00000.parquet",
        "part-00002.parquet",
    ]
    with pytest.raises(StoreError, match="is not open for writing"):
        out.finish({})


def test_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"not 'parket'; did you mean 'parquet'"):
        writer(tmp_path, file_format="parket")


def test_facts_are_json(tmp_path: Path) -> None:
    with writer(tmp_path / "s") as out:
        out.write(0, 0, 5, rows_of(0), FEATURES, {"n": np.int64(3), "skipped": ({"id": b"x"},)})
        assert out.shard_facts(0) == {"n": 3, "skipped": [{"id": "b'x'"}]}
    record = json.loads((tmp_path / "s" / "_manifest.json").read_text())
    assert list(record) == [
        "format", "kind", "neoscope", "file_format", "identity", "about", "schema", "shards",
        "complete", "summary",
    ]  # fmt: skip
