"""Writes the page of the command line from the commands themselves: ``{{ commands() }}``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx


def commands() -> str:
    """Return the Markdown of every command: usage, help, arguments and options."""
    import typer.main

    from neoscope.cli.root import app

    return "\n".join(_command(typer.main.get_command(app), "neoscope"))


def _command(command: Any, path: str) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    if path != "neoscope":
        yield f"({path.replace(' ', '-')})="
        yield f"{'#' * (path.count(' ') + 1)} {path}"
    yield f"\n```console\n$ {' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    for line in (command.help or "").split("\n"):
        yield _text(line)
    for panel, options in _panels(command, context).items():
        yield f"\n**{panel}**\n"
        yield ":::{list-table}"
        yield ":widths: 35 65"
        yield ":class: options\n"
        for names, said in options:
            yield f"* - {names}"
            yield f"  - {said}"
        yield ":::\n"
    known = getattr(command, "commands", {})
    for name in sorted(known):
        yield from _command(known[name], f"{path} {name}")


def _panels(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the options by the headings under which ``--help`` shows them."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for one in command.params:
        record = one.get_help_record(context)
        if record is None:
            continue
        argument = one.param_type_name == "argument"
        panel = getattr(one, "rich_help_panel", None) or ("Arguments" if argument else "Options")
        panels.setdefault(panel, []).append((_names(record[0]), _text(" ".join(record[1].split()))))
    return panels


def _names(record: str) -> str:
    """Return an option's names as code, and what it takes in italics."""
    words = record.split(" ")
    names = [word for word in words if word.startswith("-") or word in "/,"]
    takes = " ".join(words[len(names) :]).strip("<>") if names else ""
    takes = takes.removeprefix("list[").removesuffix("]")
    shown = " ".join(f"`{name}`" if name.startswith("-") else name for name in names)
    return f"{shown} *{_text(takes)}*" if takes else shown or f"`{words[0]}`"


def _text(line: str) -> str:
    """Return a line of help as Markdown that shows the same letters."""
    for letter in "\\*_[]<>{}":
        line = line.replace(letter, f"\\{letter}")
    return line


def setup(app: Sphinx) -> dict[str, bool]:
    """Let the pages call it."""
    app.setup_extension("public_names")
    app.config.reference_functions["commands"] = commands
    return {"parallel_read_safe": True}
