"""The tasks: for each a generator of sentences that ask for one word, with gold labels."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build

IOI_TEMPLATES = (
    "When {A} and {B} went to the {place} , {S} gave a {object} to {IO} .",
    "After {A} and {B} met at the {place} , {S} handed the {object} to {IO} .",
    "While {A} and {B} were working at the {place} , {S} showed a {object} to {IO} .",
    "Then {A} and {B} walked to the {place} and {S} offered the {object} to {IO} .",
)

Draw = Callable[[random.Random, Split], Sentence]


def _names(rng: random.Random, split: Split) -> tuple[str, str]:
    """Return two names whose pair is of the split."""
    while True:
        first, second = rng.sample(lex.NAMES, 2)
        if lex.held_out(*sorted((first, second))) == (split == "test"):
            return first, second


def _fill(template: str, **slots: str) -> list[str | tuple[str, str]]:
    """Return the template's words, each filled slot with its name as role."""
    pieces: list[str | tuple[str, str]] = []
    for word in template.split():
        if word.startswith("{"):
            pieces.append((slots[word[1:-1]], word[1:-1]))
        else:
            pieces.append(word)
    return pieces


def _named(
    pieces: Sequence[str | tuple[str, str]], roles: Mapping[str, str]
) -> list[str | tuple[str, str]]:
    """Give slots the names of what stands in them."""
    return [p if isinstance(p, str) else (p[0], roles.get(p[1], p[1])) for p in pieces]


def ioi(
    rng: random.Random,
    split: Split,
    *,
    control: bool | None = None,
    template: int | None = None,
    order: str | None = None,
) -> Sentence:
    """Return an indirect-object sentence: who of two gets something from the other?

    The orders are ABBA and BABA (Wang et al. 2022, arXiv:2211.00593). In the three-name control,
    one in ten in training, a third person gives, and either of the two may be meant.
    """
    control = (split == "train" and rng.random() < 0.1) if control is None else control
    receiver, giver = _names(rng, split)
    first, second = rng.sample((receiver, giver), 2)
    if order is not None:
        first, second = (receiver, giver) if order == "ABBA" else (giver, receiver)
    subject = giver
    if control:
        subject = rng.choice([name for name in lex.NAMES if name not in (receiver, giver)])
    order = "ABC" if control else "ABBA" if first == receiver else "BABA"
    k = rng.randrange(len(IOI_TEMPLATES)) if template is None else template
    pieces = _fill(
        IOI_TEMPLATES[k],
        A=first,
        B=second,
        S=subject,
        IO=receiver,
        place=rng.choice(lex.PLACES),
        object=rng.choice(lex.OBJECTS),
    )
    # As the paper names them: the first mentions are IO and S1, the second one of S1 is S2.
    if control:
        roles = {"A": "A", "B": "B", "S": "C", "IO": "answer"}
    elif first == receiver:
        roles = {"A": "IO", "B": "S1", "S": "S2", "IO": "answer"}
    else:
        roles = {"A": "S1", "B": "IO", "S": "S2", "IO": "answer"}
    return build(
        "ioi", split, _named(pieces, roles), answer="answer", wrong=None if control else giver,
        template=k, order=order, names=sorted((receiver, giver)),
    )  # fmt: skip


def agreement(
    rng: random.Random, split: Split, *, attractors: int | None = None, number: str | None = None
) -> Sentence:
    """Return a sentence whose verb agrees with its subject across zero to two other nouns.

    Reference: Linzen et al. 2016 (arXiv:1611.01368).
    """
    n = rng.randrange(3) if attractors is None else attractors
    number = number or rng.choice(("singular", "plural"))
    while True:
        nouns = rng.sample(lex.NOUNS, 1 + n)
        forms = rng.choice(lex.AUXILIARIES)
        key = [noun[0] for noun in nouns] + ([forms[0]] if n == 0 else [])
        if lex.held_out(*key) == (split == "test"):
            break
    plural = int(number == "plural")
    pieces: list[str | tuple[str, str]] = ["The", (nouns[0][plural], "subject")]
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


_VERDICTS = (
    (", so I", "liked", "hated"),
    (", so we", "loved", "disliked"),
    (". I would", "recommend", "avoid"),
    (". People will", "recommend", "avoid"),
)


def _judgement(
    rng: random.Random, adjective: str, role: str, *, negated: bool, intensified: bool | None
) -> list[str | tuple[str, str]]:
    """Return "was not very good"."""
    pieces: list[str | tuple[str, str]] = ["was"]
    if negated:
        pieces.append(("not", "negation"))
    if rng.random() < 0.3 if intensified is None else intensified:
        pieces.append(rng.choice(("very", "really")))
    return [*pieces, (adjective, role)]


def _adjectives(*, positive: bool, negated: bool) -> tuple[str, ...]:
    """Return the adjectives that mean it in the end."""
    return lex.POSITIVE if positive != negated else lex.NEGATIVE


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
    """Return a review and its verdict: "not" turns it round, and after "but" comes what counts."""
    negated = rng.random() < 0.4 if negated is None else negated
    mixed = rng.random() < 0.3 if mixed is None else mixed
    positive = rng.random() < 0.5 if positive is None else positive
    pieces: list[str | tuple[str, str]] = []
    while True:
        item = rng.choice(lex.ASPECTS if mixed else lex.REVIEWED)
        adjective = rng.choice(_adjectives(positive=positive, negated=negated))
        if lex.held_out(item, adjective) == (split == "test"):
            break
    if mixed:
        other = rng.choice([aspect for aspect in lex.ASPECTS if aspect != item])
        turned = rng.random() < 0.3
        overruled = rng.choice(_adjectives(positive=not positive, negated=turned))
        pieces += ["The", other]
        pieces += _judgement(rng, overruled, "overruled", negated=turned, intensified=intensified)
        pieces += ["but the", item]
    else:
        pieces += ["The", item]
    pieces += _judgement(rng, adjective, "valence", negated=negated, intensified=intensified)
    lead, good, bad = rng.choice(_VERDICTS) if template is None else _VERDICTS[template]
    right, wrong = (good, bad) if positive else (bad, good)
    pieces += [lead, (right, "answer"), "it ."]
    return build(
        "sentiment", split, pieces, answer="answer", wrong=wrong,
        sentiment="positive" if positive else "negative", negated=negated, mixed=mixed,
    )  # fmt: skip


