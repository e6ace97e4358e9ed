"""``neoscope export`` again: it goes on, after Ctrl-C too, and shows how far it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neoscope.cli import app
from neoscope.cli.export.run import _Watch, duration
from neoscope.cli.export.show import readable
from neoscope.export import LocalEngine, Progress
from tests.neoscope.cli.exporting import RUNNER, export, shards


def test_complete_export_says_so_and_runs_nothing(corpus: Path, out: Path) -> None:
    export(corpus, out)
    before = shards(out)
    result = export(corpus, out)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{out} is complete: all 90 rows were there, nothing was run\n")
    assert shards(out) == before
    assert json.loads(export(corpus, out, "--json").stdout)["written_bytes"] == 0


def test_damaged_shard_is_written_anew_and_named(corpus: Path, out: Path) -> None:
    export(corpus, out, "--shard-rows", "40")
    before = shards(out)
    (out / "part-00001.parquet").write_bytes(b"PAR1")
    result = export(corpus, out, "--shard-rows", "40")
    assert f"went on with {out}, where 50 of 90 rows were whole\n" in result.stdout
    assert re.search(r"^written anew: part-00001\.parquet: truncated", result.stdout, re.M)
    assert shards(out) == before


SLOWLY = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from neoscope.export.extractor import Extractor
from neoscope.store import StoreWriter
run, write = Extractor.run, StoreWriter.write
def slowly(self, *args):
    time.sleep(0.2)
    return run(self, *args)
def loudly(self, index, *args):
    write(self, index, *args)
    print("written", flush=True)
    return 1
Extractor.run, StoreWriter.write = slowly, loudly
from neoscope.cli import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_ctrl_c_says_how_to_go_on_and_nothing_is_lost(
    corpus: Path, out: Path, tmp_path: Path
) -> None:
    options = ["export", "organism", str(corpus), "--shard-rows", "9", "--out"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *options, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    said = re.fullmatch(
        r"interrupted; (\d+) of 90 rows are whole in (.*); the same command goes on\n", err
    )
    assert said is not None, err
    assert 18 <= int(said[1]) < 90
    assert said[2] == str(out)
    result = RUNNER.invoke(app, [*options, str(out)])
    assert f"where {said[1]} of 90 rows were whole" in result.stdout
    undisturbed = tmp_path / "undisturbed"
    RUNNER.invoke(app, [*options, str(undisturbed)])
    assert shards(out) == shards(undisturbed)


@pytest.mark.parametrize("shards_done", [0, 1])
def test_ctrl_c_at_the_start_is_told_apart(
    shards_done: int, corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    if shards_done:
        export(corpus, out, "--shard-rows", "45")
        (out / "part-00001.parquet").unlink()
    monkeypatch.setattr(LocalEngine, "__call__", stop)
    result = export(corpus, out, "--shard-rows", "45")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "interrupted before anything was done; the same command goes on\n"


def test_bar_shows_rows_rate_and_bytes(corpus: Path, out: Path) -> None:
    shown = export(corpus, out, "--shard-rows", "30", env={"FORCE_COLOR": "1", "COLUMNS": "100"})
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.stderr)
    assert "90/90" in plain
    assert re.search(r"\d KiB written", plain)


def test_time_left_is_reckoned_from_this_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 11.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    watch = _Watch()
    bar = Bar()
    watch.bar = bar
    watch(Progress(rows=500, total_rows=1000, resumed_rows=500))
    watch(Progress(rows=510, total_rows=1000, resumed_rows=500, tokens=100))
    watch(Progress(rows=610, total_rows=1000, resumed_rows=500, tokens=1100, nbytes=2048))
    assert bar.said == ["0 B written", "0 B written", "100 tokens/s, 39 s left, 2.0 KiB written"]


class Bar:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def update(self, task: int, *, said: str, **more: object) -> None:
        self.said.append(said)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 5 min"),
        (3_600_000.0, "1,000 h 0 min"),
    ],
)
def test_durations_are_readable(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("float", "float32"),
        ("fixed_size_list<element: halffloat>[4]", "float16 x 4"),
        ("list<item: fixed_size_list<element: float>[4]>", "lists of float32 x 4"),
        ("dictionary<values=string, indices=int32, ordered=0>",) * 2,
    ],
)
def test_types_are_readable(kind: str, said: str) -> None:
    assert readable(kind) == said
