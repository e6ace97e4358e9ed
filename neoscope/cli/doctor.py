"""``neoscope doctor``: what is installed here, what works, and what is missing for what."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer

from neoscope.cli.options import Json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.doctor import Checkup, Fact

_COLOURS = {"ok": "", "note": "yellow", "missing": "yellow", "broken": "red"}


def doctor(as_json: Json = False) -> None:
    """Show versions, devices, threads, extras, the cache, and what is missing for what.

    Nothing is fetched. The exit status is 1 where something broken keeps models from running.
    """
    from neoscope.doctor import check, plain

    with contextlib.ExitStack() as spinning:
        try:
            from rich.console import Console

            console = Console(highlight=False, markup=False)
            spinner = Console(stderr=True, quiet=as_json)
            spinning.enter_context(spinner.status("importing torch, running the bundled model"))
        except Exception:  # rich is broken: the report says so, in plain lines
            console = None
        found = check()
    if as_json:
        print_json(found.to_dict())
    elif console is None or not console.is_terminal:
        typer.echo("\n".join(plain.lines(found)))
    else:
        _show(console, found)
    if not found.ok:
        raise typer.Exit(1)


def _show(console: Console, found: Checkup) -> None:
    from rich.table import Table
    from rich.text import Text

    from neoscope.doctor.plain import HEADINGS, WELL

    for group in found.groups:
        console.print(Text(group, "bold"))
        grid = Table.grid(padding=(0, 2))
        for fact in found.group(group):
            value = Text(fact.value, _COLOURS[fact.state], overflow="fold")
            if fact.state != "ok":
                value.append(f" [{fact.state}]")
            about = Text(fact.purpose, "dim") if group == "extras" else Text()
            grid.add_row("", Text(fact.name), value, about)
        console.print(grid)
    for state, heading in HEADINGS.items():
        _list(console, heading, found.in_state(state))
    if not found.in_state("broken"):
        console.print(Text(f"\n{WELL}", "bold"))


def _list(console: Console, heading: str, facts: tuple[Fact, ...]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if not facts:
        return
    console.print(Text(f"\n{heading}", "bold"))
    for fact in facts:
        about = f"{fact.name}: {fact.value}" if fact.state != "missing" else fact.name
        console.print(Padding(Text(f"{about}; for {fact.purpose}", overflow="fold"), (0, 0, 0, 2)))
        # A command to be pasted: nothing may break it.
        console.print(Text(f"    {fact.cure}"), soft_wrap=True)
