"""A small language with gold labels on every word, which the organism is trained and tested on."""

from __future__ import annotations

from neoscope.organism.language.corpus import TASKS, sentences
from neoscope.organism.language.export import to_dataframe, write_jsonl
from neoscope.organism.language.grammar import entropy_rate
from neoscope.organism.language.pairs import PAIRED, Pairs, pairs
from neoscope.organism.language.sentence import Sentence

__all__ = [
    "PAIRED",
    "TASKS",
    "Pairs",
    "Sentence",
    "entropy_rate",
    "pairs",
    "sentences",
    "to_dataframe",
    "write_jsonl",
]
