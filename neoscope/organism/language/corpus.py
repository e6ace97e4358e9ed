"""Sentences of the language by task."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from neoscope.errors import ArgumentError, nearest
from neoscope.indices import whole
from neoscope.organism.compiled.truth import check_count
from neoscope.organism.language import grammar, repeats, tasks
from neoscope.organism.language.options import checked
from neoscope.organism.language.sentence import Sentence, Split

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


def check_task(task: Any, known: Iterable[str] = TASKS) -> None:
    """Raise ``ArgumentError`` for an unknown task, or one that is not among those that will do."""
    known = tuple(known)
    if not isinstance(task, str):
        raise ArgumentError(f"task is {task!r}; expected one of {', '.join(map(repr, known))}")
    if task in known:
        return
    if task in TASKS:
        raise ArgumentError(f"{task} has no pairs; there are pairs of {', '.join(known)}")
    lower = task.strip().lower()
    meant = f"; did you mean {lower!r}?" if lower in known else nearest(lower, known)
    raise ArgumentError(f"there is no task {task!r}; there are {', '.join(known)}{meant}")


def check_seed(seed: Any) -> int:
    """Return ``seed`` as an int, or raise ``ArgumentError`` unless it is a whole number."""
    number = whole(seed)
    if number is None:
        raise ArgumentError(f"seed is {seed!r}; expected a whole number")
    return number


def sentences(
    task: str, n: int, *, seed: int = 0, split: Split = "test", **options: Any
) -> tuple[Sentence, ...]:
    """Return sentences of one task with gold labels.

    Args:
        task: One of ``TASKS``.
        n: How many, at least 1.
        seed: Another seed gives other sentences; the same one gives the same, on every machine.
        split: ``"test"`` combines words as training never did; ``"train"`` as training did. In
            ``filler`` and the random words of ``induction`` nothing is held out: the two differ by
            their seed alone.
        options: What the task's own generator takes, such as ``attractors=2``; a range, such as
            ``distance`` of ``induction``, is (low, high) or one number.

    Raises:
        ArgumentError: An unknown task, split or option, a choice that the task does not offer,
            a seed that is no whole number, or ``n`` below 1.

    Example:
        >>> sentences("ioi", 1)[0].labels["role"].count("answer")
        1
    """
    check_task(task)
    if split not in ("train", "test"):
        raise ArgumentError(f"split is {split!r}; expected 'train' or 'test'")
    check_count(n)
    rng = random.Random(f"{split} {task} {check_seed(seed)}")
    draw = TASKS[task]
    options = checked(task, draw, options)
    return tuple(draw(rng, split, **options) for _ in range(n))
