"""What the tests of head scores share: small models, and how a score is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import neoscope as ns
from neoscope.analysis import HEAD_SCORES, HeadScores
from neoscope.model import HookedGPTNeo

OF_PATTERN = [name for name, kind in HEAD_SCORES.items() if kind.of_pattern]


QUIET: dict[str, Any] = {"progress": False}


TEXTS = [
    [5, 6, 7, 5, 6, 8, 8, 5, 9, 6],
    [3, 4],
    [1, 2, 3, 1, 2, 3, 1],
    [9, 8, 7, 6, 5, 4, 3, 9, 8, 7, 9],
]


def config(**changes: Any) -> ns.NeoConfig:
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 4, "n_ctx": 32, "d_vocab": 40}
    shape |= {"window_size": 4, "bos_token_id": 0, "eos_token_id": 0, "init_range": 0.4}
    return ns.NeoConfig(**(shape | changes))


def random_model(**changes: Any) -> HookedGPTNeo:
    return HookedGPTNeo.from_config(config(**changes), seed=1)


def even_model(**changes: Any) -> HookedGPTNeo:
    """Queries of zero: every head attends evenly to all it sees."""
    model = random_model(**changes)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_Q.zero_()
    return model


def score(found: HeadScores, name: str) -> np.ndarray:
    return found.score[found.names.index(name)]


def at(found: HeadScores, name: str, head: tuple[int, int]) -> float:
    return float(score(found, name)[head])
