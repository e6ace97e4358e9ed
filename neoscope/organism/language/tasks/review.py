"""Sentiment: reviews and their verdicts, with negation and with clauses that disagree."""

from __future__ import annotations

import random

from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build
from neoscope.organism.language.tasks.templates import Piece, pick

VERDICTS = (
    (", so I", "liked", "hated"),
    (", so we", "loved", "disliked"),
    (". I would", "recommend", "avoid"),
    (". People will", "recommend", "avoid"),
)
"""How a verdict begins, and its good and its bad word."""


def _judgement(
    rng: random.Random, adjective: str, role: str, *, negated: bool, intensified: bool | None
) -> list[Piece]:
    """Return "was not very good"."""
    pieces: list[Piece] = ["was"]
    if negated:
        pieces.append(("not", "negation"))
    if rng.random() < 0.3 if intensified is None else intensified:
        pieces.append(rng.choice(("very", "really")))
    return [*pieces, (adjective, role)]


def _adjectives(*, positive: bool, negated: bool) -> tuple[str, ...]:
    """Return the adjectives that mean it in the end."""
    return lex.POSITIVE if positive != negated else lex.NEGATIVE


def _overruled(rng: random.Random, split: Split, item: str, *, positive: bool) -> tuple[str, bool]:
    """Return what the first clause says of an item: an adjective, and whether it is negated."""
    negated = rng.random() < 0.3
    while True:
        adjective = rng.choice(_adjectives(positive=positive, negated=negated))
        # What a test asks for stands nowhere in training, not even where it does not count.
        if split == "test" or not lex.held_out(item, adjective):
            return adjective, negated


def sentiment(
    rng: random.Random,
    split: Split,
    *,
    negated: bool | None = None,
    mixed: bool | None = None,
    positive: bool | None = None,
    intensified: bool | None = None,
    template: int | None = None,
) -> Sentence:
    """Return a review and its verdict: "not" turns it round, and after "but" comes what counts.

    Args:
        rng: Source of the choices.
        split: Of a test's item no review in training says the same adjective.
        negated: Whether the clause that counts says "not".
        mixed: Whether a clause of the other sign comes first.
        positive: The sign that counts, after negation.
        intensified: Whether the adjectives come with "very" or "really".
        template: Which of ``VERDICTS``.

    Returns:
        Roles ``item``, ``valence`` (the adjective that counts), ``overruled`` (the one that does
        not), ``negation`` and ``answer``.
    """
    negated = rng.random() < 0.4 if negated is None else negated
    mixed = rng.random() < 0.3 if mixed is None else mixed
    positive = rng.random() < 0.5 if positive is None else positive
    pieces: list[Piece] = []
    while True:
        item = rng.choice(lex.ASPECTS if mixed else lex.REVIEWED)
        adjective = rng.choice(_adjectives(positive=positive, negated=negated))
        if lex.held_out(item, adjective) == (split == "test"):
            break
    if mixed:
        other = rng.choice([aspect for aspect in lex.ASPECTS if aspect != item])
        overruled, turned = _overruled(rng, split, other, positive=not positive)
        pieces += ["The", other]
        pieces += _judgement(rng, overruled, "overruled", negated=turned, intensified=intensified)
        pieces += ["but the", (item, "item")]
    else:
        pieces += ["The", (item, "item")]
    pieces += _judgement(rng, adjective, "valence", negated=negated, intensified=intensified)
    lead, good, bad = VERDICTS[pick(rng, VERDICTS, template)]
    right, wrong = (good, bad) if positive else (bad, good)
    pieces += [lead, (right, "answer"), "it ."]
    return build(
        "sentiment", split, pieces, answer="answer", wrong=wrong,
        sentiment="positive" if positive else "negative", negated=negated, mixed=mixed,
    )  # fmt: skip
