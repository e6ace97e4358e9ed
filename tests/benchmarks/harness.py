"""Contests between neoscope and its peers: alternated in one process, agreement checked first."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from tests.benchmarks import memory

Work = Callable[[], object]
_LONG = 10.0
"""Seconds of one turn of all contenders, from which on the first turn counts."""


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    repeats: int | None = None
    """Rounds; None for as many as each row takes by itself."""
    threads: int = 2
    quick: bool = False
    """Tiny shapes: shows that a benchmark runs, says nothing about speed."""
    device: str = "cpu"
    corpus: Path | None = None
    """A .csv file of texts for the benchmarks that read text; None for texts made here."""
    tokenizer: Path | None = None
    """A folder with the tokenizer's files for them; None for the bundled organism's."""
    treebank: Path | None = None
    """A CoNLL-U file for the row that reads one."""
    pairs: Path | None = None
    """BLiMP's JSON lines for the row that reads them."""
    slow: bool = False
    """Also rows that take more than five minutes."""

    def rounds(self, usual: int) -> int:
        """Return how often a row is timed that is usually timed so often."""
        return self.repeats or (1 if self.quick else usual)


@dataclass(frozen=True)
class Contest:
    """One piece of work that neoscope and its peers do."""

    name: str
    unit: str
    """How much work one call is, e.g. ``"8 x 256 tokens"``."""
    ours: Work
    peers: Mapping[str, Work]
    """The first is the one whose answer ours must agree with."""
    error: Callable[[], float]
    """Disagreement of ours with the first peer, relative to the largest value."""
    tolerance: float
    flops: float | None = None
    """Floating-point operations of one call's matrix products."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    folds: Mapping[str, float] = field(default_factory=dict)
    """Of peers that do but an even part of the work: how many times that part the whole is."""
    rounds: int = 5
    needs: str = ""
    """The option that is missing, without which it is not run."""


@dataclass(frozen=True)
class Figure:
    """One number that is not a race, such as bytes or a start time."""

    name: str
    unit: str
    measure: Callable[[], float | None]
    """None where there is nothing to measure yet."""
    slow: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Point:
    """What one amount of work took, in a process of its own."""

    work: int
    seconds: float
    peak: int | None
    """Bytes, of the whole process."""


@dataclass(frozen=True)
class Growth:
    """Time and memory of more and more of the same work."""

    name: str
    unit: str
    works: Sequence[int]
    measure: Callable[[int], Point]
    needs: str = ""


Row = Contest | Figure | Growth


@dataclass(frozen=True)
class Result:
    """What was measured for one row."""

    name: str
    unit: str
    value: float | None = None
    """Median seconds of ours, or a figure's value."""
    ratios: dict[str, float] = field(default_factory=dict)
    """Per peer: median over the rounds of its time over ours."""
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Per peer: the smallest and the largest ratio of a round."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Every time measured, ours under ``"neoscope"``; scaled up where only a part was run."""
    peak: dict[str, int] = field(default_factory=dict)
    """Bytes by which the process grew in one call, ours under ``"neoscope"``."""
    error: float | None = None
    tolerance: float | None = None
    share: float | None = None
    """Part of the machine's measured matrix-product rate that ours reached."""
    points: tuple[Point, ...] = ()
    not_run: str = ""
    """Why it was not."""
    load: float | None = None
    """Of the machine, over the minute before."""

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


def race(
    works: Mapping[str, Work], settings: Settings, rounds: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Time each work once a round, every second round in reverse order, after one warm-up.

    A turn so long that warming up is no part of it worth a word counts as the first round.

    Returns:
        The seconds of every round, and the bytes by which the process grew in the first.
    """
    first = {name: seconds(work, settings.device) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    if sum(first.values()) > _LONG:
        times = {name: [once] for name, once in first.items()}
    peaks: dict[str, int] = {}
    for turn in range(rounds - len(next(iter(times.values())))):
        for name in list(works) if turn % 2 == 0 else reversed(list(works)):
            before = memory.begin() if turn == 0 else None
            times[name].append(seconds(works[name], settings.device))
            if before is not None:
                peaks[name] = memory.peak() - before
    return times, peaks


def measure(row: Row, settings: Settings, rates: Mapping[str, float]) -> Result:
    """Check a row's agreement, then time it.

    Args:
        row: What to measure.
        settings: Repeats and device.
        rates: The machine's matrix-product rate by dtype, in operations a second.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if row.needs:
        return Result(row.name, row.unit, not_run=f"needs {row.needs}")
    if isinstance(row, Growth):
        points = tuple(row.measure(work) for work in row.works)
        return Result(row.name, row.unit, points=points, load=load)
    if isinstance(row, Figure):
        if row.slow and not settings.slow:
            return Result(row.name, row.unit, not_run="needs --slow")
        return Result(row.name, row.unit, row.measure(), load=load)
    with torch.inference_mode():
        known: dict[str, Any] = {
            "error": row.error(), "tolerance": row.tolerance, "load": load
        }  # fmt: skip
        if not known["error"] <= row.tolerance:
            return Result(row.name, row.unit, **known)  # a wrong answer is not timed
        works = {"neoscope": row.ours, **row.peers}
        times, peaks = race(works, settings, settings.rounds(row.rounds))
    times = {name: [t * row.folds.get(name, 1) for t in some] for name, some in times.items()}
    ours = times["neoscope"]
    ratios = {name: [t / o for t, o in zip(times[name], ours, strict=True)] for name in row.peers}
    value, rate = statistics.median(ours), rates.get(row.dtype)
    return Result(
        row.name,
        row.unit,
        value,
        ratios={name: statistics.median(some) for name, some in ratios.items()},
        spread={name: (min(some), max(some)) for name, some in ratios.items()},
        seconds=times,
        peak=peaks,
        share=row.flops / value / rate if row.flops and rate else None,
        **known,
    )
