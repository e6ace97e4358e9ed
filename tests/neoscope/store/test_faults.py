"""Whatever happens to the machine while a store is written, what was written stays whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from neoscope.errors import StoreError
from neoscope.store import FeatureStore
from tests.neoscope.store.building import FORMATS, build, contents, write_shard, writer

ROOT = Path(__file__).parents[3]
MOMENTS = 30
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.neoscope.store.building import build

def dying(call, *args, **options):
    # The process dies before or after one of the calls that change what is on disk.
    global calls
    calls += 1
    if calls == last and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    result = call(*args, **options)
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

for module, name in ((os, "fsync"), (os, "replace"), (os, "open")):
    original = getattr(module, name)
    setattr(module, name, lambda *args, call=original, **options: dying(call, *args, **options))
folder, file_format, moments = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls, last, after = 0, -1, False
build(folder / "undisturbed", file_format=file_format)
in_all = calls
for moment in range(moments):
    if os.fork() == 0:
        calls, last, after = 0, 1 + moment * in_all // moments, moment % 2
        build(folder / str(moment), file_format=file_format)
    _, status = os.wait()
    print(os.WTERMSIG(status))
"""


@pytest.mark.parametrize("file_format", FORMATS)
def test_killed_writer_is_resumed_byte_equal(tmp_path: Path, file_format: str) -> None:
    whole = contents(build(tmp_path / "whole", file_format=file_format))
    command = [sys.executable, "-c", KILLED, str(tmp_path), file_format, str(MOMENTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9"] * MOMENTS
    listed = set()
    for moment in range(MOMENTS):
        folder = tmp_path / str(moment)
        if (folder / "_manifest.json").exists():
            # Every shard that the manifest lists is whole, whatever the moment.
            store = FeatureStore.open(folder, partial=True)
            assert not [line for line in store.verify() if "extra" not in line]
            listed.add(len(store))
        with writer(folder, file_format=file_format) as out:
            assert out.damaged == ()
        assert contents(build(folder, file_format=file_format)) == whole
    assert {0, 5, 10} <= listed


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.name == "nt" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def large_rows(index: int) -> pa.Table:
    values = np.random.default_rng(index).standard_normal((500, 128)).astype(np.float32)
    wide = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 128)
    return pa.table({"id": range(index * 500, index * 500 + 500), "wide": wide})


def build_large(path: Path, file_format: str) -> Path:
    with writer(path, file_format=file_format) as out:
        for index in sorted(set(range(8)) - out.done):
            out.write(index, index * 500, index * 500 + 500, large_rows(index), ["wide"], {})
        out.finish({})
    return path


@pytest.mark.parametrize("file_format", FORMATS)
def test_full_disk_is_resumed_after_space_is_made(tmp_path: Path, file_format: str) -> None:
    whole = contents(build_large(tmp_path / "whole", file_format))
    with small_disk(tmp_path / "disk", "1m") as disk:
        for _ in range(2):  # full at once the second time
            with pytest.raises(StoreError, match=r"disk full.*make space and run the same command"):
                build_large(disk / "s", file_format)
            found = contents(disk / "s")
            assert not [name for name in found if name.startswith(".")]
            store = FeatureStore.open(disk / "s", partial=True)
            assert 0 < len(store) < 4000 and store.verify() == ()
        remount(disk, "size=8m")
        assert contents(build_large(disk / "s", file_format)) == whole


def test_any_failing_write_leaves_the_store_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails at one fsync after another, while the first shard is safe."""
    whole = contents(build(tmp_path / "whole"))
    fsync, failed = os.fsync, 0
    for moment in range(1, 20):
        folder = tmp_path / str(moment)
        calls = 0

        def failing(handle: int, moment: int = moment) -> None:
            nonlocal calls, failed
            calls += 1
            if calls == moment:
                failed += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        with writer(folder) as out:
            write_shard(out, 0)
            with monkeypatch.context() as patch, contextlib.suppress(StoreError):
                patch.setattr(os, "fsync", failing)
                write_shard(out, 1)
                write_shard(out, 2)
                out.finish({"rows": 15})
        assert FeatureStore.open(folder, partial=True).verify() == ()
        assert not [name for name in contents(folder) if name.startswith(".")]
        assert contents(build(folder)) == whole
    assert failed >= 8


def test_file_size_limit_is_an_error_and_not_a_signal(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.neoscope.store.test_faults import build_large\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "build_large(Path(sys.argv[1]), 'npy')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "s")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "StoreError" in done.stderr and "could not be written" in done.stderr
    assert sorted(contents(tmp_path / "s")) == ["_manifest.json"]


def test_read_only_disk_is_named_and_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        build(disk / "s")
        remount(disk, "ro")
        for name in ("s", "new"):
            with pytest.raises(StoreError, match=rf"{name} cannot be written: Read-only"):
                writer(disk / name).__enter__()
        store = FeatureStore.open(disk / "s")
        assert store.to_numpy("half").shape == (15, 4)
        with pytest.raises(StoreError, match=r"a column is mapped from a copy in .*Read-only"):
            store.to_numpy("half", mmap=True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o500)
    with pytest.raises(StoreError, match=r"s cannot be written: Permission denied"):
        writer(tmp_path / "s").__enter__()


def test_incomplete_store_says_how_to_go_on(tmp_path: Path) -> None:
    with writer(tmp_path / "s") as out:
        write_shard(out, 0)
    with pytest.raises(StoreError, match=r"1 shards with 5 rows.*again to go on.*partial=True"):
        FeatureStore.open(tmp_path / "s")
    assert len(FeatureStore.open(tmp_path / "s", partial=True)) == 5


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is no feature store: it holds no _manifest.json"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreError, match="is no feature store: it is no folder"):
        FeatureStore.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", ""),
        ('"shards"', '"shard"'),
        ('"index": 0', '"index": 1'),
        ('"index": 0', '"index": "0"'),
        ('"rows": 5', '"rows": -5'),
        ('"part-00000.parquet"', '"../../part-00000.parquet"'),
        ('"part-00000.parquet"', '"part-00000.x/../../secret"'),
        ('"part-00000.parquet"', '"part-00001.parquet"'),
        ('"file_format": "parquet"', '"file_format": "pickle"'),
        ('"complete": true', '"complete": 1'),
        ('"start": 5', '"start": 4'),
        ('"schema": [', '"schema": null, "x": ['),
        ('"kind": "features"', '"kind": "\\ud800"'),
    ],
)
def test_damaged_manifest_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = build(tmp_path / "s") / "_manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    before = contents(tmp_path / "s")
    with pytest.raises(StoreError):
        FeatureStore.open(tmp_path / "s")
    with pytest.raises(StoreError):
        writer(tmp_path / "s").__enter__()
    assert contents(tmp_path / "s") == before


def test_binary_manifest_and_later_format_are_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "s") / "_manifest.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(StoreError, match=r"in format 2; this one reads up to 1: upgrade"):
        FeatureStore.open(tmp_path / "s")
    for data in (b"\xff\xfe\x00", b"[" * 100_000, b"[]", b""):
        path.write_bytes(data)
        with pytest.raises(StoreError, match=r"_manifest.json is damaged: .*put the original back"):
            FeatureStore.open(tmp_path / "s")
