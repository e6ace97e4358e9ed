"""Class means and the scatter about them, by blocks of rows; products with an inverse covariance.

All of it in float64, whatever the rows are in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError

Array = NDArray[Any]
_BLOCK = 4096
_LEAST_PIVOT = 1e-10
"""Of a scaled covariance's Cholesky factor, squared: below, the pseudo-inverse is taken."""


@dataclass(frozen=True)
class ClassMoments:
    """Weights, means and scatter of the rows of some classes; parts of the data can be merged."""

    weights: Array
    """Total weight of each class, [classes]."""
    means: Array
    """[classes, features], float64; 0 for a class without rows."""
    scatter: Array | None
    """Sum over rows of the squares about their class's mean, [features, features]."""

    @classmethod
    def of(cls, X: Array, one_hot: Array, weights: Array, *, scatter: bool = True) -> ClassMoments:
        """Return the moments of some rows.

        Args:
            X: [rows, features].
            one_hot: [rows, classes], one 1 a row.
            weights: [rows].
            scatter: Whether to find the scatter too.

        Raises:
            ProbeError: The weights are negative, or all 0.
        """
        if (weights < 0).any() or not weights.sum() > 0:
            raise ProbeError("sample_weight is negative somewhere, or 0 everywhere")
        parts = one_hot * weights[:, None]
        counts = parts.sum(0)
        sums = np.zeros((one_hot.shape[1], X.shape[1]))
        blocks = [slice(i, i + _BLOCK) for i in range(0, len(X), _BLOCK)]
        for block in blocks:
            sums += parts[block].T @ X[block].astype(np.float64)
        means = sums / np.where(counts > 0, counts, 1.0)[:, None]
        total = np.zeros((X.shape[1], X.shape[1])) if scatter else None
        if total is not None:
            codes = one_hot.argmax(1)
            for block in blocks:
                centred = (X[block] - means[codes[block]]) * np.sqrt(weights[block])[:, None]
                total += centred.T @ centred
        return cls(counts, means, total)

    def merged(self, other: ClassMoments) -> ClassMoments:
        """Return the moments of both parts of the data together (Chan et al. 1979)."""
        counts = self.weights + other.weights
        share = other.weights / np.where(counts > 0, counts, 1.0)
        apart = other.means - self.means
        means = self.means + share[:, None] * apart
        scatter = None
        if self.scatter is not None and other.scatter is not None:
            between = apart * np.sqrt(self.weights * share)[:, None]
            scatter = self.scatter + other.scatter + between.T @ between
        return ClassMoments(counts, means, scatter)

    def covariance(self) -> Array:
        """Return the covariance about the class means, over all rows, without Bessel's correction.

        Raises:
            ProbeError: The scatter was not asked for.
        """
        if self.scatter is None:
            raise ProbeError("the scatter was not asked for")
        return np.asarray(self.scatter / self.weights.sum())


def inverse_times(covariance: Array, right: Array) -> Array:
    """Return the covariance's inverse times a matrix; of a singular one its pseudo-inverse.

    Args:
        covariance: [features, features], positive semi-definite.
        right: [features, columns].
    """
    from scipy.linalg import cho_factor, cho_solve

    variances = np.diagonal(covariance)
    # In units of their own spread, so that outlier dimensions do not hide the others.
    scale = np.where(variances > 0, 1 / np.sqrt(np.where(variances > 0, variances, 1.0)), 0.0)
    scaled = covariance * scale[:, None] * scale
    try:
        factor = cho_factor(scaled, lower=True)
        if (np.diagonal(factor[0]) ** 2).min() > _LEAST_PIVOT:
            return np.asarray(cho_solve(factor, right * scale[:, None]) * scale[:, None])
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(float(values[-1]), 0.0) * len(values) * np.finfo(np.float64).eps
    vectors = vectors[:, kept]
    return np.asarray(vectors @ ((vectors.T @ right) / values[kept][:, None]))
