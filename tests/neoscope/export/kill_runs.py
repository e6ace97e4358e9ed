"""Exports that are killed: run as a script, so that its children inherit a loaded model by fork.

    python kill_runs.py FOLDER FORMAT SEED N

Exports once undisturbed into FOLDER/whole, then N times into FOLDER/0.. with a SIGKILL at a random
moment and a second run that goes on; prints as JSON how many shards each kill left whole.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from neoscope import load, organism
from neoscope.export import FeatureSpec, to_store

N_ROWS, SHARD_ROWS = 1200, 40


def texts() -> Iterator[dict[str, object]]:
    for i, sentence in enumerate(organism.sentences("filler", N_ROWS, seed=3)):
        yield {"id": f"text-{i}", "text": sentence.text, "label": i % 3}


def in_child(work: Callable[[], object], kill_after: float | None = None) -> bool:
    """Run in a forked process; return whether it ended by itself."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the child ended with {status}"
    return status == 0


def main(folder: Path, file_format: str, seed: int, n: int) -> list[int]:
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    model, rows = load("organism"), list(texts())
    spec = FeatureSpec(["resid_post", "entropy"], pool=["mean", "last"])

    def export(out: str) -> None:
        to_store(
            model,
            iter(rows),
            folder / out,
            spec,
            file_format=file_format,
            shard_rows=SHARD_ROWS,
            progress=False,
        )

    start = time.perf_counter()
    in_child(lambda: export("whole"))
    duration = time.perf_counter() - start
    rng = random.Random(seed)
    left = []
    for turn in range(n):
        in_child(lambda out=str(turn): export(out), kill_after=rng.uniform(0, duration))
        shards = folder / str(turn) / "manifest.json"
        left.append(len(json.loads(shards.read_text())["shards"]) if shards.exists() else 0)
        assert in_child(lambda out=str(turn): export(out))
    return left


if __name__ == "__main__":
    told = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write(json.dumps(told))
