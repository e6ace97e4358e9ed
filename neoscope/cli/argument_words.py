"""What the library says about its arguments, in the words of the command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from neoscope.errors import NeoscopeError

_OPTIONS = {
    "dtype": "--feature-dtype",
    "file_format": "--format",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "keep",
            "max_length",
            "normalize",
            "on_error",
            "overlap",
            "pool",
            "positions",
            "prepend_bos",
            "truncation",
        )
    },
}
_ARGUMENT = re.compile(rf"\b({'|'.join(_OPTIONS)})=('[^']*'|\[[^\]]*\]|[\w-]+)?")

_DIFFERENCE = re.compile(
    r"\b(?:spec\.)?(\w+): the folder has (.*?), now (.*?)(?=; [\w.]+: the folder has|$)"
)
_OF_SPEC = {**_OPTIONS, "sites": "--sites", "layers": "--layers"}


def in_options(message: str) -> str:
    """Return a message about the library's arguments in the words of the command line.

    Example:
        >>> in_options("on_error='skip' leaves such rows out")
        '--on-error skip leaves such rows out'
        >>> in_options("spec.pool: the folder has ['mean'], now ['last']")
        '--pool: the folder has mean, now last'
    """

    def option(match: re.Match[str]) -> str:
        value = re.sub(r"['\[\]\s]", "", match[2] or "")
        shown = "" if value == "True" else value
        return f"{_OPTIONS[match[1]]} {shown}".rstrip()

    message = message.removesuffix("; a text itself is given in a list")
    message = message.replace("; a text itself is given in a list;", ";")
    # Errors are one line here; what was a list becomes one in words.
    message = message.replace(":\n  ", ": ").replace("\n  ", "; ")
    return _ARGUMENT.sub(option, _DIFFERENCE.sub(_difference, message))


def _difference(match: re.Match[str]) -> str:
    """How a folder's manifest differs from that of the run, where an option made the difference."""
    if match[1] not in _OF_SPEC:
        return match[0]
    unsaid = "all" if match[1] == "layers" else "none"
    before, now = (
        unsaid if value == "None" else re.sub(r"['\[\]\s]", "", value)
        for value in (match[2], match[3])
    )
    return f"{_OF_SPEC[match[1]]}: the folder has {before}, now {now}"


@contextlib.contextmanager
def errors_in_options() -> Iterator[None]:
    """Let what the library says against its arguments name options instead."""
    try:
        yield
    except NeoscopeError as error:
        if (said := in_options(str(error))) == str(error):
            raise
        raise type(error)(said) from error