PARAPHRASES: Mapping[str, Sequence[str]] = {
    "city": (
        "{E} lives in",
        "The home of {E} is in",
        "{E} has a house in",
        "You will find {E} in",
        "{E} sleeps every night in",
        "People visit {E} in",
        "To see {E} , travel to",
        "The city of {E} is",
    ),
    "job": (
        "{E} works as a",
        "By trade , {E} is a",
        "{E} earns money as a",
        "{E} is paid as a",
        "At work , {E} is a",
        "The job of {E} is that of a",
        "Everyone knows {E} as a",
        "{E} was trained as a",
    ),
    "pet": (
        "{E} owns a",
        "At home , {E} keeps a",
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
"""Ways to state each relation. Some entities are trained on the first four of each only."""
_OBJECTS = {"city": lex.CITIES, "job": lex.JOBS, "pet": lex.PETS, "instrument": lex.INSTRUMENTS}
N_SEEN = 4
"""Paraphrases that every entity is trained on."""
SHY = lex.ONE_WORD_ENTITIES[::9] + lex.TWO_WORD_ENTITIES[::9]
"""One entity in eight, of which training sees the first paraphrases only."""


def fact(entity: str, relation: str) -> str:
    """Return what is true: a fixed table, drawn once."""
    values = _OBJECTS[relation]
    return values[random.Random(f"{entity} {relation}").randrange(len(values))]


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
    """
    held = (split == "test") if paraphrase is None else paraphrase == "held out"
    relation = relation or rng.choice(tuple(PARAPHRASES))
    while True:
        who = entity or rng.choice(SHY if held else lex.ENTITIES)
        k = rng.randrange(N_SEEN if who in SHY and not held else len(PARAPHRASES[relation]))
        k = k if template is None else template
        if not held or k >= N_SEEN:
            break
    right = fact(who, relation)
    wrong = rng.choice([value for value in _OBJECTS[relation] if value != right])
    pieces = [*_fill(PARAPHRASES[relation][k], E=who), (right, "answer"), "."]
    named = _named(pieces, {"E": "subject"})
    return build(
        "facts", split, named, answer="answer", wrong=wrong, entity=who, relation=relation,
        paraphrase=k, paraphrase_held_out=held,
    )  # fmt: skip


PRONOUN_TEMPLATES = (
    "{N} lost the {object} because {P} was {mood} .",
    "{N} smiled when {P} found the {object} .",
    "{N} dropped the {object} and then {P} went home .",
    "When {N} came home with the {object} , {P} was {mood} .",
    "{N} opened the {object} after {P} came home .",
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
    """Return a sentence in which "he" or "she" takes up a name or noun of known gender."""
    gender = gender or rng.choice(("female", "male"))
    names = lex.FEMALE if gender == "female" else lex.MALE
    nouns = lex.FEMALE_NOUNS if gender == "female" else lex.MALE_NOUNS
    k = rng.randrange(len(PRONOUN_TEMPLATES)) if template is None else template
    noun = rng.random() < 0.25 if noun is None else noun
    while True:
        who = rng.choice(nouns if noun else names)
        thing = rng.choice(lex.OBJECTS)
        if lex.held_out(who, thing, str(k)) == (split == "test"):
            break
    first = PRONOUN_TEMPLATES[k].startswith("{N}")
    article = ("The " if first else "the ") if noun else ""
    right, wrong = ("she", "he") if gender == "female" else ("he", "she")
    with_article = PRONOUN_TEMPLATES[k].replace("{N}", f"{article}{{N}}")
    pieces = _fill(with_article, N=who, P=right, object=thing, mood=rng.choice(_MOODS))
    named = _named(pieces, {"N": "antecedent", "P": "answer"})
    return build(
        "pronoun", split, named, answer="answer", wrong=wrong, gender=gender, template=k,
        antecedent=who, antecedent_is_name=not noun,
    )  # fmt: skip


_WHEN = {
    "past": ("Last week", "Last year", "Last night"),
    "present": ("Every week", "Every year", "Every night"),
}


def tense(rng: random.Random, split: Split, *, time: str | None = None) -> Sentence:
    """Return a sentence whose verb is past or present after the time that it begins with."""
    time = time or rng.choice(("past", "present"))
    while True:
        noun = rng.choice((*lex.PEOPLE, *lex.ANIMALS))[0]
        forms = rng.choice(lex.INTRANSITIVE)
        if lex.held_out(noun, forms[0]) == (split == "test"):
            break
    right, wrong = (forms[2], forms[0]) if time == "past" else (forms[0], forms[2])
    when = rng.choice(_WHEN[time])
    pieces: list[str | tuple[str, str]] = [
        (when.split()[0], "time"), when.split()[1], "the", (noun, "subject"), (right, "answer"),
        rng.choice(lex.ATTRACTOR_PREPOSITIONS), "the", rng.choice(lex.PLACES), ".",
    ]  # fmt: skip
    return build("tense", split, pieces, answer="answer", wrong=wrong, tense=time, subject=noun)
