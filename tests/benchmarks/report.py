"""The table and the JSON file that a benchmark leaves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.harness import Result


def show(console: Console, title: str, results: Sequence[Result]) -> None:
    """Print one table; a ratio above 1 says that neoscope is the faster one."""
    table = Table(title=title)
    for heading in ("work", "unit"):
        table.add_column(heading)
    for heading in ("ours", "peer / ours", "target", "met", "disagreement", "of matrix rate"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(*_cells(result))
    console.print(table)


def _cells(result: Result) -> tuple[str, ...]:
    if not result.agrees:
        ours = "[red]wrong[/]"
    elif result.value is None:
        ours = "skipped"
    else:
        ours = f"{result.value:.4g} s" if result.ratios else f"{result.value:.3g}"
    error = ""
    if result.error is not None:
        error = f"{result.error:.1e} (<= {result.tolerance:.0e})"
    met = {None: "", True: "[green]yes[/]", False: "[yellow]no[/]"}[result.met]
    return (
        result.name,
        result.unit,
        ours,
        "\n".join(f"{name} {ratio:.2f}" for name, ratio in result.ratios.items()),
        result.target,
        met,
        error,
        "" if result.share is None else f"{result.share:.0%}",
    )


def save(
    path: Path, benchmark: str, machine: Mapping[str, object], results: Sequence[Result]
) -> None:
    """Write everything measured, every single time included."""
    rows = [{**dataclasses.asdict(result), "agrees": result.agrees} for result in results]
    record = {"benchmark": benchmark, "machine": dict(machine), "rows": rows}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
