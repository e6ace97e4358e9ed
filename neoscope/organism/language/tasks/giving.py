"""Indirect objects: who of two gets something from the other?"""

from __future__ import annotations

import random
from collections.abc import Sequence

from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.sentence import Sentence, Split, build
from neoscope.organism.language.tasks.templates import fill, one_of, pick

TEMPLATES = (
    "When {A} and {B} went to the {place} , {S} gave a {object} to {IO} .",
    "After {A} and {B} met at the {place} , {S} handed the {object} to {IO} .",
    "While {A} and {B} were working at the {place} , {S} showed a {object} to {IO} .",
    "Then {A} and {B} walked to the {place} and {S} offered the {object} to {IO} .",
)


def _kept_apart(first: str, second: str) -> bool:
    """Return whether training never shows the two in one sentence."""
    return lex.held_out(*sorted((first, second)))


def _names(rng: random.Random, split: Split) -> tuple[str, str]:
    """Return two names whose pair is of the split."""
    while True:
        first, second = rng.sample(lex.NAMES, 2)
        if _kept_apart(first, second) == (split == "test"):
            return first, second


def _third(rng: random.Random, split: Split, names: Sequence[str]) -> str:
    """Return somebody else; training shows none together whose pair a test asks for."""
    return rng.choice(
        [
            name
            for name in lex.NAMES
            if name not in names
            and (split == "test" or not any(_kept_apart(name, other) for other in names))
        ]
    )


def ioi(
    rng: random.Random,
    split: Split,
    *,
    control: bool | None = None,
    template: int | None = None,
    order: str | None = None,
) -> Sentence:
    """Return an indirect-object sentence.

    The orders are ABBA and BABA (Wang et al. 2022, arXiv:2211.00593). In the three-name control,
    one in ten in training, a third person gives, and either of the two may be meant.

    Args:
        rng: Source of the choices.
        split: A test's two names never stand together in training.
        control: Whether a third person gives; there is no ``wrong`` then.
        template: Which of ``TEMPLATES``.
        order: ``"ABBA"`` or ``"BABA"``.

    Returns:
        Roles ``IO``, ``S1``, ``S2`` as in the paper (``A``, ``B``, ``C`` in the control),
        ``place``, ``object`` and ``answer``.
    """
    control = (split == "train" and rng.random() < 0.1) if control is None else control
    receiver, giver = _names(rng, split)
    first, second = rng.sample((receiver, giver), 2)
    if order is not None:
        one_of("order", order, ("ABBA", "BABA"))
        first, second = (receiver, giver) if order == "ABBA" else (giver, receiver)
    subject = _third(rng, split, (receiver, giver)) if control else giver
    order = "ABC" if control else "ABBA" if first == receiver else "BABA"
    k = pick(rng, TEMPLATES, template)
    # As the paper names them: the first mentions are IO and S1, the second one of S1 is S2.
    if control:
        roles = {"A": "A", "B": "B", "S": "C", "IO": "answer"}
    elif first == receiver:
        roles = {"A": "IO", "B": "S1", "S": "S2", "IO": "answer"}
    else:
        roles = {"A": "S1", "B": "IO", "S": "S2", "IO": "answer"}
    pieces = fill(
        TEMPLATES[k], roles, A=first, B=second, S=subject, IO=receiver,
        place=rng.choice(lex.PLACES), object=rng.choice(lex.OBJECTS),
    )  # fmt: skip
    return build(
        "ioi", split, pieces, answer="answer", wrong=None if control else giver,
        template=k, order=order, names=sorted((receiver, giver)),
    )  # fmt: skip
