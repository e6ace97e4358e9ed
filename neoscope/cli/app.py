"""The command line's root: which commands there are, and how errors look."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from neoscope import __version__
from neoscope.cli import cache, info, verify
from neoscope.errors import NeoscopeError


class _Root(TyperGroup):
    """Turns errors that the library raises on purpose into one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except NeoscopeError as error:
            if ctx.params.get("debug"):
                raise
            message = " ".join(str(error).split())
            typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
        except KeyboardInterrupt:
            typer.secho("interrupted; nothing was written", fg=typer.colors.RED, err=True)
            raise typer.Exit(130) from None
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Root,
    name="neoscope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look inside GPT-Neo: cache any activation, check every site, on any checkpoint.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"neoscope {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Look inside GPT-Neo: cache any activation, check every site, on any checkpoint."""


app.command("info")(info.info)
app.command("cache")(cache.cache)
app.command("verify")(verify.verify)


def main() -> None:
    """Run the command line; the ``neoscope`` script calls this."""
    # A closed pipe (`neoscope info | head`) is no error of ours.
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
