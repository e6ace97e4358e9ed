"""Percentile bootstrap over pairs: means, and effects as ratios of means, with their intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 1000
DECIMALS = 5
METHOD = (
    f"percentile bootstrap, {RESAMPLES} resamples, confidence {CONFIDENCE}: pairs are drawn anew "
    "with replacement, the same ones for every mean of a ratio, and the ratio is taken again"
)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Values with their intervals, in arrays of one shape."""

    value: NDArray[np.float64]
    """From all pairs."""
    low: NDArray[np.float64]
    """Lower end of the 95 % interval."""
    high: NDArray[np.float64]
    """Upper end."""

    def record(self, name: str = "effect") -> dict[str, Any]:
        """Return plain JSON values, rounded; what is not finite is None.

        Args:
            name: What to call the values.
        """
        return {name: rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}


class Bootstrap:
    """Resamples of pairs, drawn once, so that all that is made of them varies together.

    Example:
        >>> found = Bootstrap(4).mean(np.ones(4))
        >>> float(found.value), float(found.low), float(found.high)
        (1.0, 1.0, 1.0)
    """

    def __init__(self, n: int, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        """Draw them.

        Args:
            n: Number of pairs.
            seed: Of the draws.
            resamples: How many.
        """
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
        self._shares = counts.T / n  # [pair, resample]

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """Return means over pairs.

        Args:
            values: ``[..., pair]``.
        """
        return _estimate(np.asarray(values.mean(-1)), values @ self._shares)

    def effect(
        self,
        patched: NDArray[np.float64],
        clean: NDArray[np.float64],
        corrupted: NDArray[np.float64],
    ) -> Estimate:
        """Return (mean patched - mean corrupted) / (mean clean - mean corrupted), a ratio of means.

        Args:
            patched: Logit differences of patched runs, ``[..., pair]``.
            clean: Of the clean run, ``[pair]``.
            corrupted: Of the corrupted run, ``[pair]``.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (patched.mean(-1) - corrupted.mean()) / (clean.mean() - corrupted.mean())
            gaps = (clean - corrupted) @ self._shares
            ratios = ((patched - corrupted) @ self._shares) / gaps
        return _estimate(np.asarray(value), ratios)


def _estimate(value: NDArray[np.float64], resampled: NDArray[np.float64]) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    with np.errstate(invalid="ignore"):  # Ratios to nothing are not finite.
        low, high = np.quantile(resampled, (tail, 1 - tail), axis=-1)
    return Estimate(value, np.asarray(low), np.asarray(high))


def rounded(values: Any) -> Any:
    """Return arrays as nested lists of rounded numbers; what is not finite is None.

    Example:
        >>> rounded(np.array([1.23456789, np.inf]))
        [1.23457, None]
    """
    if isinstance(values, list):
        return [rounded(value) for value in values]
    if isinstance(values, np.ndarray):
        return rounded(values.tolist())
    if values is None or isinstance(values, (int, str)):
        return values
    # Adding 0 turns -0.0 into 0.0.
    return round(float(values), DECIMALS) + 0.0 if np.isfinite(values) else None
