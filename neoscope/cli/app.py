"""The command line's root: which commands there are, and how errors look."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from neoscope import __version__
from neoscope.cli import (
    attribute,
    cache,
    demo,
    evaluate,
    export,
    heads,
    info,
    lens,
    neurons,
    organism,
    patch,
    probe,
    report,
    run,
    verify,
)
from neoscope.cli.export_words import in_options
from neoscope.errors import NeoscopeError
from neoscope.unseen import UnseenWordWarning


class _Root(TyperGroup):
    """Turns errors into one line and exit code 1; ``--debug`` shows where they come from."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let ``--debug`` stand anywhere: one adds it to a command that has just failed."""
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            rest = [arg for i, arg in enumerate(args) if arg != "--debug" or i >= end]
            # Alone it must not hide that a command is missing.
            args = ["--debug", *rest] if rest else rest
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            with _plain_warnings():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _complain(str(interrupt) or "interrupted; a file is written whole or not at all")
            raise typer.Exit(130) from None
        except Exception as error:
            # Typer's own: wrong usage, and the ends of a command. It also ends on a closed pipe.
            own = hasattr(error, "exit_code") or isinstance(error, typer.Abort | BrokenPipeError)
            if own or ctx.params.get("debug"):
                raise
            _complain(f"error: {_in_its_options(_message(error), ctx)}")
        raise typer.Exit(1)


def _message(error: Exception) -> str:
    if isinstance(error, NeoscopeError):
        return " ".join(str(error).split())
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(
        words in said.lower() for words in ("out of memory", "allocate memory")
    ):
        return f"not enough memory ({said[:120]}); try --dtype bfloat16 or a smaller model"
    return (
        f"unexpected {type(error).__name__}: {said}; this looks like a bug in neoscope: add "
        "--debug to see where"
    )


def _in_its_options(message: str, ctx: Any) -> str:
    """Return a message on texts in the options of the command that failed, and no others."""
    command = getattr(ctx.command, "commands", {}).get(ctx.invoked_subcommand)
    known = {name for one in getattr(command, "params", ()) for name in one.opts}
    for given, option in (("prepend_bos=True", "--prepend-bos"), ("truncate=True", "--truncate")):
        if option in known:
            message = message.replace(given, option)
    return re.sub(r"; truncate=True keeps the first \d+", "", message)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Let neoscope's own warnings be one line, as errors are, without the place in the code."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if category.__module__.partition(".")[0] == "neoscope":
                said = in_options(" ".join(str(message).split()))
                _complain(f"warning: {said}", typer.colors.YELLOW)
            else:
                usual(message, category, *where, **more)

        warnings.simplefilter("always", UnseenWordWarning)
        warnings.showwarning = show
        yield


def _complain(line: str, colour: str = typer.colors.RED) -> None:
    plain = bool(os.environ.get("NO_COLOR"))
    typer.echo(line if plain else typer.style(line, fg=colour), err=True)


app = typer.Typer(
    cls=_Root,
    name="neoscope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look inside GPT-Neo: cache any activation, check every site, export features.",
)


def _version(show: bool) -> bool:
    if show:
        typer.echo(f"neoscope {__version__}")
        raise typer.Exit
    return show


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Look inside GPT-Neo: cache any activation, check every site, export features."""


app.command("attribute")(attribute.attribute)
app.command("heads")(heads.heads)
app.command("info")(info.info)
app.command("cache")(cache.cache)
app.command("demo")(demo.demo)
app.command("eval")(evaluate.evaluate)
app.command("export")(export.export)
app.command("neurons")(neurons.neurons)
app.command("lens")(lens.lens)
app.command("patch")(patch.patch)
app.command("report")(report.report)
app.command("run")(run.run)
app.command("verify")(verify.verify)
app.add_typer(organism.app, name="organism")
app.add_typer(probe.app, name="probe")


def main() -> None:
    """Run the command line; the ``neoscope`` script calls this."""
    for stream in (sys.stdout, sys.stderr):
        # Where the terminal has no such letter, "?" stands in for it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
