"""One point of a curve: some work in this process, its time and the most memory it ever held.

``python -m tests.benchmarks.growth_child KIND WORK MODEL THREADS`` prints them as JSON.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import neoscope as ns
from neoscope import organism
from neoscope.export import FeatureSpec, to_store
from neoscope.patching import logit_diff, sweep
from tests.benchmarks import memory

_SHORT = 2.0
"""Seconds under which a time is the median of three."""


def _texts(n: int) -> Iterator[str]:
    stock = [sentence.text for sentence in organism.sentences("filler", 500, seed=0)]
    return itertools.islice(itertools.cycle(stock), n)


def _export(model: Any, n: int, pool: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spec = FeatureSpec(layers=-1, pool=pool)
        to_store(model, _texts(n), Path(folder) / "out", spec, progress=False)


def texts(model: Any, n: int) -> None:
    """Export a row a text."""
    _export(model, n, "mean")


def tokens(model: Any, n: int) -> None:
    """Export a row a token."""
    _export(model, n, "none")


def _prompts(model: Any, n_pairs: int, n_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(model.config.d_vocab, (n_pairs, n_tokens), generator=generator)
    corrupted = clean.clone()
    corrupted[:, [4, 9]] = (clean[:, [4, 9]] + 1) % model.config.d_vocab
    return clean, corrupted


def pairs(model: Any, n: int) -> None:
    """Patch every head in so many pairs of prompts of 15 tokens."""
    clean, corrupted = _prompts(model, n, 15)
    metric = logit_diff([1] * n, [2] * n)
    sweep(model, clean, corrupted, metric, "z", positions="all", progress=False)


def cells(model: Any, n: int) -> None:
    """Patch the stream of every layer at so many positions, the last of 100 tokens."""
    clean, corrupted = _prompts(model, 1, 100)
    corrupted = clean.clone()
    corrupted[:, 0] = (clean[:, 0] + 1) % model.config.d_vocab  # what follows differs, too
    where = list(range(100 - n // model.config.n_layers, 100))
    sweep(
        model, clean, corrupted, logit_diff(1, 2), "resid_pre", positions=where, progress=False
    )  # fmt: skip


def words(model: Any, n: int) -> None:
    """Fit a probe of parts of speech to every layer's states of so many words, on disk."""
    import probes

    sentences = organism.sentences("filler", n // 10, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        data = probes.ProbeData.from_language(model, sentences, label="pos", folder=Path(folder))
        probes.sweep(data, probes.LogisticProbe(), progress=False)


KINDS: dict[str, Callable[[Any, int], None]] = {
    work.__name__: work for work in (texts, tokens, pairs, cells, words)
}


def point(kind: str, work: int, name: str, threads: int) -> dict[str, Any]:
    """Run some work, after the least of its kind."""
    torch.set_num_threads(threads)
    dtype = "float32" if name == "organism" or kind in ("pairs", "cells") else "bfloat16"
    model = ns.load(name, dtype=dtype)
    run, times = KINDS[kind], [0.0]
    run(model, {"cells": model.config.n_layers, "words": 300}.get(kind, 1))
    while times[-1] < _SHORT and len(times) <= 3:
        start = time.perf_counter()
        run(model, work)
        times.append(time.perf_counter() - start)
    # What counts is the process, libraries and model included, from its beginning.
    return {"seconds": statistics.median(times[1:]), "peak": memory.peak()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    kind, work, name, threads = sys.argv[1:]
    print(json.dumps(point(kind, int(work), name, int(threads))))
