"""Sentences to featurize, and their features by extract."""

from __future__ import annotations

from typing import Any

import numpy as np

from neoscope import organism
from neoscope.export.memory import extract
from neoscope.export.spec import FeatureSpec

SENTENCES = organism.sentences("sentiment", 120, split="train")
TEXTS = [sentence.text for sentence in SENTENCES]
LABELS = [sentence.attributes["sentiment"] for sentence in SENTENCES]
FEW = list(dict.fromkeys(TEXTS))[:12]


def features(spec: FeatureSpec, texts: list[str] = FEW, model: Any = "organism") -> np.ndarray:
    found = extract(model, texts, spec, progress=False)
    return np.concatenate([found[name].reshape(len(texts), -1) for name in found.names], axis=1)
