"""Subject-verb agreement across nouns that mislead."""

from __future__ import annotations

import random

from neoscope.errors import ArgumentError
from neoscope.indices import whole
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build
from neoscope.organism.language.tasks.templates import Piece, chosen

MOST_ATTRACTORS = 2
"""As many as training shows."""


def agreement(
    rng: random.Random, split: Split, *, attractors: int | None = None, number: str | None = None
) -> Sentence:
    """Return a sentence whose verb agrees with its subject across zero to two other nouns.

    Reference: Linzen et al. 2016 (arXiv:1611.01368).

    Args:
        rng: Source of the choices.
        split: No sentence of training has just a test's nouns in this order (those of one
            attractor may begin one of two); without attractors, its noun and its verb.
        attractors: Nouns between subject and verb, 0 to 2.
        number: Of the subject, ``"singular"`` or ``"plural"``.

    Returns:
        Roles ``subject``, ``attractor`` and ``answer``, the verb.
    """
    n = rng.randrange(MOST_ATTRACTORS + 1) if attractors is None else whole(attractors)
    if n is None or not 0 <= n <= MOST_ATTRACTORS:
        raise ArgumentError(
            f"attractors is {attractors!r}; expected a whole number from 0 to {MOST_ATTRACTORS}"
        )
    number = chosen(rng, "number", number, ("singular", "plural"))
    while True:
        nouns = rng.sample(lex.NOUNS, 1 + n)
        forms = rng.choice(lex.AUXILIARIES)
        key = [noun[0] for noun in nouns] + ([forms[0]] if n == 0 else [])
        if lex.held_out(*key) == (split == "test"):
            break
    plural = int(number == "plural")
    pieces: list[Piece] = ["The", (nouns[0][plural], "subject")]
    others = []
    for noun in nouns[1:]:
        other = rng.randrange(2)
        others.append("plural" if other else "singular")
        pieces += [rng.choice(lex.ATTRACTOR_PREPOSITIONS), "the", (noun[other], "attractor")]
    pieces.append((forms[plural], "answer"))
    if forms[0] == "has":
        pieces.append("been")
    pieces += [rng.choice(lex.STATES), "."]
    return build(
        "agreement", split, pieces, answer="answer", wrong=forms[1 - plural], number=number,
        attractors=others, n_attractors=n, distance=3 * n + 1,
        misleading=sum(other != number for other in others),
    )  # fmt: skip
