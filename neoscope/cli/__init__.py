"""The command line: one command a file; each parses, calls the library and prints."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from neoscope.cli import signals

if TYPE_CHECKING:
    from neoscope.cli.root import app as app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the ``neoscope`` script calls this.

    The commands are imported here and not above: Ctrl-C may come while they are.
    """
    signals.listen()
    if os.environ.get("NO_COLOR"):
        os.environ.pop("FORCE_COLOR", None)  # of the two, the one that is safe in files holds
    try:
        try:
            from neoscope.cli import root
        except Exception as error:
            _without_commands(error)
        root.main()
    except KeyboardInterrupt:  # before a command began, or after it ended
        signals.leave()


def _without_commands(error: Exception) -> NoReturn:
    """Name the package that keeps the commands from being imported; the doctor needs none."""
    from neoscope.doctor.culprit import culprit_of

    culprit = culprit_of(error)
    if culprit is None:
        raise error
    sys.stderr.write(f"error: {culprit}; python -m neoscope.doctor says more\n")
    if sys.argv[1:] == ["doctor"]:
        from neoscope.doctor.__main__ import main as examine

        sys.exit(examine())
    sys.exit(1)


def __getattr__(name: str) -> Any:
    """Import the commands when they are asked for."""
    if name == "app":
        from neoscope.cli.root import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
