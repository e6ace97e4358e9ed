"""``neoscope demo``: everything neoscope does, once, with what to open next."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Revision,
    print_json,
    torch_device,
    torch_dtype,
)

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.demo import Demo, Step

_PIPED = 80
ModelOption = Annotated[
    str,
    typer.Option("--model", help="'organism', the bundled model; a hub id, a folder or a file."),
]
Out = Annotated[
    Path,
    typer.Option(help="The folder to write; an earlier demonstration in it is replaced."),
]
Seed = Annotated[int, typer.Option(help="Of every choice.")]
Count = Annotated[int, typer.Option("--n", "-n", min=50, help="Sentences exported.")]


def demo(
    model: ModelOption = "organism",
    out: Out = Path("demo"),
    seed: Seed = 0,
    n: Count = 1000,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Cache, find heads, patch, probe, export, classify, draw and report, on one model.

    On the bundled model every finding stands beside its truth card.
    """
    from neoscope import demo as library

    # Before torch is imported: a folder that cannot be used costs no time.
    library.check(out.expanduser().absolute())
    from rich.console import Console

    options: dict[str, Any] = {
        "revision": revision,
        "dtype": torch_dtype(dtype),
        "device": torch_device(device),
    }
    out_console = Console(highlight=False, markup=False)
    if not out_console.is_terminal and "COLUMNS" not in os.environ:
        out_console = Console(width=_PIPED, highlight=False, markup=False)
    err = Console(stderr=True, quiet=as_json)
    titles = list(library.STEPS.values())
    with err.status(titles[0]) as status:

        def progress(done: int, total: int) -> None:
            if done < total:
                status.update(titles[done])

        def finished(step: Step) -> None:
            if not as_json:
                _show(out_console, step)

        found = library.run(
            model, out, seed=seed, n=n, progress=progress, finished=finished, **options
        )
    if as_json:
        print_json(found.to_dict())
    else:
        _next(out_console, found)
    if found.failed:
        raise typer.Exit(1)


def _show(console: Console, step: Step) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from neoscope.cli.table import new_table, visible

    head = Table.grid(expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right", no_wrap=True)
    head.add_row(Text(step.title, "bold"), Text(f"{step.seconds:.1f} s", "dim"))
    console.print(head)
    for line in step.lines:
        console.print(Padding(Text(visible(line), overflow="fold"), (0, 0, 0, 2)))
    if step.rows:
        right = {name for i, name in enumerate(step.columns) if _are_numbers(step.rows, i)}
        table = new_table([(name, "right" if name in right else "left") for name in step.columns])
        for row in step.rows:
            table.add_row(*row)
        console.print(Padding(table, (0, 0, 0, 2)))
    if step.verdict:
        console.print(Padding(Text(step.verdict, overflow="fold"), (0, 0, 0, 2)))
    console.print()


def _are_numbers(rows: Any, i: int) -> bool:
    return all(row[i].replace(".", "").replace(" ", "").replace("-", "").isdigit() or not row[i]
               for row in rows)  # fmt: skip


def _next(console: Console, found: Demo) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(f"done in {found.seconds:.0f} s; what to open next:")
    grid = Table.grid(padding=(0, 2))
    folder = found.folder
    for path, what in (
        (folder / "report.html", "in a browser: everything at a glance"),
        (folder / "figures", "each figure as a page of its own"),
        (folder / "features", "vectors of sentences, as Parquet files"),
        (folder / "probe", "probes.load(...): the best probe"),
        (folder / "run.safetensors", "neoscope.ActivationCache.load(...): every layer"),
    ):
        if path.exists():
            grid.add_row("", Text(str(path), overflow="fold"), Text(what, overflow="fold"))
    console.print(grid)
    if (folder / "features").exists():
        pattern = (folder / "features" / "*.parquet").as_posix()
        # Lines to be pasted: nothing may break them.
        console.print(
            "\nthe features, as a table:\n  import pandas; from glob import glob\n"
            f"  pandas.read_parquet(sorted(glob({json.dumps(pattern, ensure_ascii=False)})))",
            soft_wrap=True,
        )
