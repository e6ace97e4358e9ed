"""Design: one matrix of features as the solvers read it, centred, scaled, with its spectrum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Rows of a block: small enough that what is computed of it stays in the processor's cache.
BLOCK_ROWS = 2048
# Above so many features a part of the spectrum, found by subspace iteration, has to do.
FULL_SPECTRUM = 1024
_PARTIAL_RANK = 256


@dataclass(frozen=True)
class Design:
    """Features in coordinates that suit the solvers: ``(X - centre) / scale``."""

    X: Float[Tensor, "rows features"]
    """Centred and scaled."""
    centre: Float[Tensor, " features"]
    scale: Float[Tensor, " features"]
    ratios: Float[Tensor, "features folds"]
    """By how much a fold's own standard deviation differs from ``scale``."""

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows block by block, with where they stand."""
        for start in range(0, len(self.X), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(self.X)))
            yield rows, self.X[rows]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors of ``X'X / rows``, all or the leading ones."""

    vectors: Float[Tensor, "features rank"]
    values: Float[Tensor, " rank"]
    rest: float
    """Mean of the eigenvalues that were left out."""


def design(
    X: Float[Tensor, "rows features"],
    weights: Float[Tensor, "rows folds"],
    *,
    standardize: bool,
    centred: bool,
) -> Design:
    """Centre and scale features.

    The centre and scale are those of all rows that any fold uses; each fold's own standard
    deviation is kept as a ratio to them, so that every fold is standardised by its own rows alone.

    Args:
        X: Features, float32 or float64.
        weights: Of every row in every fold; 0 where a fold leaves it out.
        standardize: Divide by the standard deviation.
        centred: Subtract the mean.
    """
    total = weights.sum(1)
    n_features, n_folds = X.shape[1], weights.shape[1]
    centre = torch.zeros(n_features, dtype=torch.float64, device=X.device)
    scale = torch.ones_like(centre)
    ratios = torch.ones(n_features, n_folds, dtype=torch.float64, device=X.device)
    if centred:
        centre = _weighted_sum(X, total[:, None])[:, 0] / total.sum()
    shifted = X - centre.to(X.dtype)
    if standardize:
        mass = weights.sum(0)
        means = _weighted_sum(shifted, weights) / mass
        squares = _weighted_sum(shifted, weights, square=True) / mass
        # A shift by the overall mean keeps the difference from cancelling.
        variances = (squares - means**2).clamp_min(0.0)
        overall = (variances * mass).sum(1) / mass.sum()
        tiny = 10 * torch.finfo(X.dtype).eps * (centre.abs() + squares.mean(1).sqrt())
        constant = variances.sqrt() <= tiny[:, None]
        scale = torch.where(overall.sqrt() <= tiny, 1.0, overall.sqrt())
        ratios = torch.where(constant, 1.0 / scale[:, None], variances.sqrt() / scale[:, None])
        shifted = shifted.div_(scale.to(X.dtype))
    return Design(shifted, centre, scale, ratios)


def spectrum(X: Float[Tensor, "rows features"], seed: int = 0) -> Spectrum:
    """Return the eigenvectors of ``X'X / rows``.

    Args:
        X: Centred features.
        seed: For the subspace iteration that finds the leading ones where there are many features.
    """
    rows, features = X.shape
    if features <= FULL_SPECTRUM:
        gram = (X.T @ X).div_(rows)
        values, vectors = torch.linalg.eigh(gram)
        return Spectrum(vectors, values.clamp_min(0.0), 0.0)
    rank = min(_PARTIAL_RANK, rows, features)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(features, rank, generator=generator, dtype=torch.float64)
    basis = basis.to(X.device, X.dtype)
    for _ in range(3):
        basis = torch.linalg.qr(X.T @ (X @ basis)).Q
    small = X @ basis
    values, rotation = torch.linalg.eigh((small.T @ small).div_(rows))
    total = float(X.double().square().sum()) / rows
    rest = max(total - float(values.sum()), 0.0) / max(features - rank, 1)
    return Spectrum(basis @ rotation, values.clamp_min(0.0), rest)


def _weighted_sum(X: Tensor, weights: Tensor, *, square: bool = False) -> Tensor:
    """Sums over rows, [features, folds], in float64 whatever X is."""
    total = torch.zeros(X.shape[1], weights.shape[1], dtype=torch.float64, device=X.device)
    for start in range(0, len(X), BLOCK_ROWS):
        block = X[start : start + BLOCK_ROWS].double()
        total += (block.square() if square else block).T @ weights[start : start + BLOCK_ROWS]
    return total
