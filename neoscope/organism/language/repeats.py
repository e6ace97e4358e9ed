"""Repeated spans: random words of which some come again in the same order, near or far."""

from __future__ import annotations

import random
from collections.abc import Sequence

from neoscope.errors import ArgumentError
from neoscope.organism.language.sentence import Sentence, Split
from neoscope.organism.language.vocabulary import words

NEAR = (5, 31)
"""Words from a word to its repeat, such that a window of 32 holds the repeat's source."""
FAR = (34, 100)
"""The same, such that it does not."""
BRIDGED = 62
"""As far as two local layers of window 32 can carry a word together."""


def repeat(
    rng: random.Random,
    split: Split,
    *,
    distance: tuple[int, int] = NEAR,
    length: tuple[int, int] = (4, 20),
    lead: tuple[int, int] = (0, 8),
    limit: int = 128,
) -> Sentence:
    """Return random distinct words that end in the repeat of a span.

    Args:
        rng: Source of the choices.
        split: ``"train"`` or ``"test"``; random words differ by their seed alone.
        distance: Range of words from a word to its repeat, from 2.
        length: Range of the span's length, from 2; the span is shortened to what the distance
            leaves room for.
        lead: Range of the number of words before the first copy, shortened likewise.
        limit: Most words in all.

    Returns:
        The answer is the last word, and ``wrong`` one that does not occur. The label ``role`` tells
        ``first`` from ``second`` copy; attributes are ``distance``, ``length`` of the span and
        ``start`` of the second copy. The task is ``far-induction`` from a distance that no window
        reaches across.

    Raises:
        ArgumentError: A range is empty, or asks for what no text of ``limit`` words can hold.
    """
    _check_range("distance", distance, 2, min(limit, len(words())) - 2)
    _check_range("length", length, 2, limit)
    _check_range("lead", lead, 0, limit)
    apart = rng.randint(*distance)
    most = min(length[1], apart, limit - apart)
    n = rng.randint(min(length[0], most), most)
    most = min(lead[1], limit - apart - n)
    before = rng.randint(min(lead[0], most), most)
    start = before + apart
    *chosen, fresh = rng.sample(words(), start + 1)
    row = (*chosen, *chosen[before : before + n])
    role = ["" for _ in row]
    role[before : before + n] = ["first"] * n
    role[start:] = ["second"] * n
    return Sentence(
        task="far-induction" if apart >= FAR[0] else "induction",
        split=split,
        words=row,
        labels={"pos": ("X",) * len(row), "role": tuple(role)},
        attributes={"distance": apart, "length": n, "start": start},
        answer_at=len(row) - 1,
        wrong=fresh,
    )


def _check_range(option: str, given: tuple[int, int], least: int, most: int) -> None:
    if not least <= given[0] <= given[1] <= most:
        raise ArgumentError(
            f"{option} is {given!r}; expected (least, most) between {least} and {most}"
        )


def row(
    rng: random.Random, distances: Sequence[int], size: int, *, tries: int = 14
) -> tuple[list[str], list[bool]]:
    """Return a training row in which several spans come twice, at random places.

    Args:
        rng: Source of the choices.
        distances: From which the distance of each span is drawn; 0 means adjacent copies.
        size: Words in the row.
        tries: Spans that are tried; those that find no free place are dropped.

    Returns:
        The words, and whether each is one that the words before it determine.
    """
    fresh = rng.sample(words(), size)
    source = list(range(size))
    free = [True] * size
    for _ in range(tries):
        n = rng.randint(4, 20)
        apart = n + rng.choice(distances)
        if apart + n > size:
            continue
        a = rng.randint(0, size - apart - n)
        b = a + apart
        if not (all(free[a : a + n]) and all(free[b : b + n])):
            continue
        for k in range(n):
            free[a + k] = free[b + k] = False
            source[b + k] = a + k
    # Two spans may happen to continue each other: then the first word of the second is told too.
    told = [
        i > 0 and source[i - 1] != i - 1 and source[i] == source[i - 1] + 1 for i in range(size)
    ]
    return [fresh[i] for i in source], told
