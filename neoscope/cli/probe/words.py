"""What the library says of probes, in the words of the command line."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neoscope.cli.table import visible
from neoscope.errors import NeoscopeError, ProbeError

_NAMES = (
    "any_source", "baselines", "controls", "cv", "heads", "layers", "max_length", "mdl", "metric",
    "on_error", "overlap", "pool", "prepend_bos", "site", "test_size", "truncation",
)  # fmt: skip
_ARGUMENT = re.compile(rf"(?<![\w.(-])({'|'.join(_NAMES)})=('[^']*'|[\w.-]*\w)?")
# What the library advises to whom calls it, and no option does.
_ADVICE = re.compile(
    r"(; a text itself is given in a list|"
    r", or leave it out: keep= lists the columns to carry along)"
)
_NULL = "; --on-error null leaves such rows without features"
_DIFFERENCE = re.compile(
    r"([\w.]+): the folder has (.*?), now (.*?)(?=; \w[\w.]*: the folder has|$)"
)
_OTHER = re.compile(
    r"holds (?:something else|another sweep)\b.*?(?::|\. Different:) (?=[\w.]+: the)"
)
_OTHER_ROWS = "of the input differ from those that shard"
_OF_WORK = {
    "batch_tokens": "--batch-tokens", "dtype": "--dtype", "heads": "--heads", "layers": "--layers",
    "max_length": "--max-length", "pool": "--pool", "prepend_bos": "--prepend-bos",
    "site": "--site", "sites": "--site", "truncation": "--truncation", "baselines": "--baselines",
    "controls": "--controls", "mdl": "--mdl", "metric": "--metric", "seed": "--seed",
    "probe": "--probe", "model": "the model",
}  # fmt: skip
_UNSAID = {
    "input": "the texts",
    "labels": "the labels",
    "rows": "which texts are tested on (--cv, --test-size, --seed, --group-column)",
    "source": "the model or how it is read",
    "neoscope": "neoscope's version",
}
_ALL = ("layers", "heads")


def in_options(message: str, *, applying: bool = False) -> str:
    """Return a message about the library's arguments in the words of the command line.

    Args:
        message: The library's.
        applying: Whether the command is that which applies a probe.

    Example:
        >>> in_options("cv=1 folds; any_source=True applies it all the same")
        '--cv 1 folds; --any-source applies it all the same'
    """

    def option(match: re.Match[str]) -> str:
        value = (match[2] or "").strip("'")
        shown = "" if value == "True" else value
        return f"--{match[1].replace('_', '-')} {shown}".rstrip()

    said = _ADVICE.sub("", _ARGUMENT.sub(option, " ".join(message.split())))
    return said if applying else said.replace(_NULL, "")


def shown_label(label: Any) -> str:
    """Return a label so that it can be told from others, and no terminal obeys it.

    Example:
        >>> shown_label("good"), shown_label(" good"), shown_label("a, b"), shown_label(3)
        ('good', "' good'", "'a, b'", '3')
    """
    said = str(label)
    quoted = isinstance(label, str) and (said != said.strip() or not said or "," in said)
    return visible(repr(said) if quoted else said)


def of_work(message: str, work: Path) -> str | None:
    """Return in the words of the command line that a folder was made by another command.

    Args:
        message: The library's.
        work: The folder, as it was named.

    Returns:
        None where the message says something else.

    Example:
        >>> said = "f/sweep holds another sweep; empty it. Different: seed: the folder has 0, now 1"
        >>> of_work(said, Path("f"))
        '--work f was made by another command: --seed was 0, now 1; choose another, or empty it'
    """
    # A list of differences is one a line where there is only one kind of them.
    one_line = " ".join(re.sub(r"\n\s+(?=[\w.]+: the folder has)", "; ", message).split())
    one_line = one_line.replace(":; ", ": ")
    said = []
    if found := _OTHER.search(one_line):
        differences = _DIFFERENCE.findall(one_line[found.end() :])
        said = [_difference(key.split("."), before, now) for key, before, now in differences]
    elif _OTHER_ROWS in one_line:
        said = ["the texts are not the same"]
    if not said:
        return None
    return (
        f"--work {work} was made by another command: {', '.join(dict.fromkeys(said))}; choose "
        "another, or empty it"
    )


def _difference(key: Sequence[str], before: str, now: str) -> str:
    for name in key:
        if name in _UNSAID:
            return f"{_UNSAID[name]} {'are' if name in ('input', 'labels') else 'is'} not the same"
    last = key[-1]
    shown = [
        "all" if last in _ALL and value == "None" else value.strip("'\"") for value in (before, now)
    ]
    return f"{_OF_WORK.get(last, last)} was {shown[0]}, now {shown[1]}"


@contextlib.contextmanager
def errors_in_options(work: Path | None = None, *, applying: bool = False) -> Iterator[None]:
    """Let what the library says against its arguments name options instead.

    Args:
        work: The folder of --work, if there is one.
        applying: Whether the command is that which applies a probe.
    """
    try:
        yield
    except NeoscopeError as error:
        if work is not None and (other := of_work(str(error), work)) is not None:
            raise ProbeError(other) from error
        if (said := in_options(str(error), applying=applying)) == str(error):
            raise
        raise type(error)(said) from error


@contextlib.contextmanager
def cuts_told_once(max_length: int | None) -> Iterator[None]:
    """Tell of texts that were cut once, though a random twin of the model reads them too.

    Args:
        max_length: What was asked for.
    """
    from neoscope.export import TruncationWarning

    told = False
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            nonlocal told
            if not issubclass(category, TruncationWarning):
                usual(message, category, *where, **more)
            elif not told:
                told = True
                usual(TruncationWarning(cut_said(str(message), max_length)), category, *where)

        warnings.simplefilter("always", TruncationWarning)
        warnings.showwarning = show
        yield


def cut_said(message: str, max_length: int | None) -> str:
    """Return what is said of texts that were cut, where an option did it.

    Example:
        >>> cut_said("5 texts were longer than the model reads at once and cut on the right", 3)
        '5 texts were longer than --max-length 3 and cut on the right'
    """
    if max_length is None:
        return message
    return message.replace("than the model reads at once", f"than --max-length {max_length}")
