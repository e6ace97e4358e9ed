"""What generation says about its arguments, in the words of ``neoscope run``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from neoscope.errors import NeoscopeError

_OPTIONS = {
    "stop_strings": "--stop",
    "num_return_sequences": "--n",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "do_sample", "early_stopping", "length_penalty", "max_length", "max_new_tokens",
            "min_length", "min_new_tokens", "min_p", "no_repeat_ngram_size", "num_beams",
            "repetition_penalty", "seed", "temperature", "top_k", "top_p", "typical_p",
        )
    },
}  # fmt: skip
_NAMED = re.compile(rf"`({'|'.join(_OPTIONS)})(?:=(\w+)|>(\d+))?`")


def in_options(message: str) -> str:
    """Return a message about the library's arguments in the words of the command line.

    Example:
        >>> in_options("You should set `do_sample=True` or unset `top_k`.")
        'You should set --do-sample or unset --top-k.'
    """

    def option(match: re.Match[str]) -> str:
        value = "" if match[2] in (None, "True") else f" {match[2]}"
        return f"{_OPTIONS[match[1]]}{value}{f' above {match[3]}' if match[3] else ''}"

    needless = re.search(r"^`?(\w+)`?: `do_sample` is not set to `True`", message)
    if needless and needless[1] in _OPTIONS:
        option_name = _OPTIONS[needless[1]]
        return f"{option_name} has no effect without --do-sample: add that, or leave it out"
    message = message.replace("`do_sample` is not set to `True`", "--do-sample is not given")
    message = message.replace("`max_length`(=", "`max_length` (=")
    return re.sub(r"\bseed=", "--seed ", _NAMED.sub(option, message))


@contextlib.contextmanager
def errors_in_options() -> Iterator[None]:
    """Let what the library says against its arguments name options instead."""
    try:
        yield
    except NeoscopeError as error:
        if (said := in_options(str(error))) == str(error):
            raise
        raise type(error)(said) from error
