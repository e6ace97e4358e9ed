"""``neoscope verify``: is every site causal, and does the model equal transformers' own?"""

from __future__ import annotations

import time
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    load_model,
    print_json,
)
from neoscope.cli.spelling import one_of

if TYPE_CHECKING:
    from neoscope.contract_report import ContractReport


class Layers(StrEnum):
    """Which layers are written to."""

    kinds = "kinds"
    all = "all"


def verify(
    model: Model = "organism",
    revision: Revision = None,
    layers: Annotated[
        Layers,
        typer.Option(
            "--layers",
            "--layer",
            **one_of(Layers),
            help="Write to the first and last layer of each kind, or to all.",
        ),
    ] = Layers.kinds,
    published: Annotated[
        bool,
        typer.Option("--published", help="Instead compare with figures published of gpt-neo."),
    ] = False,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Check the site contract on a checkpoint, and its numbers against transformers.

    With --published: is it the checkpoint that it is said to be? Exits with 1 if a check fails.
    """
    if published:
        from neoscope.cli.verify.published import verify_published

        loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
        verify_published(loaded, as_json=as_json)
        return
    from rich.console import Console
    from rich.progress import Progress

    from neoscope.contract import check
    from neoscope.contract_report import ContractReport
    from neoscope.parity import compare

    began = time.perf_counter()
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    console = Console(stderr=True, quiet=as_json)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sites", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        report = check(loaded, layers=layers.value, progress=show)
        progress.update(task, description="transformers")
        parity = compare(loaded, model, revision=revision)
    report = ContractReport(model, dtype.value, (*report.checks, *parity))
    if as_json:
        facts = {"model": model, "dtype": dtype.value, "ok": report.ok}
        checks = [asdict(row) for row in report.checks]
        print_json(facts | {"checks": checks})
    else:
        _show(report, time.perf_counter() - began)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: ContractReport, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(f"{report.model} in {report.dtype}"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("check", "of", "worst", "must be", ""):
        table.add_column(column, justify="left" if column in ("check", "") else "right")
    for what, n, failed, worst, limit in report.summary():
        verdict = Text(f"{failed} failed", "bold red") if failed else Text("ok", "green")
        table.add_row(what, str(n), f"{worst:.2g}", _limit(what, limit), verdict)
    console.print(table, highlight=False)
    notes = {row.note: 0 for row in report.checks if row.note}
    for row in report.checks:
        if row.note:
            notes[row.note] += 1
    for note, n in notes.items():
        console.print(f"note: {n} x {note}", highlight=False, markup=False)
    for row in report.failures:
        text = (
            f"FAILED {row.what}: {row.site}: {row.error:.3g}, must be {_limit(row.what, row.limit)}"
        )
        console.print(Text(text, "red"))
    result = "every site is causal" if report.ok else "NOT to be trusted"
    console.print(f"{len(report.checks)} checks in {seconds:.0f} s: {result}", highlight=False)


def _limit(what: str, limit: float) -> str:
    if what in ("moves what follows", "gradient"):
        return "> 0"
    return f"<= {limit:.0e}" if limit else "0"
