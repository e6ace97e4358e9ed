"""The Markdown tables of what a billion tokens cost, from the JSON that ``all`` wrote.

A token takes two operations for each weight of the blocks (attention over short texts adds a few
percent, the embedding nothing, the unembedding is not run). Hours on a CPU are measured for 125M
and longer by as much for the other shapes; hours on a GPU are arithmetic, nothing was measured.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import record
from tests.benchmarks.shapes import DTYPES, FORMATS, POOLS, SHAPES

TOKENS = 1e9
A_TEXT = 64
"""Tokens of a text."""
GPU, GPU_SHARE = 312e12, 0.4
"""Operations a second of an A100 in bfloat16, as its data sheet says; the share that is assumed."""
_SHARD = 2**27
"""Bytes of features in a shard."""
_POOLED = {"none": "a row a token", "mean": f"the mean of each text of {A_TEXT} tokens"}


def operations(name: str) -> float:
    """Return the operations that a token takes in the blocks of a shape."""
    width, layers, _ = SHAPES[name]
    return 2.0 * layers * 12 * width**2


def costs(path: Path) -> str:
    """Return what a billion tokens cost, by the model's shape."""
    value = _values(path)

    def hours(dtype: str) -> Callable[[str], str]:
        rate = value(f"model, {dtype}")
        return lambda name: _hours(TOKENS / rate * operations(name) / operations("125M"))

    lines = {
        "this machine's two threads, float32": hours("float32"),
        "the same, bfloat16": hours("bfloat16"),
        "one A100, bfloat16 (arithmetic)": lambda name: _hours(
            TOKENS * operations(name) / (GPU * GPU_SHARE)
        ),
    }
    for pool in POOLS:
        rows = TOKENS / (A_TEXT if pool == "mean" else 1)
        for dtype in DTYPES:
            lines[f"disk for a layer, {_POOLED[pool]}, {dtype}"] = (
                lambda name, p=pool, d=dtype, r=rows: _bytes(
                    r * value(f"bytes a row, {name}, {p}, {d}")
                )
            )
    head = ["| a billion tokens | " + " | ".join(SHAPES) + " |", "|---|" + "---|" * len(SHAPES)]
    return "\n".join(
        head
        + [f"| {what} | {' | '.join(map(cell, SHAPES))} |" for what, cell in lines.items()]
        + [""]
    )


def parts(path: Path) -> str:
    """Return the rate of each part, and how many workers or GPUs it is enough for."""
    value = _values(path)
    worker, gpu = value("model, bfloat16"), GPU * GPU_SHARE / operations("125M")
    lines = ["| part | where | tokens/s | as much as |", "|---|---|---|---|"]

    def line(what: str, where: str, rate: float) -> None:
        much = f"{rate / worker:,.0f} such workers, {rate / gpu:,.2g} A100s"
        lines.append(f"| {what} | {where} | {_count(rate)} | {much} |")

    line("the model, two threads, bfloat16", "each worker", worker)
    line("the model, an A100 (arithmetic)", "each worker", gpu)
    line("tokenizing, two threads", "each worker", value("tokenizing"))
    line("reading and hashing the input", "the driver", value("reading"))
    for file_format, dtype in itertools.product(FORMATS, DTYPES):
        rate = value(f"writing, {file_format}, {dtype}")
        line(f"writing a row a token, {file_format}, {dtype}", "the driver", rate)
    means = A_TEXT * value("writing, parquet, float32")
    line(f"writing {_POOLED['mean']}, parquet, float32", "the driver", means)
    few, many = (value(f"manifest, {n} shards") for n in ("1,000", "10,000"))
    shards = TOKENS * 4 * SHAPES["125M"][0] / _SHARD
    whole = _hours(shards**2 / 2 * many / 10_000 / 1e3)
    lines.append(
        f"| listing a shard in the manifest | the driver | {few:.0f} ms at 1,000 shards, "
        f"{many:.0f} ms at 10,000 | {whole} in all for {shards:,.0f}, a billion rows of tokens |"
    )
    return "\n".join([*lines, ""])


def _values(path: Path) -> Callable[[str], float]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]

    def value(name: str) -> float:
        row = record.find(rows, "scale", name)
        return float("nan") if row is None or row["value"] is None else float(row["value"])

    return value


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if math.isnan(hours):
        return "not measured yet"
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def _bytes(size: float) -> str:
    if math.isnan(size):
        return "not measured yet"
    return f"{size / 1e12:.1f} TB" if size >= 1e12 else f"{size / 1e9:,.0f} GB"


def _count(rate: float) -> str:
    return f"{rate / 1e6:,.1f} million" if rate >= 1e6 else f"{rate:,.0f}"
