"""Repeated spans: random words of which some come again in the same order, near or far."""

from __future__ import annotations

import random
from collections.abc import Sequence

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
        distance: Range of words from a word to its repeat.
        length: Range of the span's length; it is shortened to what ``distance`` leaves room for.
        lead: Range of the number of words before the first copy.
        limit: Most words in all.

    Returns:
        The answer is the last word, and ``wrong`` one that does not occur. The label ``role`` tells
        ``first`` from ``second`` copy; attributes are ``distance``, ``length`` of the span and
        ``start`` of the second copy.
    """
    apart = rng.randint(*distance)
    n = rng.randint(length[0], max(length[0], min(length[1], apart, limit - apart)))
    before = rng.randint(lead[0], max(lead[0], min(lead[1], limit - apart - n)))
    start = before + apart
    *chosen, fresh = rng.sample(words(), start + 1)
    row = (*chosen, *chosen[before : before + n])
    role = ["" for _ in row]
    role[before : before + n] = ["first"] * n
    role[start:] = ["second"] * n
    return Sentence(
        task="induction",
        split=split,
        words=row,
        labels={"pos": ("X",) * len(row), "role": tuple(role)},
        attributes={"distance": apart, "length": n, "start": start},
        answer_at=len(row) - 1,
        wrong=fresh,
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
    told = [False] * size
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
            told[b + k] = k > 0
    return [fresh[i] for i in source], told
