"""Moments: means, spread, kurtosis, norms and covariance of vectors that come in parts."""

from __future__ import annotations

import numpy as np

from neoscope.analysis.numbers import Array, flat_share

_FLAT = flat_share()


class Moments:
    """What one pass over rows of vectors tells of them.

    Powers are summed about the mean of the first part, so that an offset that is large beside all
    else costs no digits.

    Example:
        >>> moments = Moments(covariance=True)
        >>> for part in np.arange(16.0).reshape(4, 2, 2):
        ...     moments.add(part)
        >>> moments.n_rows, moments.mean.tolist(), moments.variance.tolist()
        (8, [7.0, 8.0], [21.0, 21.0])
    """

    def __init__(self, *, covariance: bool = False) -> None:
        """Begin with no rows.

        Args:
            covariance: Sum the products of dimensions too, [width, width].
        """
        self.n_rows = 0
        self._wants_covariance = covariance
        self._norms = (0.0, 0.0, np.inf, -np.inf)

    def add(self, x: Array) -> None:
        """Take in some rows.

        Args:
            x: [rows, width], finite.
        """
        x = np.asarray(x, np.float64)
        if not len(x):
            return
        if not self.n_rows:
            width = x.shape[1]
            self._shift = x.mean(0)
            self._powers = np.zeros((4, width))
            self._products = np.zeros((width, width)) if self._wants_covariance else None
            self.units = UnitSums(np.zeros(width), np.ones(width))
        z = x - self._shift
        square = z * z
        self._powers += np.stack([z.sum(0), square.sum(0), (square * z).sum(0), (square**2).sum(0)])
        if self._products is not None:
            self._products += z.T @ z
        self.units.add(x)
        norms = np.linalg.norm(x, axis=1)
        total, squares, low, high = self._norms
        self._norms = (
            total + float(norms.sum()),
            squares + float((norms**2).sum()),
            min(low, float(norms.min())),
            max(high, float(norms.max())),
        )
        self.n_rows += len(x)

    @property
    def mean(self) -> Array:
        """Mean of each dimension, [width]."""
        return np.asarray(self._shift + self._powers[0] / self.n_rows)

    @property
    def variance(self) -> Array:
        """Variance of each dimension over all rows, without Bessel's correction, [width]."""
        return np.maximum(self._central()[0], 0.0)

    @property
    def mean_square(self) -> Array:
        """Mean of the squares of each dimension, [width]."""
        return np.asarray(self.variance + self.mean**2)

    @property
    def kurtosis(self) -> Array:
        """Excess kurtosis of each dimension, 0 for a Gaussian, NaN where it does not vary."""
        second, fourth = self._central()
        varies = self.varies
        return np.where(varies, fourth / np.where(varies, second, 1.0) ** 2 - 3, np.nan)

    @property
    def varies(self) -> Array:
        """Whether each dimension varies, rounding aside, [width]."""
        scale = self._powers[1] / self.n_rows + self._shift**2
        return np.asarray(self._central()[0] > _FLAT * scale)

    @property
    def covariance(self) -> Array:
        """Covariance over all rows, without Bessel's correction, [width, width]."""
        assert self._products is not None
        mean = self._powers[0] / self.n_rows
        return np.asarray(self._products / self.n_rows - np.outer(mean, mean))

    @property
    def norms(self) -> tuple[float, float, float, float]:
        """Mean, standard deviation, least and largest Euclidean norm of a row."""
        total, squares, low, high = self._norms
        mean = total / self.n_rows
        return mean, max(squares / self.n_rows - mean**2, 0.0) ** 0.5, low, high

    def _central(self) -> tuple[Array, Array]:
        """Second and fourth central moments of each dimension."""
        m1, m2, m3, m4 = self._powers / self.n_rows
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        return m2 - m1**2, fourth


class UnitSums:
    """Sums of unit vectors, from which the mean cosine of all pairs follows exactly.

    ``((sum u)^2 - sum u^2) / (n (n - 1))``, by dimension; rows of norm 0, which have no direction,
    are counted and left out.
    """

    def __init__(self, shift: Array, scale: Array) -> None:
        """Begin with no rows.

        Args:
            shift: Subtracted from each row, [width].
            scale: What each dimension is then divided by, [width].
        """
        self._shift, self._scale = shift, scale
        self._sum, self._squares = np.zeros(len(shift)), np.zeros(len(shift))
        self.n_rows, self.n_zero = 0, 0

    def add(self, x: Array) -> None:
        """Take in some rows, [rows, width]."""
        z = (x - self._shift) / self._scale
        norms = np.linalg.norm(z, axis=1)
        # A row that is the mean itself is left with what rounding made of it.
        least = _FLAT**0.5 * np.linalg.norm(x / self._scale, axis=1)
        real = norms > least
        units = z[real] / norms[real, None]
        self._sum += units.sum(0)
        self._squares += (units**2).sum(0)
        self.n_rows += int(real.sum())
        self.n_zero += int((~real).sum())

    def contributions(self) -> Array:
        """Return what each dimension adds to the mean cosine of different rows, [width]."""
        if self.n_rows < 2:
            return np.full(len(self._sum), np.nan)
        return np.asarray((self._sum**2 - self._squares) / (self.n_rows * (self.n_rows - 1)))

    def cosine(self) -> float:
        """Return the mean cosine between different rows; NaN with fewer than two."""
        return float(self.contributions().sum())
