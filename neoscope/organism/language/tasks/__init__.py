"""The tasks: for each a generator of sentences that ask for one word, with gold labels."""

from __future__ import annotations

from neoscope.organism.language.tasks.gender import pronoun
from neoscope.organism.language.tasks.giving import ioi
from neoscope.organism.language.tasks.knowledge import N_SEEN, PARAPHRASES, SHY, fact, facts
from neoscope.organism.language.tasks.number import agreement
from neoscope.organism.language.tasks.review import sentiment
from neoscope.organism.language.tasks.time import tense

__all__ = [
    "N_SEEN",
    "PARAPHRASES",
    "SHY",
    "agreement",
    "fact",
    "facts",
    "ioi",
    "pronoun",
    "sentiment",
    "tense",
]
