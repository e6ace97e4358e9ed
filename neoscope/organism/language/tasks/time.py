"""Tense: a verb that is past or present after the time that the sentence begins with."""

from __future__ import annotations

import random

from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build
from neoscope.organism.language.tasks.templates import Piece, chosen

_WHEN = {
    "past": ("Last week", "Last year", "Last night"),
    "present": ("Every week", "Every year", "Every night"),
}


def tense(rng: random.Random, split: Split, *, time: str | None = None) -> Sentence:
    """Return a sentence that begins with its time.

    Args:
        rng: Source of the choices.
        split: A test's subject and verb never stand together in such a sentence of training. Only
            that is held out: what stands before the verb begins sentences of training too, with
            other verbs.
        time: ``"past"`` or ``"present"``.

    Returns:
        Roles ``time``, ``subject`` and ``answer``, the verb.
    """
    time = chosen(rng, "time", time, tuple(_WHEN))
    while True:
        noun = rng.choice((*lex.PEOPLE, *lex.ANIMALS))[0]
        forms = rng.choice(lex.INTRANSITIVE)
        if lex.held_out(noun, forms[0]) == (split == "test"):
            break
    right, wrong = (forms[2], forms[0]) if time == "past" else (forms[0], forms[2])
    when = rng.choice(_WHEN[time])
    pieces: list[Piece] = [
        (when.split()[0], "time"), when.split()[1], "the", (noun, "subject"), (right, "answer"),
        rng.choice(lex.ATTRACTOR_PREPOSITIONS), "the", rng.choice(lex.PLACES), ".",
    ]  # fmt: skip
    return build("tense", split, pieces, answer="answer", wrong=wrong, tense=time, subject=noun)
