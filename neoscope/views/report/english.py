"""A few English words and patterns, for models that do not speak the organism's language."""

from __future__ import annotations

import random

GIVING = "When {one} and {other} went to the {place}, {giver} gave a {thing} to"
NAMES = (
    "Mary", "John", "Anna", "Paul", "Tom", "Sarah", "James", "Laura", "David", "Emma", "Peter",
    "Alice", "Mark", "Susan", "Robert", "Lisa", "Michael", "Karen", "Daniel", "Julia", "Kevin",
    "Rachel", "Simon", "Linda",
)  # fmt: skip
PLACES = ("store", "park", "school", "garden", "office", "station", "library", "house")
THINGS = ("drink", "book", "ring", "letter", "ball", "key", "coin", "flower")
_NOUNS = (
    "cat", "dog", "car", "book", "house", "teacher", "doctor", "driver", "key", "letter", "picture",
    "table", "window", "river", "tree", "king", "student", "farmer", "ship", "road",
)  # fmt: skip
_BESIDE = ("near", "behind", "beside", "above", "below", "with")
_REVIEWED = ("film", "book", "meal", "story", "song", "game", "hotel", "play", "show", "ending")
_GOOD = ("good", "great", "wonderful", "lovely", "brilliant", "excellent", "delightful", "superb")
_BAD = ("bad", "awful", "terrible", "boring", "dreadful", "horrible", "dull", "poor")
_DEGREES = ("", "very ", "really ", "quite ", "so ", "truly ")
_OPENINGS = ("The", "This", "That", "Your", "Her", "His", "Our", "Their")


def giving(rng: random.Random) -> str:
    """Return a sentence in which somebody gives something to somebody.

    Args:
        rng: Source of the choices.
    """
    one, other = rng.sample(NAMES, 2)
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    return GIVING.format(one=one, other=other, giver=other, place=place, thing=thing)


def subject(rng: random.Random) -> tuple[str, str, str]:
    """Return a subject with another noun behind it, its number, and the noun.

    Args:
        rng: Source of the choices.
    """
    noun, other = rng.sample(_NOUNS, 2)
    plural, distracts = rng.random() < 0.5, rng.random() < 0.5
    text = f"The {noun}{'s' * plural} {rng.choice(_BESIDE)} the {other}{'s' * distracts}"
    return text, "plural" if plural else "singular", f"{noun}{'s' * plural}"


def review(rng: random.Random) -> tuple[str, str]:
    """Return a short review, and whether it is positive or negative.

    Args:
        rng: Source of the choices.
    """
    good, negated = rng.random() < 0.5, rng.random() < 0.5
    what = f"{rng.choice(_OPENINGS)} {rng.choice(_REVIEWED)}"
    how = f"{'not ' * negated}{rng.choice(_DEGREES)}{rng.choice(_GOOD if good else _BAD)}"
    return f"{what} was {how}", "positive" if good != negated else "negative"
