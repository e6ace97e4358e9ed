"""CrossMoments: means, covariance with the concept, and scatter of features, streamed.

Features are taken about a shift near their mean, so that offsets, which are large in GPT-Neo, cost
no digits. Sums of features, and of features times labels, are float64: the guarantee of an eraser
needs them exact. Products of features with features, which are nearly all of the work and decide
only how little else is changed, are made in the features' own float type block by block, the upper
triangle only, and added up in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.errors import ProbeError
from probes.erasure.concept import Concept

Array = NDArray[Any]
_BLOCK = 4096
_SUMMED = 512
"""Rows summed at a time, few enough to stay in the cache meanwhile."""
_PANELS = 8
"""Panels of columns that the triangle is made of: 8 leave out 7/16 of the square."""


class CrossMoments:
    """Running sums over rows of features x and labels z."""

    def __init__(self, n_features: int, width: int, *, scatter: bool = True) -> None:
        """Start with no rows.

        Args:
            n_features: Length of x.
            width: Length of z.
            scatter: Whether to sum x x^T too.
        """
        self.n = 0
        self.coarse = False
        """Whether any product was made in less than float64."""
        self.degrees = width
        """How many directions can depend on z."""
        self._shift: Array | None = None
        self._x = np.zeros(n_features)
        self._z, self._zz = np.zeros(width), np.zeros(width)
        self._zx = np.zeros((width, n_features))
        self._xx = np.zeros((n_features, n_features)) if scatter else None

    def add(self, X: Array, concept: Concept, *, exact: bool = False) -> None:
        """Add rows.

        Args:
            X: [rows, features] float32 or float64, finite.
            concept: Their labels.
            exact: Make all products in float64.

        Raises:
            ProbeError: A feature is not finite.
        """
        half = X.dtype == np.float32 and not exact
        self.coarse |= half and self._xx is not None
        self.degrees = concept.degrees
        kept = torch.empty(_BLOCK, X.shape[1], dtype=torch.float32 if half else torch.float64)
        for start in range(0, len(X), _BLOCK):
            # Torch wants rows that may be written, in any order but backwards.
            block = np.require(X[start : start + _BLOCK], requirements=["C", "W"])
            values = torch.from_numpy(block)
            for at in range(0, len(values), _SUMMED):
                part = values[at : at + _SUMMED]
                rows = slice(start + at, start + at + len(part))
                kept[at : at + len(part)] = self._add_sums(part, rows, concept)
            if self._xx is not None:
                _add_gram(self._xx, kept[: len(values)])

    def _add_sums(self, part: Tensor, rows: slice, concept: Concept) -> Tensor:
        """Add what must be exact; return the rows about the shift, in float64."""
        x = part.double()
        if self._shift is None:
            self._shift = np.nan_to_num(x.mean(0).numpy(), posinf=0.0, neginf=0.0)
        # Not in place: of float64 it is the caller's own.
        x = (
            x - torch.from_numpy(self._shift)
            if x is part
            else x.sub_(torch.from_numpy(self._shift))
        )
        sums = concept.times(rows, x)
        if not np.isfinite(sums[-1]).all():
            bad = rows.start + int((~x.isfinite().all(1)).nonzero()[0, 0])
            raise ProbeError(f"features: row {bad} holds a value that is not finite")
        self._zx += sums[:-1]
        self._x += sums[-1]
        self._z += concept.total(rows)
        self._zz += concept.squares(rows)
        self.n += len(x)
        return x

    @property
    def mean(self) -> Array:
        """Mean of x."""
        return np.asarray(self._x / self.n + (0.0 if self._shift is None else self._shift))

    @property
    def cross(self) -> Array:
        """Covariance of x and z, [features, width]."""
        return np.asarray((self._zx - np.outer(self._z, self._x / self.n)).T / self.n)

    @property
    def z_variance(self) -> Array:
        """Variance of each number of z; 0 where it is no more than rounding."""
        square = self._zz / self.n
        variance = square - (self._z / self.n) ** 2
        return np.where(variance > 64 * np.finfo(np.float64).eps * square, variance, 0.0)

    @property
    def covariance(self) -> Array:
        """Covariance of x, [features, features]."""
        assert self._xx is not None, "the scatter was not asked for"
        # Below the diagonal the panels have left anything.
        upper = np.triu(self._xx - np.outer(self._x, self._x / self.n))
        return np.asarray((upper + np.triu(upper, 1).T) / self.n)


def _add_gram(total: Array, rows: Tensor) -> None:
    """Add x^T x to the upper triangle of a square; below it, anything."""
    d = rows.shape[1]
    step = -(-d // _PANELS)
    square = torch.from_numpy(total)
    for at in range(0, d, step):
        square[at : at + step, at:] += rows[:, at : at + step].T @ rows[:, at:]
