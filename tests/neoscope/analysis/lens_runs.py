"""Texts, runs and comparisons that the tests of lenses share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoscope.analysis.lens.result import LensResult
from neoscope.cache import ActivationCache
from neoscope.model import HookedGPTNeo

TEXTS = ("When Mary and John went to the store, John gave a drink to", "The keys near the cabinet")


def cached(model: HookedGPTNeo, *args: Any, **options: Any) -> ActivationCache:
    with torch.no_grad():
        found: ActivationCache = model.run_with_cache(*args, **options)[1]
        return found


@torch.no_grad()
def logits_of(model: HookedGPTNeo, stream: Tensor) -> Tensor:
    found: Tensor = model.unembed(model.ln_final(stream))
    return found


def assert_same(found: LensResult, expected: LensResult, tolerance: float = 1e-5) -> None:
    """Equal but for rounding; top tokens of nearly one probability may change places."""
    assert found.labels == expected.labels
    assert found.tokens == expected.tokens
    for name in ("position", "ids", "next_ids"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    for name in ("entropy", "kl", "cross_entropy", "bias", "top_probability"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=tolerance, err_msg=name
        )
