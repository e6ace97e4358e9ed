"""``neoscope organism eval``: can the model do what the organism was trained to do?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neoscope.cli.options import Device, Dtype, Json, load_model, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from neoscope.model import HookedGPTNeo
    from neoscope.organism.gates import GateReport


def evaluate(
    n: Annotated[int, typer.Option("--n", help="Sentences of each task.")] = 1000,
    seed: Annotated[int, typer.Option(help="Another seed gives other sentences.")] = 0,
    model: Annotated[
        str,
        typer.Option(help="A bundled model or a folder; its vocabulary must be the organism's."),
    ] = "organism",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure every gate now, on sentences that training never saw.

    Exits with 1 if a gate fails.
    """
    from neoscope.organism.compiled.truth import check_count

    check_count(n)
    began = time.perf_counter()
    loaded = load_model(model, revision=None, dtype=Dtype.float32, device=device, quiet=as_json)
    report = _measure(loaded, n, seed, quiet=as_json)
    record = report.record()
    if as_json:
        print_json({"model": model, "n": n, "seed": seed, **record})
    else:
        _show(model, record, time.perf_counter() - began)
    if not report.ok:
        raise typer.Exit(1)


def _measure(model: HookedGPTNeo, n: int, seed: int, *, quiet: bool) -> GateReport:
    from rich.console import Console

    from neoscope.organism.gates import measure

    # Where stderr is no terminal, a status shows nothing.
    with Console(stderr=True, quiet=quiet).status("measuring") as status:
        return measure(model, n=n, seed=seed, progress=lambda x: status.update(f"measuring {x}"))


def _show(model: str, record: Mapping[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(gate_table(record["gates"]), highlight=False)
    failed = sum(not gate["holds"] for gate in record["gates"])
    said = f"{failed} of {len(record['gates'])} gates FAIL" if failed else "all gates hold"
    n = record["gates"][0]["n"]
    console.print(Text(f"{model}: {said} ({n} sentences a task, {seconds:.0f} s)"), soft_wrap=True)


def gate_table(gates: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table of gates, given as plain values; it fits into 80 columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("task", "what was measured", "value", "gate", ""):
        figure = column in ("value", "gate")
        wide = column == "what was measured"
        table.add_column(column, justify="right" if figure else "left", no_wrap=not wide)
    before = None
    for gate in gates:
        sign = ">=" if gate["at_least"] else "<="
        table.add_row(
            "" if gate["task"] == before else gate["task"],
            Text(gate["figure"]),
            f"{gate['value']:.4f}",
            f"{sign} {gate['gate']:g}",
            Text("ok", "green") if gate["holds"] else Text("FAIL", "bold red"),
        )
        before = gate["task"]
    return table
