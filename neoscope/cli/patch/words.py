"""What the library says of a patching experiment, in the words of the command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from neoscope.cli.patch.pairs import Given
from neoscope.errors import NeoscopeError

_NAMES = (
    "answer", "baseline", "batch_tokens", "clean", "corrupted", "direction", "heads", "keys",
    "layers", "metric_positions", "positions", "prepend_bos", "site", "source", "units", "wrong",
)  # fmt: skip
_ARGUMENT = re.compile(rf"(?<![\w.-])({'|'.join(_NAMES)})=('[^']*'|\"[^\"]*\"|\[[^\]]*\]|[\w-]+)?")
_ROWS = re.compile(r"\n +(clean|corrupted) +([^\n]*)(?:\n +\^[^\n]*)?")


def in_options(message: str) -> str:
    """Return a message about the library's arguments in the words of the command line.

    Example:
        >>> in_options("batch_tokens=3 does not hold one prompt")
        '--batch-tokens 3 does not hold one prompt'
    """

    def option(match: re.Match[str]) -> str:
        value = re.sub(r"[\[\]\s]", "", match[2]) if (match[2] or "")[:1] == "[" else match[2] or ""
        shown = "" if value == "True" else value
        return f"--{match[1].replace('_', '-')} {shown}".rstrip()

    # Errors are one line here, where a mark below a row of tokens would point at nothing.
    message = _ROWS.sub(r"; \1: \2", message).replace("\nAt token", "; at token")
    message = message.replace(", or accept it with minimum=", "")
    return " ".join(_ARGUMENT.sub(option, message).split())


@contextlib.contextmanager
def errors_in_options(given: Given | None = None) -> Iterator[None]:
    """Let what the library says against its arguments name options, and lines of a file."""
    try:
        yield
    except NeoscopeError as error:
        said = in_options(str(error) if given is None else given.placed(str(error)))
        if said == str(error):
            raise
        raise type(error)(said) from error
