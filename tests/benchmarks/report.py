"""The table that a benchmark prints when it is done."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.benchmarks import targets
from tests.benchmarks.harness import Result
from tests.benchmarks.record import met


def show(console: Console, benchmark: str, title: str, results: Sequence[Result]) -> None:
    """Print one table; a ratio above 1 says that neoscope is the faster one."""
    table = Table(title=title)
    for heading in ("work", "unit"):
        table.add_column(heading)
    for heading in ("ours", "peer / ours", "target", "met", "disagreement", "of matrix rate"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(*_cells(benchmark, result))
    console.print(table)


def _cells(benchmark: str, result: Result) -> tuple[str, ...]:
    error = ""
    if result.error is not None:
        error = f"{result.error:.1e} (<= {result.tolerance:.0e})"
    reached = met(benchmark, result)
    shown = {True: "[green]yes[/]", False: "[yellow]no[/]"}
    return (
        result.name,
        result.unit,
        _ours(result),
        "\n".join(f"{name} {ratio:.2f}" for name, ratio in result.ratios.items()),
        _target(targets.find(benchmark, result.name)),
        shown[all(reached.values())] if reached else "",
        error,
        "" if result.share is None else f"{result.share:.0%}",
    )


def _ours(result: Result) -> str:
    if not result.agrees:
        return "[red]wrong[/]"
    if result.not_run:
        return f"not run: {result.not_run}"
    if result.points:
        return "\n".join(f"{p.work:,}: {p.seconds:.3g} s" for p in result.points)
    if result.value is None:
        return "skipped"
    return f"{result.value:.4g} s" if result.ratios else f"{result.value:.3g}"


def _target(row: targets.Row) -> str:
    said = [f">= {target:g}" for target in row.at_least.values()]
    said += [f">= {row.share:.0%} of rate"] if row.share is not None else []
    return "\n".join(said + ([f"<= {row.at_most:.3g}"] if row.at_most is not None else []))
