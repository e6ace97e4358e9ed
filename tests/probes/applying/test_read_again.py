"""What a card remembers of caches and stores is how texts are read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import neoscope as ns
import probes
from neoscope import organism
from neoscope.export import FeatureSpec, to_store


@pytest.mark.parametrize(
    ("kept", "pool"),
    [({"positions": -1}, "mean"), ({"positions": [1]}, "last"), ({"prepend_bos": True}, "mean")],
)
def test_texts_are_read_as_the_cache_was(kept: dict[str, Any], pool: str) -> None:
    sentences = organism.sentences("agreement", 60, seed=2)
    texts = [one.prompt for one in sentences]
    model = ns.load("organism")
    _, cache = model.run_with_cache(texts, **kept)
    labels = [one.attributes["number"] for one in sentences]
    data = probes.ProbeData.from_cache(cache, labels, layers=[1], pool=pool)
    assert all(data.source.more[name] is not None for name in kept)
    found = probes.sweep(data, controls=False, n_bootstrap=5, cv=2)
    best = found.best()
    said = probes.apply_texts(best, model, texts, progress=False).labels
    own = best.predict(data.matrix(data.places[0]))
    assert (np.asarray(said) == own).mean() > 0.98  # the last digits differ by batch


def test_positions_of_a_store_are_remembered(tmp_path: Path) -> None:
    sentences = organism.sentences("agreement", 40, seed=2)
    frame = pd.DataFrame(
        {"text": [s.prompt for s in sentences], "label": [s.answer for s in sentences]}
    )
    spec = FeatureSpec(layers=[1], pool="mean", positions=[-1])
    to_store(ns.load("organism"), frame, tmp_path / "store", spec, progress=False)
    data = probes.ProbeData.from_store(tmp_path / "store", "label")
    assert data.source.more["positions"] == [-1]
