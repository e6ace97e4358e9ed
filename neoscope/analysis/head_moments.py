"""Ratios summed over texts, and how sure they are, without keeping the texts apart.

A score is (sum over texts of its sum) / (sum over texts of its count). Its standard error is that
of a ratio estimator, texts being the units that were drawn (Cochran 1977, section 6.4).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


class Moments:
    """First and second moments of sums and counts of several units (heads)."""

    def __init__(self, units: int) -> None:
        """Begin with nothing."""
        self.n = torch.zeros(units, dtype=torch.float64)
        """Texts in which a unit counted something."""
        self.total, self.count = torch.zeros_like(self.n), torch.zeros_like(self.n)
        square = torch.zeros(units, units, dtype=torch.float64)
        self._ss, self._sc, self._cc = square, square.clone(), square.clone()

    def add(self, total: Float[Tensor, "text unit"], count: Float[Tensor, "text unit"]) -> None:
        """Take in some texts."""
        self.n += (count > 0).sum(0)
        self.total += total.sum(0)
        self.count += count.sum(0)
        self._ss += total.T @ total
        self._sc += total.T @ count
        self._cc += count.T @ count

    def ratio(self) -> Float[Tensor, " unit"]:
        """Return the scores; NaN where nothing was counted."""
        return self.total / self.count

    def stderr(self) -> Float[Tensor, " unit"]:
        """Return the standard error of each score; NaN for a single text."""
        unit = torch.arange(len(self.n))
        return self._covariance(unit, unit).clamp(min=0).sqrt()

    def stderr_between(self, a: int, b: int) -> float:
        """Return the standard error of the difference of two scores on the same texts.

        NaN for a single text.
        """
        i, j = torch.tensor([a, a, b]), torch.tensor([a, b, b])
        own, both, other = self._covariance(i, j).tolist()
        square = own - 2 * both + other
        return square if math.isnan(square) else math.sqrt(max(0.0, square))

    def _covariance(self, i: Tensor, j: Tensor) -> Tensor:
        r = self.ratio()
        cross = (
            self._ss[i, j]
            - r[j] * self._sc[i, j]
            - r[i] * self._sc[j, i]
            + r[i] * r[j] * self._cc[i, j]
        )
        # A sum of squares that is nothing but rounding is none.
        rounding = 1e-13 * (self._ss[i, i] * self._ss[j, j]).sqrt()
        cross = torch.where(cross.abs() <= rounding, 0.0, cross)
        n = torch.minimum(self.n[i], self.n[j])
        correction = torch.where(n > 1, n / (n - 1), float("nan"))
        return correction * cross / (self.count[i] * self.count[j])
