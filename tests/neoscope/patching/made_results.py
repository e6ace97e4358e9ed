"""Results made up for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from neoscope.patching.results.axes import Axis
from neoscope.patching.results.result import PatchingResult


def result(pairs: int = 6, *, seed: int = 0, **changes: Any) -> PatchingResult:
    """Return effects of 3 layers and 4 positions, the first of which cannot move."""
    rng = np.random.default_rng(seed)
    corrupted = rng.normal(size=pairs).astype(np.float32) - 3
    ran = np.ones((3, 4), bool)
    ran[:, 0] = False
    effects = rng.normal(size=(pairs, 3, 4)) + np.arange(12).reshape(3, 4) / 4
    patched = corrupted[:, None, None] + np.where(ran, effects, 0).astype(np.float32)
    answer = rng.normal(size=(pairs, 3, 4)).astype(np.float32)
    given: dict[str, Any] = {
        "patched": patched,
        "axes": (
            Axis("layer", (0, 1, 2)),
            Axis("pos", ("0 When", "1 Mary|José", "2 «»", "3 '\\n'"), (True, False, True, True)),
        ),
        "base_name": "corrupted",
        "clean": rng.normal(size=pairs).astype(np.float32) + 3,
        "corrupted": corrupted,
        "site": "resid_pre",
        "direction": "denoise",
        "metric": "logit_diff",
        "unit": "logits",
        "source": "the clean run",
        "components": {"answer": answer, "wrong": answer - patched},
        "base_components": {"answer": {"clean": np.ones(pairs), "corrupted": np.zeros(pairs)}},
        "ran": ran,
        "model": "modèle",
        "fingerprint": "0" * 32,
        "clean_strings": (("When", " Mary"),) * pairs,
        "corrupted_strings": (("When", " José"),) * pairs,
        "seed": 5,
    }
    return PatchingResult(**{**given, **changes})
