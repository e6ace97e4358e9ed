"""Weighted means and spreads of features, read in blocks of rows so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK_ROWS = 8192


def blocks(n_rows: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Yield slices that cover the rows in order."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def weighted_mean(
    X: Real[np.ndarray, "rows features"], weights: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " features"]:
    """Return the weighted mean of each feature, in float64."""
    total = np.zeros(X.shape[1])
    for rows in blocks(len(X)):
        total += weights[rows] @ np.asarray(X[rows], np.float64)
    return np.asarray(total / weights.sum())


def mean_and_scale(
    X: Real[np.ndarray, "rows features"], weights: Float[np.ndarray, " rows"]
) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
    """Return each feature's weighted mean and standard deviation, in float64.

    A row of weight 2 counts as two rows. A feature that does not vary has the deviation 1, so
    that dividing by it changes nothing.
    """
    mean = weighted_mean(X, weights)
    square = np.zeros(X.shape[1])
    for rows in blocks(len(X)):
        square += weights[rows] @ (np.asarray(X[rows], np.float64) - mean) ** 2
    scale = np.sqrt(square / weights.sum())
    # Rounding of the mean alone leaves this much of a constant.
    scale[scale <= 8 * np.finfo(np.float64).eps * np.abs(mean)] = 1
    return mean, scale
