"""Which features tell classes apart: a score for each feature, for probes of few neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Real
from numpy.typing import NDArray

from probes.estimating.scaling import blocks, weighted_mean

Array = NDArray[Any]


def mean_difference(
    X: Real[np.ndarray, "rows features"],
    targets: Float[np.ndarray, "rows outputs"],
    weights: Float[np.ndarray, " rows"],
) -> Float[np.ndarray, " features"]:
    """Return how far apart the means of the rows with and without a class are.

    Of several outputs the largest distance counts. It has the feature's own unit: a feature with
    large numbers scores high (Gurnee et al. 2023, 2305.01610, appendix).

    Args:
        X: Features.
        targets: 0 and 1.
        weights: Of the rows.
    """
    counts, means = _means(X, targets, weights)
    difference = np.abs(means[:, 1] - means[:, 0])
    seen = np.asarray((counts > 0).all(1))
    return np.asarray(np.where(seen[:, None], difference, 0.0).max(0))


def f_statistic(
    X: Real[np.ndarray, "rows features"],
    targets: Float[np.ndarray, "rows outputs"],
    weights: Float[np.ndarray, " rows"],
    *,
    exclusive: bool = True,
) -> Float[np.ndarray, " features"]:
    """Return the variance between classes over the variance within, up to a common factor.

    It has no unit and ranks features as the analysis of variance does.

    Args:
        X: Features.
        targets: 0 and 1.
        weights: Of the rows.
        exclusive: Several outputs are classes of which each row has one; otherwise they are
            labels of their own, and the largest of their statistics counts.
    """
    mean = weighted_mean(X, weights)
    total = np.zeros(X.shape[1])
    for rows in blocks(len(X)):
        total += weights[rows] @ (np.asarray(X[rows], np.float64) - mean) ** 2
    counts, means = _means(X, targets, weights)
    apart = np.where(counts[..., None] > 0, (means - mean) ** 2, 0.0) * counts[..., None]
    classes = exclusive and targets.shape[1] > 1
    between = apart[:, 1].sum(0)[None] if classes else apart.sum(1)
    # What rounding leaves of a constant tells nothing.
    noise = weights.sum() * (8 * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    within = np.maximum(total - between, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(between > noise, between / within, 0.0)
    return np.asarray(ratio.max(0))


def _means(X: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """Return total weights [outputs, 2] and means [outputs, 2, features], without and with."""
    origin = weighted_mean(X, weights)
    inside, everything = np.zeros((targets.shape[1], X.shape[1])), np.zeros(X.shape[1])
    for rows in blocks(len(X)):
        block = np.asarray(X[rows], np.float64) - origin
        inside += (targets[rows] * weights[rows, None]).T @ block
        everything += weights[rows] @ block
    count = weights @ targets
    counts = np.stack([weights.sum() - count, count], 1)
    sums = np.stack([everything - inside, inside], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return counts, sums / counts[..., None] + origin


def best(scores: Float[np.ndarray, " features"], k: int) -> Array:
    """Return the indices of the ``k`` highest scores, the highest first, ties by index."""
    return np.argsort(-scores, kind="stable")[:k]
