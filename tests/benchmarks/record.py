"""The JSON file in which everything measured is kept, written whole after each row.

``{"machine": {...}, "rows": [...]}``. A row says its benchmark, name and unit, the median of our
seconds (or a figure's value), every single time, the peak memory, the agreement, the targets, and
for each peer its package and version, the median ratio and the smallest and largest of the rounds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from neoscope.files import atomic
from tests.benchmarks import targets
from tests.benchmarks.harness import Result

_SPEEDS = ("matrix_rates", "memory_bandwidth")


class OtherMachineError(Exception):
    """The file holds what was measured on something else."""


class Record:
    """What was measured so far; in a file, unless ``path`` is None."""

    def __init__(self, path: Path | None, machine: Mapping[str, Any]) -> None:
        """Open the file or begin one.

        Args:
            path: The file, which need not exist.
            machine: What :func:`machine.describe` says, and its speeds.

        Raises:
            OtherMachineError: The file is of another machine, or of other versions.
        """
        self.path = path
        self.machine = dict(machine)
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            self._go_on(json.loads(path.read_text(encoding="utf-8")))

    def _go_on(self, found: Mapping[str, Any]) -> None:
        then = found["machine"]
        for key, now in self.machine.items():
            if key not in _SPEEDS and then.get(key) != now:
                said = f"{self.path} was measured with {key} {then.get(key)}, not {now}"
                raise OtherMachineError(f"{said}: name another file")
        for name, rate in then["matrix_rates"].items():  # other work may have slowed either down
            self.machine["matrix_rates"][name] = max(rate, self.machine["matrix_rates"][name])
        fastest = max(then["memory_bandwidth"], self.machine["memory_bandwidth"])
        self.machine["memory_bandwidth"] = fastest
        self.rows = found["rows"]

    def has(self, benchmark: str, name: str) -> bool:
        """Whether a row was measured, and rightly."""
        row = find(self.rows, benchmark, name)
        return row is not None and not row["not_run"] and row["agrees"]

    def add(self, benchmark: str, result: Result) -> None:
        """Keep a row in place of what was kept of it, and write the file."""
        row = entry(benchmark, result, self.machine["versions"])
        known = find(self.rows, benchmark, result.name)
        if known is None:
            self.rows.append(row)
        else:
            self.rows[self.rows.index(known)] = row
        if self.path is not None:
            whole = {"machine": self.machine, "rows": self.rows}
            with atomic(self.path) as temporary:
                temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def find(rows: list[dict[str, Any]], benchmark: str, name: str) -> dict[str, Any] | None:
    """Return a row, or None."""
    same = (row for row in rows if (row["benchmark"], row["name"]) == (benchmark, name))
    return next(same, None)


def missing(
    path: Path | None, benchmark: str, only: str = "", given: Collection[str] | None = None
) -> list[str]:
    """Return the known rows of a benchmark that a file does not hold yet.

    Args:
        path: The file; all rows are missing from one that does not exist.
        benchmark: Its name.
        only: Rows whose name contains this.
        given: Options, of which rows that could not be run must need one; None for any rows.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path and path.exists() else []
    names = [row.name for row in targets.ROWS[benchmark] if only in row.name]
    there = {name: find(rows, benchmark, name) for name in names}
    return [
        name
        for name, row in there.items()
        if row is None
        or not row["agrees"]
        or (row["not_run"] and (given is None or row["not_run"].split()[-1] in given))
    ]


def entry(benchmark: str, result: Result, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return a row as the file holds it."""
    row, reached = targets.find(benchmark, result.name), met(benchmark, result)
    peers = {}
    for name, ratio in result.ratios.items():
        _, package = targets.PEERS.get(name, (name, ""))
        peers[name] = {
            "package": package,
            "version": versions.get(package),
            "ratio": ratio,
            "spread": list(result.spread[name]),
            "target": row.at_least.get(name),
            "met": reached.get(name),
            "seconds": result.seconds[name],
            "peak_memory": result.peak.get(name),
        }
    return {
        "benchmark": benchmark,
        "name": result.name,
        "unit": result.unit,
        "value": result.value,
        "at_most": row.at_most,
        "met": reached.get(""),
        "seconds": result.seconds.get("neoscope", []),
        "peak_memory": result.peak.get("neoscope"),
        "matrix_rate": {"share": result.share, "target": row.share, "met": reached.get("rate")},
        "peers": peers,
        "disagreement": result.error,
        "tolerance": result.tolerance,
        "agrees": result.agrees,
        "points": [dataclasses.asdict(point) for point in result.points],
        "not_run": result.not_run,
        "load": result.load,
    }


def met(benchmark: str, result: Result) -> dict[str, bool]:
    """Return by peer whether its target was met; ``"rate"`` for the share, ``""`` for a figure."""
    row = targets.find(benchmark, result.name)
    said = {
        name: result.ratios[name] >= wanted
        for name, wanted in row.at_least.items()
        if name in result.ratios
    }
    if row.share is not None and result.share is not None:
        said["rate"] = result.share >= row.share
    if row.at_most is not None and result.value is not None:
        said[""] = result.value <= row.at_most
    return said
