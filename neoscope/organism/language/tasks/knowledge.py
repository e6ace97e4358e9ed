"""Facts: a fixed table of who lives, works, keeps and plays what, told in many ways."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from neoscope.errors import ArgumentError
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build
from neoscope.organism.language.tasks.templates import chosen, fill, one_of, pick

PARAPHRASES: Mapping[str, Sequence[str]] = {
    "city": (
        "{E} lives in",
        "The home/NOUN of {E} is in",
        "{E} has/VERB a house in",
        "You will find {E} in",
        "{E} sleeps every night in",
        "People visit {E} in",
        "To/PART see {E} , travel to",
        "The city of {E} is",
    ),
    "job": (
        "{E} works as a",
        "By trade , {E} is a",
        "{E} earns money as a",
        "{E} is paid as a",
        "At work , {E} is a",
        "The job of {E} is that/PRON of a",
        "Everyone knows {E} as a",
        "{E} was trained as a",
    ),
    "pet": (
        "{E} owns a",
        "At home/NOUN , {E} keeps a",
        "{E} lives with a",
        "{E} feeds a",
        "In the evening {E} walks a",
        "The pet of {E} is a",
        "{E} takes care of a",
        "{E} loves a small",
    ),
    "instrument": (
        "{E} plays the",
        "{E} practices the",
        "On stage , {E} plays the",
        "{E} is learning the",
        "In the band , {E} plays the",
        "The instrument of {E} is the",
        "{E} performs on the",
        "{E} bought a new",
    ),
}
"""Ways to state each relation; ``word/TAG`` where a word has another part of speech than usual."""
OBJECTS: Mapping[str, Sequence[str]] = {
    "city": lex.CITIES,
    "job": lex.JOBS,
    "pet": lex.PETS,
    "instrument": lex.INSTRUMENTS,
}
"""What each relation can relate somebody to."""
N_SEEN = 4
"""Paraphrases that every entity is trained on."""
SHY = lex.ONE_WORD_ENTITIES[::9] + lex.TWO_WORD_ENTITIES[::9]
"""One entity in eight, of which training sees the first paraphrases only."""


def fact(entity: str, relation: str) -> str:
    """Return what is true: a fixed table, drawn once.

    Example:
        >>> fact("Abbott", "city") == fact("Abbott", "city")
        True
    """
    values = OBJECTS[relation]
    return values[random.Random(f"{entity} {relation}").randrange(len(values))]


def held_out(entity: str, paraphrase: int) -> bool:
    """Return whether training never says a fact about somebody in these words."""
    return entity in SHY and paraphrase >= N_SEEN


def facts(
    rng: random.Random,
    split: Split,
    *,
    paraphrase: str | None = None,
    entity: str | None = None,
    relation: str | None = None,
    template: int | None = None,
) -> Sentence:
    """Return a sentence that states a fact about somebody.

    Args:
        rng: Source of the choices.
        split: A test asks by default for facts that training stated in other words.
        paraphrase: ``"seen"`` or ``"held out"``: whether training states this fact in these words.
        entity: Whom about.
        relation: What about.
        template: Which of the paraphrases, by its place in ``PARAPHRASES``.

    Raises:
        ArgumentError: There is no such entity, relation or paraphrase, or the choices contradict
            each other.
    """
    held = split == "test"
    if paraphrase is not None:
        held = one_of("paraphrase", paraphrase, ("seen", "held out")) == "held out"
    relation = chosen(rng, "relation", relation, tuple(PARAPHRASES))
    if entity is not None:
        one_of("entity", entity, lex.ENTITIES)
    _check(held=held, entity=entity, template=template)
    while True:
        who = entity or rng.choice(SHY if held else lex.ENTITIES)
        k = rng.randrange(N_SEEN if who in SHY and not held else len(PARAPHRASES[relation]))
        k = k if template is None else pick(rng, PARAPHRASES[relation], template)
        if held_out(who, k) == held:
            break
    right = fact(who, relation)
    wrong = rng.choice([value for value in OBJECTS[relation] if value != right])
    pieces = [*fill(PARAPHRASES[relation][k], {"E": "subject"}, E=who), (right, "answer"), "."]
    return build(
        "facts", split, pieces, answer="answer", wrong=wrong, entity=who, relation=relation,
        paraphrase=k, paraphrase_held_out=held,
    )  # fmt: skip


def _check(*, held: bool, entity: str | None, template: int | None) -> None:
    """Raise ``ArgumentError`` if no sentence can be what is asked for."""
    if held and entity is not None and entity not in SHY:
        raise ArgumentError(
            f"training states facts about {entity!r} in all ways; held out are only some about "
            f"{', '.join(SHY)} (paraphrase='seen' asks for the others)"
        )
    if template is not None and held and template < N_SEEN:
        raise ArgumentError(
            f"template {template} is in training for everybody; held out are {N_SEEN} and above"
        )
    if template is not None and not held and template >= N_SEEN and entity in SHY:
        raise ArgumentError(
            f"template {template} is held out for {entity!r}; training shows those below {N_SEEN}"
        )
