"""Labelled rows on which erasure is tested, easy and awkward."""

from __future__ import annotations

import numpy as np


def rows(kind: str = "plain", n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, n)
    X = rng.normal(size=(n, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=(4, 12))[y]
    if kind == "offset":
        X += 300.0
    if kind == "dependent":
        X = np.concatenate([X, X[:, :3] @ rng.normal(size=(3, 5))], 1)
    if kind == "constant":
        X = np.concatenate([X, np.full((n, 1), 3.3), np.zeros((n, 1))], 1)
    if kind == "outliers":
        X[:, 2] *= 1e4
        X[:, 5] += X[:, 2]
    if kind == "few":
        X, y = X[:9], np.arange(9) % 4
    if kind == "float32":
        X = X.astype(np.float32)
    if kind == "dependent float32":
        X = np.concatenate([X, X[:, :3]], 1).astype(np.float32)
    return X, y


KINDS = (
    "plain",
    "offset",
    "dependent",
    "constant",
    "outliers",
    "few",
    "float32",
    "dependent float32",
)
