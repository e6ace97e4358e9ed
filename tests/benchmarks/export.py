"""Feature export against transformers, the loop anyone would write, and sentence-transformers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neoscope.export import FeatureSpec, to_store
from neoscope.export.engines import LocalEngine
from neoscope.export.threads import ahead
from tests.benchmarks import checkpoint, export_peers, texts
from tests.benchmarks.harness import Contest, Figure, Settings, difference

_EXACT = 1e-5
_N_TEXTS = 192
_ALL_LAYERS = ["blocks.0.hook_resid_pre", "resid_post"]


def rows(settings: Settings) -> Iterator[Contest | Figure]:
    """Yield every row; a model is loaded when its rows come and dropped after them."""
    with checkpoint.random_checkpoint(settings) as folder:
        corpus = texts.corpus(settings, folder, 16 if settings.quick else _N_TEXTS)
        yield from _exact_rows(folder, settings, corpus)
        yield from _half_rows(folder, settings, corpus)
    yield Figure(
        "peak memory, 100,000 rows / 10,000",
        "organism",
        partial(_growth, settings),
    )


def _exact_rows(
    folder: Path, settings: Settings, corpus: Sequence[str]
) -> Iterator[Contest | Figure]:
    ours = checkpoint.load_ours(folder, settings)
    hf = export_peers.load(folder, settings, torch.float32)
    peers = {
        "plain loop": partial(hf.plain_loop, corpus),
        "pipeline": partial(hf.pipeline, corpus),
        "sentence-transformers": partial(hf.sentence_transformers, corpus),
    }
    flops = sum(checkpoint.flops(hf.model.config, 1, n) for n in hf.lengths(corpus))
    work = partial(_exported, ours, corpus)
    every = partial(_exported, ours, corpus, _ALL_LAYERS, None)
    last = partial(_exported, ours, corpus, ["resid_post"], -1)
    unit = f"{len(corpus)} texts of {texts.named(settings)}, {sum(hf.lengths(corpus)):,} tokens"
    reference = hf.plain_loop(corpus)
    yield Contest(
        "export, mean of last layer, fp32",
        unit,
        work,
        peers,
        lambda: difference(work(), reference),
        _EXACT,
        flops,
        rounds=3,
    )
    yield Figure(
        "pipeline's own mean, error",
        "relative norm, median text",
        lambda: _off(hf.pipeline(corpus), reference),
    )
    yield Contest(
        "export, 13 residual layers vs one",
        unit,
        every,
        {"one layer": work},
        lambda: difference(every(), last()),
        _EXACT,
        rounds=3,
    )


def _half_rows(
    folder: Path, settings: Settings, corpus: Sequence[str]
) -> Iterator[Contest | Figure]:
    exact = export_peers.load(folder, settings, torch.float32)
    half = export_peers.load(folder, settings, torch.bfloat16)
    ours = checkpoint.load_ours(folder, settings, torch.bfloat16)
    flops = sum(checkpoint.flops(exact.model.config, 1, n) for n in exact.lengths(corpus))
    reference = exact.plain_loop(corpus)
    theirs = difference(half.plain_loop(corpus), reference)
    work = partial(_exported, ours, corpus)
    yield Contest(
        "export, mean of last layer, bf16",
        f"{len(corpus)} texts of {texts.named(settings)}",
        work,
        {
            "plain loop, bf16": partial(half.plain_loop, corpus),
            "pipeline, fp32": partial(exact.pipeline, corpus),
        },
        # How much farther from float32 ours is than the plain loop's.
        lambda: difference(work(), reference) / theirs,
        1.25,
        flops,
        dtype="bfloat16",
        rounds=3,
    )
    yield Figure(
        "bf16 feature error",
        "relative norm, median text",
        lambda: _off(work(), reference),
    )
    yield Figure(
        "share of time not overlapped with compute",
        "13 layers, bf16, shards of 64 rows",
        partial(_idle, ours, corpus),
    )


def _exported(
    model: Any,
    corpus: Sequence[str],
    sites: Sequence[str] = ("hidden",),
    layers: int | None = None,
) -> Tensor:
    """Export to a folder, tokenizing and writing included, and read the last column back."""
    with tempfile.TemporaryDirectory() as folder:
        spec = FeatureSpec(sites, layers, "mean")
        report = to_store(model, list(corpus), Path(folder) / "out", spec, progress=False)
        store = report.store
        return torch.from_numpy(store.to_numpy(store.features[-1]).copy())


def _off(found: Tensor, reference: Tensor) -> float:
    """The median text's error, as a share of its vector's length."""
    return float(((found - reference).norm(dim=1) / reference.norm(dim=1)).median())


class _Timed(LocalEngine):
    """Notes how long the model runs, and when it began."""

    def __init__(self) -> None:
        self.busy = 0.0
        self.began = 0.0

    def __call__(self, work: Any, chunks: Any, tick: Any) -> Iterator[Any]:
        for chunk, encoded in ahead((chunk, work.encode(chunk)) for chunk in chunks):
            start = time.perf_counter()
            self.began = self.began or start
            shard = work.finish(chunk, encoded, tick)
            self.busy += time.perf_counter() - start
            yield shard


def _idle(model: Any, corpus: Sequence[str]) -> float:
    """Share of the time, from the first batch to the last byte, in which the model did not run."""
    shares = []
    for _ in range(3):
        engine = _Timed()
        with tempfile.TemporaryDirectory() as folder:
            spec = FeatureSpec(_ALL_LAYERS, None, "mean")
            to_store(
                model, list(corpus), Path(folder) / "out", spec, engine=engine, shard_rows=64,
                progress=False,
            )  # fmt: skip
            ended = time.perf_counter()
        shares.append(1 - engine.busy / (ended - engine.began))
    return statistics.median(shares)


_CHILD = """
import sys, tempfile
import torch
torch.set_num_threads(2)
from neoscope import load
from neoscope.export import FeatureSpec, to_store
n = int(sys.argv[1])
texts = (f"The keys near the cabinet are here and text {i % 97} is short" for i in range(n))
with tempfile.TemporaryDirectory() as folder:
    to_store(load("organism"), texts, folder + "/out", FeatureSpec(layers=-1), progress=False)
# ru_maxrss would begin at the size of the process that started this one.
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def _growth(settings: Settings) -> float:
    few, many = (100, 1000) if settings.quick else (10_000, 100_000)
    peaks = [
        float(
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _CHILD, str(n)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for n in (few, many)
    ]
    return peaks[1] / peaks[0]
