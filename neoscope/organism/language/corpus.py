"""Sentences of the language by task, and their way to JSONL and pandas."""

from __future__ import annotations

import functools
import inspect
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError, nearest
from neoscope.files import atomic
from neoscope.indices import whole
from neoscope.organism.language import grammar, repeats, tasks
from neoscope.organism.language.sentence import Sentence, Split

if TYPE_CHECKING:
    import pandas as pd


TASKS: Mapping[str, Callable[..., Sentence]] = {
    "ioi": tasks.ioi,
    "agreement": tasks.agreement,
    "sentiment": tasks.sentiment,
    "facts": tasks.facts,
    "pronoun": tasks.pronoun,
    "tense": tasks.tense,
    "induction": repeats.repeat,
    "far-induction": functools.partial(repeats.repeat, distance=repeats.FAR),
    "filler": grammar.filler,
}
"""What draws a sentence of each task, given a source of randomness and a split."""


def check_task(task: str, known: Iterable[str] = TASKS) -> None:
    """Raise ``ArgumentError`` for an unknown task."""
    if task not in known:
        raise ArgumentError(
            f"there is no task {task!r}; there are {', '.join(known)}{nearest(str(task), known)}"
        )


def check_count(n: Any) -> None:
    """Raise ``ArgumentError`` unless ``n`` is a whole number of at least 1."""
    if (whole(n) or 0) < 1:
        raise ArgumentError(f"n is {n!r}; expected a whole number, at least 1")


def check_options(task: str, options: Iterable[str]) -> None:
    """Raise ``ArgumentError`` for options that a task's generator does not take."""
    parameters = inspect.signature(TASKS[task]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ArgumentError(
                f"{task} has no option {option!r}; there are {', '.join(known)}"
                f"{nearest(option, known)}"
            )


def sentences(
    task: str, n: int, *, seed: int = 0, split: Split = "test", **options: Any
) -> tuple[Sentence, ...]:
    """Return sentences of one task with gold labels.

    Args:
        task: One of ``TASKS``.
        n: How many, at least 1.
        seed: Another seed gives other sentences; the same one gives the same, on every machine.
        split: ``"test"`` combines words as training never did; ``"train"`` as training did.
        options: What the task's own generator takes, such as ``attractors=2``.

    Raises:
        ArgumentError: An unknown task, split or option, a choice that the task does not offer,
            or ``n`` below 1.

    Example:
        >>> sentences("ioi", 1)[0].labels["role"].count("answer")
        1
    """
    check_task(task)
    if split not in ("train", "test"):
        raise ArgumentError(f"split is {split!r}; expected 'train' or 'test'")
    check_count(n)
    check_options(task, options)
    rng = random.Random(f"{split} {task} {seed}")
    return tuple(TASKS[task](rng, split, **options) for _ in range(n))


def write_jsonl(items: Iterable[Sentence], path: str | os.PathLike[str]) -> Path:
    """Write sentences with all their labels, one JSON object a line; whole or not at all.

    Args:
        items: What ``sentences`` gave.
        path: The file to write, in a folder that exists; one that is there is replaced.

    Returns:
        The path.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line in _lines(items):
            file.write(line)
    return path


def _lines(items: Iterable[Sentence]) -> Iterator[str]:
    for item in items:
        yield json.dumps(item.record(), ensure_ascii=False) + "\n"


def to_dataframe(items: Iterable[Sentence]) -> pd.DataFrame:
    """Return sentences with all their labels as a pandas table, one row each.

    Example:
        >>> to_dataframe(sentences("tense", 2)).shape
        (2, 13)
    """
    import pandas as pd

    return pd.DataFrame([item.record() for item in items])
