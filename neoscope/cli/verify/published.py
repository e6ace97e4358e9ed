"""``neoscope verify --published``: a checkpoint beside what others measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from neoscope.cli.options import print_json

if TYPE_CHECKING:
    from neoscope.evaluate import Identity
    from neoscope.model import HookedGPTNeo


def verify_published(model: HookedGPTNeo, *, as_json: bool) -> None:
    """Compare and print.

    Raises:
        typer.Exit: With 1 if a figure differs.
    """
    from neoscope.evaluate import identity

    found = identity(model)
    if as_json:
        rows = found.to_dataframe().to_dict("records")
        facts = {"model": found.model, "published_as": found.published_as, "ok": found.ok}
        print_json(facts | {"message": found.heading(), "figures": rows})
    else:
        _show(found)
    if found.ok is False:
        raise typer.Exit(1)


def _show(found: Identity) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from neoscope.evaluate.published import SHAPES

    console = Console()
    console.print(Text(found.heading()), soft_wrap=True)
    if found.published_as is None:
        sizes = ", ".join(SHAPES)
        console.print(f"nothing was compared; known: gpt-neo in the sizes {sizes}", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", "here", "published", "within", ""):
        table.add_column(column, justify="right" if column else "left")
    for row in found.to_dataframe().to_dict("records"):
        verdict = Text("ok", "green") if row["ok"] else Text("differs", "bold red")
        here, said = _number(row["value"]), _number(row["published"])
        table.add_row(row["what"], here, said, _number(row["within"]), verdict)
    console.print(table, highlight=False)
    for source in dict.fromkeys(found.source):
        console.print(Text(f"published: {source}"), soft_wrap=True)
    same = "it is that checkpoint, or one close to it" if found.ok else "it is NOT that checkpoint"
    console.print(f"as far as these figures tell, {same}", highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
