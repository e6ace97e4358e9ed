"""Ratios summed over texts, and how sure they are, without keeping the texts apart.

A score is (sum over texts of its sum) / (sum over texts of its count). Its standard error is that
of a ratio estimator, texts being the units that were drawn (Cochran 1977, section 6.4).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 1e-13
"""Beside the sum of squares: what is left of it by rounding alone is none."""


class Ratios:
    """Ratios of several units (heads), each with its own counts, and how they vary together."""

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
        rounding = _ROUNDING * (self._ss[i, i] * self._ss[j, j]).sqrt()
        cross = torch.where(cross.abs() <= rounding, 0.0, cross)
        n = torch.minimum(self.n[i], self.n[j])
        correction = torch.where(n > 1, n / (n - 1), float("nan"))
        return correction * cross / (self.count[i] * self.count[j])


class ColumnRatios:
    """Ratios of several units in each column, all with the column's counts; padded as they grow."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums = np.zeros((3, 0, 0))
        """Over texts: attention, its square, attention times count; [.., unit, column]."""
        self.count = np.zeros(0)
        self._squares = np.zeros(0)
        self._n = np.zeros(0)

    def add(
        self, total: Float[np.ndarray, "text unit column"], count: Float[np.ndarray, "text column"]
    ) -> None:
        """Take in some texts.

        Args:
            total: Attention of a text's queries, by unit (a head) and column.
            count: Its queries that count in a column.
        """
        units, columns = total.shape[1], max(total.shape[2], self._sums.shape[2])
        self._sums = _grown(self._sums, (3, units, columns))
        for name in ("count", "_squares", "_n"):
            setattr(self, name, _grown(getattr(self, name), (columns,)))
        here = slice(0, total.shape[2])
        self._sums[0, :, here] += total.sum(0)
        self._sums[1, :, here] += (total**2).sum(0)
        self._sums[2, :, here] += np.einsum("tuc,tc->uc", total, count)
        self.count[here] += count.sum(0)
        self._squares[here] += (count**2).sum(0)
        self._n[here] += (count > 0).sum(0)

    def mean(self) -> tuple[Float[np.ndarray, "unit column"], Float[np.ndarray, "unit column"]]:
        """Return the means and their standard errors; NaN where nothing, or one text, counted."""
        total, square, cross = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / self.count
            rest = square - 2 * mean * cross + mean**2 * self._squares
            rest = np.where(np.abs(rest) <= _ROUNDING * square, 0.0, rest).clip(min=0)
            correction = np.where(self._n > 1, self._n / (self._n - 1), np.nan)
            return mean, np.sqrt(correction * rest) / self.count


def _grown(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if x.shape == shape:
        return x
    found = np.zeros(shape)
    found[tuple(slice(0, n) for n in x.shape)] = x
    return found
