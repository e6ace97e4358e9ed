"""Work that is killed: run as a script, so that its children inherit a loaded model by fork.

    python kills.py FOLDER SEED

Exports and trains probes undisturbed into FOLDER/.../whole; then into FOLDER/.../0 and so on, each
killed once, twice or three times at random moments before it may end. Prints as JSON what was left
after each kill: shards of an export, places of a sweep.
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
from typing import Any

import numpy as np
import torch

import probes
from neoscope import load, organism
from neoscope.export import FeatureSpec, to_store

N_ROWS, SHARD_ROWS = 400, 16
N_PLACES = 4
KILLS = {"parquet": 30, "npy": 6, "safetensors": 6, "probes": 4}


def texts() -> Iterator[dict[str, object]]:
    """The rows that are exported."""
    for i, sentence in enumerate(organism.sentences("filler", N_ROWS, seed=3)):
        yield {"id": f"text-{i}", "text": sentence.text, "label": i % 3}


def planted() -> probes.ProbeData:
    """Features of which some tell the label."""
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    x = {
        probes.Place("resid_post", layer): rng.standard_normal((160, 8)) + layer * y[:, None] / 2
        for layer in range(N_PLACES)
    }
    return probes.ProbeData(x, y, np.arange(160), label="planted")


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


def killed(
    folder: Path, work: Callable[[Path], object], n: int, rng: random.Random, part: str
) -> list[int]:
    """Work into FOLDER/whole, and with n kills into FOLDER/0 and so on; return what each left.

    Args:
        part: How the files and folders of a finished part begin, up to its number.
    """
    folder.mkdir()
    start = time.perf_counter()
    assert in_child(lambda: work(folder / "whole"))
    duration = time.perf_counter() - start
    found: list[int] = []
    turn = 0
    while len(found) < n:
        out, due = folder / str(turn), 1 + turn % 3
        for _ in range(due):
            if in_child(lambda out=out: work(out), kill_after=rng.uniform(0, duration)):
                break
            found.append(len({path.name[: len(part)] for path in out.glob(f"{part}*")}))
        assert in_child(lambda out=out: work(out))
        turn += 1
        assert turn < 3 * n, "hardly any kill came before the end"
    return found


def main(folder: Path, seed: int) -> dict[str, list[int]]:
    """Return, for each kind of work, what its kills left."""
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    model, rows, rng = load("organism"), list(texts()), random.Random(seed)
    spec = FeatureSpec(["resid_post", "entropy"], pool=["mean", "last"])
    options: dict[str, Any] = {"shard_rows": SHARD_ROWS, "progress": False}
    found = {
        form: killed(
            folder / form,
            lambda out, form=form: to_store(
                model, iter(rows), out, spec, file_format=form, **options
            ),
            n,
            rng,
            "part-?????",
        )
        for form, n in KILLS.items()
        if form != "probes"
    }
    data = planted()

    def sweep(out: Path) -> None:
        probes.sweep(data, n_bootstrap=40, folder=out, progress=False)

    found["probes"] = killed(folder / "probes", sweep, KILLS["probes"], rng, "resid_post_?")
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
