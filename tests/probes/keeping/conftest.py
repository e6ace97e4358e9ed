"""A small probe of which every number is known, and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probes.data.places import Place, Source
from probes.estimating import base
from probes.estimating.base import LinearClassifierProbe
from probes.keeping import saving
from probes.keeping.card import ProbeCard

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 7))
CARD = ProbeCard(
    Place("z", 2, 1),
    Source("0123456789abcdef", "organism", "mean", {"prepend_bos": False, "layers": (1, 2)}),
    label="upos",
    n_rows=60,
    n_groups=12,
    metrics={"accuracy": 0.875, "auc": float("nan"), "f1": np.float32(0.25), "by": {3: [1.0]}},
    version="0.1.0",
    notes={"strengths": [0.1, 1.0], "kept": True, "none": None},
)


class MeansProbe(LinearClassifierProbe):
    """Reads the difference of two means; keeps whatever ``fitted`` says beside it."""

    def __init__(self, scale: Any = 1.0, *, fitted: Any = None) -> None:
        self.scale = scale
        self.fitted = fitted

    def fit(self, X: Any, y: Any) -> MeansProbe:
        X, targets, _ = self._read_training(X, y)
        means = [X[targets[:, 0] == k].mean(0) for k in (0, 1)]
        self.coef_ = (means[1] - means[0])[None] * 1.0
        self.intercept_ = -self.coef_ @ (means[0] + means[1]) / 2
        self._private = "gone after loading"
        return self


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the probe of this file be one that can be kept."""
    monkeypatch.setitem(saving.HOMES, "MeansProbe", "probes.estimating.base")
    monkeypatch.setattr(base, "MeansProbe", MeansProbe, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "probe"


def fitted(classes: Any = ("no", "yes"), **parameters: Any) -> MeansProbe:
    y = np.array(list(classes))[np.arange(len(X)) % len(classes)]
    return MeansProbe(**parameters).fit(X, y)


def same(found: Any, expected: Any) -> None:
    """Equal, and of one type, all the way down."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.flags.f_contiguous == expected.flags.f_contiguous
        if expected.dtype == object:
            for ours, theirs in zip(found.ravel(), expected.ravel(), strict=True):
                same(ours, theirs)
        else:
            assert found.tobytes("A") == expected.tobytes("A")
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    elif isinstance(expected, float) and np.isnan(expected):
        assert np.isnan(found)
    else:
        assert found == expected
