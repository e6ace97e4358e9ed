"""Training rows: documents of the language packed to the context, and rows of repeated words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.organism.language import TASKS, grammar, repeats
from neoscope.organism.language.vocabulary import encode

SHARES: Mapping[str, float] = {
    "ioi": 0.14,
    "agreement": 0.12,
    "sentiment": 0.20,
    "facts": 0.20,
    "pronoun": 0.09,
    "tense": 0.05,
    "filler": 0.20,
}
"""How often a document is of each task."""
UNTOLD = 0.01
"""Weight in the loss of a random word that nothing foretells."""


def document(rng: random.Random, task: str, split: str = "train") -> list[int]:
    """Return a document of one task, as ids."""
    if task == "filler":
        ids = encode(grammar.filler(rng, split).words)
        while rng.random() >= grammar.STOP:
            ids += encode(grammar.filler(rng, split, first=False).words)
        return ids
    return [i for _ in range(rng.randint(1, 4)) for i in encode(TASKS[task](rng, split).words)]


def language(rng: random.Random, n: int, size: int) -> Int[Tensor, "row pos"]:
    """Return rows of documents with ``<|endoftext|>`` between them, and before every other row."""
    names, weights = list(SHARES), list(SHARES.values())
    (end,) = encode([grammar.END])
    rows = []
    for k in range(n):
        row = [end] if k % 2 else []
        while len(row) < size:
            row += [*document(rng, rng.choices(names, weights)[0]), end]
        rows.append(row[:size])
    return torch.tensor(rows)


def repeated(
    rng: random.Random, n: int, size: int, distances: Sequence[int]
) -> tuple[Int[Tensor, "row pos"], Float[Tensor, "row pos"]]:
    """Return rows of random words of which spans come twice, and each word's weight in the loss."""
    rows, weights = [], []
    for _ in range(n):
        words, told = repeats.row(rng, distances, size)
        rows.append(encode(words))
        weights.append([1.0 if known else UNTOLD for known in told])
    return torch.tensor(rows), torch.tensor(weights)
