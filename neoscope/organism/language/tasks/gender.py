"""Pronouns that take up a name or noun of known gender."""

from __future__ import annotations

import random

from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build
from neoscope.organism.language.tasks.templates import chosen, fill, pick

# The object stands before the pronoun: a prompt without it could not be kept from training.
TEMPLATES = (
    "{N} lost the {object} because {P} was {mood} .",
    "{N} found the {object} when {P} came home .",
    "{N} dropped the {object} and then {P} went home .",
    "When {N} came home with the {object} , {P} was {mood} .",
    "{N} opened the {object} after/SCONJ {P} came home .",
)
_MOODS = ("tired", "happy", "late", "hungry", "proud", "sad")


def pronoun(
    rng: random.Random,
    split: Split,
    *,
    gender: str | None = None,
    noun: bool | None = None,
    template: int | None = None,
) -> Sentence:
    """Return a sentence in which "he" or "she" takes up somebody.

    Args:
        rng: Source of the choices.
        split: Training never says a test's somebody and object in the same template.
        gender: ``"female"`` or ``"male"``.
        noun: Whether it is a noun ("the queen") rather than a name.
        template: Which of ``TEMPLATES``.

    Returns:
        Roles ``antecedent``, ``object``, ``mood`` and ``answer``, the pronoun.
    """
    gender = chosen(rng, "gender", gender, ("female", "male"))
    names = lex.FEMALE if gender == "female" else lex.MALE
    nouns = lex.FEMALE_NOUNS if gender == "female" else lex.MALE_NOUNS
    k = pick(rng, TEMPLATES, template)
    noun = rng.random() < 0.25 if noun is None else noun
    while True:
        who = rng.choice(nouns if noun else names)
        thing = rng.choice(lex.OBJECTS)
        if lex.held_out(who, thing, str(k)) == (split == "test"):
            break
    first = TEMPLATES[k].startswith("{N}")
    article = ("The " if first else "the ") if noun else ""
    right, wrong = ("she", "he") if gender == "female" else ("he", "she")
    pieces = fill(
        TEMPLATES[k].replace("{N}", f"{article}{{N}}"), {"N": "antecedent", "P": "answer"},
        N=who, P=right, object=thing, mood=rng.choice(_MOODS),
    )  # fmt: skip
    return build(
        "pronoun", split, pieces, answer="answer", wrong=wrong, gender=gender, template=k,
        antecedent=who, antecedent_is_name=not noun,
    )  # fmt: skip
