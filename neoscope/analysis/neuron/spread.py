"""Spread: mean, deviation, range and an exact histogram of many units over a stream.

Bins are fixed by the caller, or have a width that is a power of two and grows with the range: two
bins then become one without a count being moved, so the counts are exact, and what bins there are
depends on the smallest and the largest value alone, not on how the corpus was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.numbers import Array

MOST_BINS = 64
# The finest width beside the largest value, for units that hardly vary: 2**-20 of it.
_FINEST = 20
_SMALLEST = -120


@dataclass(frozen=True)
class Spread:
    """What is known of how each unit's activations are spread; taking in more makes a new one."""

    n: int
    mean: Float[np.ndarray, " unit"]
    squares: Float[np.ndarray, " unit"]
    """Sum of squares about the mean."""
    positive: Int[np.ndarray, " unit"]
    """How many were above zero."""
    low: Float[np.ndarray, " unit"]
    high: Float[np.ndarray, " unit"]
    counts: Int[np.ndarray, "unit bin"]
    exponent: Int[np.ndarray, " unit"]
    """Of two, for the width of a bin."""
    first: Int[np.ndarray, " unit"]
    """The number of the first bin; bin i is ``[i, i + 1)`` widths."""
    edges: Float[np.ndarray, " edge"] | None
    """Where bins are fixed: their edges, the outermost infinite."""

    @classmethod
    def empty(cls, n_units: int, bins: Float[np.ndarray, " edge"] | None = None) -> Spread:
        """Return the state before anything was seen.

        Args:
            n_units: How many units.
            bins: Ascending edges; what lies outside goes into two bins more. None to adapt.
        """
        edges = None if bins is None else np.concatenate([[-np.inf], bins, [np.inf]])
        zeros = np.zeros(n_units)
        return cls(
            n=0,
            mean=zeros,
            squares=zeros,
            positive=np.zeros(n_units, np.int64),
            low=np.full(n_units, np.inf),
            high=np.full(n_units, -np.inf),
            counts=np.zeros((n_units, MOST_BINS if edges is None else len(edges) - 1), np.int64),
            exponent=np.full(n_units, _SMALLEST, np.int64),
            first=np.zeros(n_units, np.int64),
            edges=edges,
        )

    def updated(self, values: Float[Tensor, "token unit"]) -> Spread:
        """Return the state after some more values, which are finite."""
        m = len(values)
        if not m:
            return self
        exact = values.double()
        n = self.n + m
        variance, part = torch.var_mean(exact, 0, correction=0)
        squares = variance.cpu().numpy() * m
        apart = part.cpu().numpy() - self.mean
        low = np.minimum(self.low, values.amin(0).double().cpu().numpy())
        high = np.maximum(self.high, values.amax(0).double().cpu().numpy())
        if self.edges is None:
            exponent, first = _bins(low, high)
            counts = self._regrouped(exponent, first)
            width = torch.from_numpy(np.exp2(-exponent.astype(np.float64))).to(exact.device)
            bins = (exact * width).floor().long() - torch.from_numpy(first).to(exact.device)
        else:
            exponent, first, counts = self.exponent, self.first, self.counts.copy()
            inner = torch.from_numpy(self.edges[1:-1]).to(exact.device)
            bins = torch.bucketize(exact, inner, right=True)
        return Spread(
            n=n,
            mean=self.mean + apart * (m / n),
            squares=self.squares + squares + apart**2 * (self.n * m / n),
            positive=self.positive + (values > 0).sum(0).cpu().numpy(),
            low=low,
            high=high,
            counts=counts + _counted(bins, counts.shape[1]),
            exponent=exponent,
            first=first,
            edges=self.edges,
        )

    @property
    def sd(self) -> Float[np.ndarray, " unit"]:
        """Standard deviation over all tokens, without Bessel's correction."""
        return np.asarray(np.sqrt(self.squares / max(self.n, 1)))

    def histogram(self) -> tuple[Int[np.ndarray, "unit bin"], Float[np.ndarray, "unit edge"]]:
        """Return counts and the edges of their bins, as many bins as the fullest unit needs."""
        if self.edges is not None:
            return self.counts, np.broadcast_to(self.edges, (len(self.counts), len(self.edges)))
        used = np.flatnonzero(self.counts.any(0))
        n = int(used[-1]) + 1 if len(used) else 1
        width = np.exp2(self.exponent.astype(np.float64))[:, None]
        return self.counts[:, :n], (self.first[:, None] + np.arange(n + 1)) * width

    def _regrouped(self, exponent: Array, first: Array) -> Array:
        """Return the counts so far in bins of other widths, of which each old bin is within one."""
        if not self.n or ((exponent == self.exponent).all() and (first == self.first).all()):
            return self.counts.copy()
        number = self.first[:, None] + np.arange(MOST_BINS)
        # Numbers of bins are below 2**21: more is nothing but their sign.
        shift = np.minimum(exponent - self.exponent, 62)[:, None]
        moved = (number >> shift) - first[:, None]
        unit, old = np.nonzero(self.counts)
        counts = np.zeros_like(self.counts)
        np.add.at(counts, (unit, moved[unit, old]), self.counts[unit, old])
        return counts


def _bins(low: Array, high: Array) -> tuple[Array, Array]:
    """Return for each unit the least exponent under which its range fits, and its first bin."""
    largest = np.maximum(np.abs(low), np.abs(high))
    exponent = np.frexp(np.where(largest > 0, largest, 1.0))[1].astype(np.int64) - _FINEST
    exponent = np.where(largest > 0, np.maximum(exponent, _SMALLEST), _SMALLEST)
    while True:
        width = np.exp2(exponent.astype(np.float64))
        first = np.floor(low / width).astype(np.int64)
        wide = np.floor(high / width).astype(np.int64) - first >= MOST_BINS
        if not wide.any():
            return exponent, first
        exponent = exponent + wide


def _counted(bins: Tensor, n: int) -> Int[np.ndarray, "unit bin"]:
    n_units = bins.shape[1]
    flat = bins + n * torch.arange(n_units, device=bins.device)
    counts = torch.bincount(flat.flatten(), minlength=n_units * n)
    return counts.view(n_units, n).cpu().numpy()
