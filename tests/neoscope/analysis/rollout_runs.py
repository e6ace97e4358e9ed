"""What the tests of rollout and flow share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import neoscope as ns
from neoscope.cache import ActivationCache
from neoscope.model import HookedGPTNeo
from neoscope.tokens import Tokens

TEXT = [3, 1, 4, 1, 5, 9, 2, 6]


QUIET: dict[str, Any] = {"progress": False}


def config(**changes: Any) -> ns.NeoConfig:
    shape = {"n_layers": 3, "d_model": 16, "n_heads": 4, "n_ctx": 32, "d_vocab": 40}
    shape |= {"window_size": 3, "bos_token_id": None, "eos_token_id": None, "init_range": 0.4}
    return ns.NeoConfig(**(shape | changes))


def random_model(**changes: Any) -> HookedGPTNeo:
    return HookedGPTNeo.from_config(config(**changes), seed=2)


def cache_of(pattern: Callable[[int, int], Any], n: int, n_layers: int) -> ActivationCache:
    """A cache whose heads attend as they are told: from (layer, head) to [query, key]."""
    shape = config(n_layers=n_layers, n_heads=2, attention_layers=("global",) * n_layers)
    tensors = {
        f"blocks.{layer}.attn.hook_pattern": torch.stack(
            [torch.as_tensor(pattern(layer, head)).float() for head in range(2)]
        )[None]
        for layer in range(n_layers)
    }
    ids = torch.arange(n)[None]
    tokens = Tokens(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))
    return ActivationCache(tensors, shape, tokens=tokens)


def previous(n: int) -> np.ndarray:
    matrix = np.eye(n, k=-1)
    matrix[0, 0] = 1
    return matrix


def some(n: int, seed: int) -> np.ndarray:
    weights = np.tril(np.random.default_rng(seed).random((n, n)))
    matrix: np.ndarray = weights / weights.sum(-1, keepdims=True)
    return matrix
