"""The same features on a GPU, where texts are grouped with slack and padded inside attention."""

from __future__ import annotations

import numpy as np
import pytest

from neoscope import load, organism
from neoscope.export import FeatureSpec, extract


@pytest.mark.gpu
@pytest.mark.parametrize("pool", ["mean", "weighted_mean", "last", "first", "max", "none"])
def test_a_gpu_gives_the_same_features(pool: str) -> None:
    texts = [s.text for task in ("filler", "facts") for s in organism.sentences(task, 200, seed=2)]
    sites = ["resid_post", "z", "hidden", "surprisal", "attn_entropy"]
    for some in (sites, sites[:-1]):  # attention summaries take the padded path
        spec = FeatureSpec(some, pool=pool)
        expected = extract(load("organism"), texts, spec, progress=False)
        found = extract(load("organism", device="cuda"), texts, spec, progress=False)
        for name in expected.names:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4)
