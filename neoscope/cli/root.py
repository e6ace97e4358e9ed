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
from neoscope.cli import demo, doctor, info, report, signals
from neoscope.cli.argument_words import in_options
from neoscope.cli.attribute.command import attribute
from neoscope.cli.cache.command import cache
from neoscope.cli.evaluate.command import evaluate
from neoscope.cli.export.command import export
from neoscope.cli.heads.command import heads
from neoscope.cli.lens.command import lens
from neoscope.cli.neurons.command import neurons
from neoscope.cli.organism.command import app as organism
from neoscope.cli.patch.command import patch
from neoscope.cli.probe.command import app as probe
from neoscope.cli.run.command import run
from neoscope.cli.verify.command import verify
from neoscope.doctor.culprit import culprit_of
from neoscope.errors import ArgumentError, CheckpointError, NeoscopeError, SiteError
from neoscope.unseen import UnseenWordWarning

_WRONG_USE = (ArgumentError, SiteError)
"""What was asked for means nothing or does not exist: exit status 2, as for an unknown option."""

_CLOSED_PIPE = 128 + 13
"""What a shell shows for a program which SIGPIPE ended."""


class _Root(TyperGroup):
    """Turns errors into one line and an exit status; ``--debug`` shows where they come from.

    The status is 2 for wrong use, 1 for work that failed, and 130 or 143 for an interruption.
    """

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
            raise typer.Exit(signals.status()) from None
        except Exception as error:
            # Typer's own: wrong usage, and the ends of a command. It also ends on a closed pipe.
            own = hasattr(error, "exit_code") or isinstance(error, typer.Abort | BrokenPipeError)
            if own or ctx.params.get("debug"):
                raise
            said = _in_its_options(_message(error), ctx)
            _complain(f"error: {said}")
            wrong = _is_wrong_use(error, said)
        raise typer.Exit(2 if wrong else 1)


def _is_wrong_use(error: Exception, said: str) -> bool:
    """Whether the command has to be written otherwise.

    Something that it names is not there, or the error says first which option cannot be so.
    """
    if isinstance(error, NeoscopeError) and said.startswith("--"):
        return True
    no_file = isinstance(error.__cause__, FileNotFoundError)
    return isinstance(error, _WRONG_USE) or (no_file and not isinstance(error, CheckpointError))


def _message(error: Exception) -> str:
    if isinstance(error, NeoscopeError):
        return " ".join(str(error).split())
    culprit = None if isinstance(error, MemoryError) else culprit_of(error)
    if culprit is not None:
        return f"{culprit}; neoscope doctor says more"
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
    """Return a message on arguments in the options of the command that failed, and no others."""
    command = getattr(ctx.command, "commands", {}).get(ctx.invoked_subcommand)
    known = {name for one in getattr(command, "params", ()) for name in one.opts}

    def option(match: re.Match[str]) -> str:
        name = f"--{match[1].replace('_', '-')}"
        found = next((one for one in (name, name.removesuffix("s")) if one in known), None)
        if found is None:
            return match[0]
        return found if match[2] == "True" else f"{found} {match[2]}"

    message = re.sub(r"\b([a-z]\w*)=('[^']*'|[\w.-]+)", option, message)
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
    epilog="After any command too: --debug shows the traceback of an error.",
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


# In the order of ``--help``: a first look, what goes on inside, whole corpora, judging.
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("info")(info.info)
app.command("run")(run)
app.command("cache")(cache)
app.command("lens")(lens)
app.command("heads")(heads)
app.command("attribute")(attribute)
app.command("neurons")(neurons)
app.command("patch")(patch)
app.add_typer(probe, name="probe")
app.command("export")(export)
app.command("eval")(evaluate)
app.command("report")(report.report)
app.command("verify")(verify)
app.add_typer(organism, name="organism")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # Where the terminal has no such letter, "?" stands in for it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except SystemExit as end:
        # rich and typer each end on a closed pipe with 1, as if the work had failed.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(_CLOSED_PIPE)
        raise
