"""Contests between neoscope and its peers: alternated in one process, agreement checked first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    repeats: int = 7
    threads: int = 2
    quick: bool = False
    """Tiny shapes: shows that a benchmark runs, says nothing about speed."""
    device: str = "cpu"
    corpus: Path | None = None
    """A .csv file of texts for the benchmarks that read text; None for texts made here."""
    tokenizer: Path | None = None
    """A folder with the tokenizer's files for them; None for the bundled organism's."""
    treebank: Path | None = None
    """A CoNLL-U file for the row that reads one; None for the organism's language."""


@dataclass(frozen=True)
class Contest:
    """One piece of work that neoscope and its peers do."""

    name: str
    unit: str
    """How much work one call is, e.g. ``"8 x 256 tokens"``."""
    ours: Work
    peers: Mapping[str, Work]
    """The first is the one that the target is about."""
    error: Callable[[], float]
    """Disagreement of ours with the first peer, relative to the largest value."""
    tolerance: float
    target: float | Mapping[str, float] | None = None
    """At least so many times as fast as the first peer, or as each that is named; None where no
    figure was set."""
    flops: float | None = None
    """Floating-point operations of one call's matrix products."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    min_share: float | None = None
    """At least so much of the machine's matrix-product rate."""
    folds: Mapping[str, float] = field(default_factory=dict)
    """Of peers that do but an even part of the work: how many times that part the whole is."""


@dataclass(frozen=True)
class Figure:
    """One number that is not a race, such as bytes or a start time."""

    name: str
    unit: str
    measure: Callable[[], float | None]
    """None where there is nothing to measure yet."""
    at_most: float | None = None


@dataclass(frozen=True)
class Result:
    """What was measured for one row."""

    name: str
    unit: str
    value: float | None
    """Median seconds of ours, or a figure's value."""
    ratios: dict[str, float] = field(default_factory=dict)
    """Per peer: median over the rounds of its time over ours."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Every time measured, ours under ``"neoscope"``; scaled up where only a part was run."""
    target: str = ""
    met: bool | None = None
    error: float | None = None
    tolerance: float | None = None
    share: float | None = None
    """Part of the machine's measured matrix-product rate that ours reached."""

    @property
    def agrees(self) -> bool:
        """Whether ours gave the peer's answer; false for NaN."""
        return self.error is None or self.tolerance is None or self.error <= self.tolerance


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest absolute difference relative to the largest value of ``theirs``."""
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def seconds(work: Work, device: str) -> float:
    """Time one call, on a GPU until the device is done; what it returns is dropped after."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    kept = work()
    if device != "cpu":
        torch.cuda.synchronize()
    elapsed = time.perf_counter() - start
    del kept
    return elapsed


def race(works: Mapping[str, Work], settings: Settings) -> dict[str, list[float]]:
    """Time each work once a round, every second round in reverse order, after one warm-up."""
    for work in works.values():
        seconds(work, settings.device)
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(settings.repeats):
        for name in list(works) if turn % 2 == 0 else reversed(list(works)):
            times[name].append(seconds(works[name], settings.device))
    return times


def measure(row: Contest | Figure, settings: Settings, rates: Mapping[str, float]) -> Result:
    """Check a row's agreement, then time it.

    Args:
        row: What to measure.
        settings: Repeats and device.
        rates: The machine's matrix-product rate by dtype, in operations a second.
    """
    if isinstance(row, Figure):
        value = row.measure()
        target = "" if row.at_most is None else f"<= {row.at_most:g}"
        met = None if row.at_most is None or value is None else value <= row.at_most
        return Result(row.name, row.unit, value, target=target, met=met)
    with torch.inference_mode():
        known: dict[str, Any] = {"error": row.error(), "tolerance": row.tolerance}
        if not known["error"] <= row.tolerance:
            return Result(row.name, row.unit, None, **known)  # a wrong answer is not timed
        times = race({"neoscope": row.ours, **row.peers}, settings)
    times = {name: [t * row.folds.get(name, 1) for t in some] for name, some in times.items()}
    ours = times["neoscope"]
    ratios = {
        name: statistics.median(t / o for t, o in zip(times[name], ours, strict=True))
        for name in row.peers
    }
    value = statistics.median(ours)
    rate = rates.get(row.dtype)
    share = row.flops / value / rate if row.flops and rate else None
    wanted = row.target
    if wanted is None or isinstance(wanted, float | int):
        wanted = {} if wanted is None else {next(iter(ratios)): wanted}
    said = [f">= {target:g}" for target in wanted.values()]
    met = [ratios[name] >= target for name, target in wanted.items()]
    if row.min_share is not None:
        said.append(f">= {row.min_share:.0%} of rate")
        met.append(share is not None and share >= row.min_share)
    return Result(
        row.name,
        row.unit,
        value,
        ratios=ratios,
        seconds=times,
        target="\n".join(said),
        met=all(met) if met else None,
        share=share,
        **known,
    )
