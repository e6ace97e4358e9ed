"""A killed export goes on where it was, and ends byte-equal to one that nobody disturbed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from neoscope.store import FeatureStore
from tests.neoscope.export import kill_runs


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("file_format", "n"), [("parquet", 30), ("npy", 8), ("safetensors", 8)])
def test_killed_at_random_moments_and_resumed_is_byte_equal(
    tmp_path: Path, file_format: str, n: int
) -> None:
    command = [sys.executable, kill_runs.__file__, str(tmp_path), file_format, "7", str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout)
    # The kills met exports at work, not only before they began or after they ended.
    assert len({n for n in left if 0 < n < kill_runs.N_ROWS // kill_runs.SHARD_ROWS}) >= n // 4
    expected = contents(tmp_path / "whole")
    for turn in range(n):
        assert contents(tmp_path / str(turn)) == expected
    store = FeatureStore.open(tmp_path / "0")
    ids = list(store.to_arrow(["id"])["id"].to_pylist())
    assert ids == [f"text-{i}" for i in range(kill_runs.N_ROWS)]
