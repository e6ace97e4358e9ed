"""Data of which is known what a sweep finds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import probes

Array = NDArray[Any]
N_LAYERS = 3


def planted(n: int = 600, d: int = 12, seed: int = 0) -> probes.ProbeData:
    """Types in sentences of ten; the last layer knows the label best, the first knows nothing."""
    rng = np.random.default_rng(seed)
    types, groups = rng.integers(0, 30, n), np.repeat(np.arange(n // 10), 10)
    y = rng.integers(0, 3, 30)[types]
    y = np.where(rng.random(n) < 0.1, rng.integers(0, 3, n), y)
    signal, noise = np.eye(3, d)[y] * 3, rng.normal(size=(N_LAYERS, n, d))
    features: dict[probes.Place, Array] = {
        probes.Place("resid_post", layer): (signal * layer + noise[layer]).astype(np.float32)
        for layer in range(N_LAYERS)
    }
    named = np.array(["adj", "noun", "verb"])[y]
    return probes.ProbeData(features, named, groups, types=types.astype(str), label="upos")
