"""What an intervention is compared with: the same, in random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probes.erasure.eraser import Eraser

Array = NDArray[Any]
Change = Callable[[Tensor], Tensor]


def random_basis(rng: np.random.Generator, n_features: int, rank: int) -> Array:
    """Return an orthonormal basis of a uniformly drawn subspace, [features, rank]."""
    basis, _ = np.linalg.qr(rng.standard_normal((n_features, rank)))
    return np.asarray(basis)


def random_eraser(eraser: Eraser, basis: Array) -> Eraser:
    """Return the eraser of another subspace about the same mean.

    Args:
        eraser: What it is a control of.
        basis: [features, rank], orthonormal.
    """
    return Eraser(eraser.mean, basis, basis.T.copy(), "random")


def matched_removal(eraser: Eraser, basis: Array) -> Change:
    """Return a change within another subspace that is as long, at every token, as the eraser's.

    Each token moves against its own component in the subspace, by the norm of what the eraser takes
    from it: it moves as far, elsewhere.

    Args:
        eraser: What it is a control of.
        basis: [features, rank], orthonormal.
    """
    other = random_eraser(eraser, basis)

    def change(x: Tensor) -> Tensor:
        flat = as_vectors(x, eraser.n_features)
        length = (flat - eraser(flat)).norm(dim=-1, keepdim=True)
        away = flat - other(flat)
        unit = away / away.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        return torch.reshape(flat - length * unit, x.shape)

    return change


def swap(source: Tensor, basis: Array, length_of: Array | None = None) -> Change:
    """Return a change that puts another text's component in a subspace in place of the own one.

    Args:
        source: The other texts' values, shaped as what is changed.
        basis: [features, rank], orthonormal.
        length_of: [features, rank]: move as far as the swap in this subspace would.
    """

    def change(x: Tensor) -> Tensor:
        q = torch.as_tensor(basis).to(x.device, x.dtype)
        apart = source.to(x.device, x.dtype) - x
        moved = (apart @ q) @ q.T
        if length_of is not None:
            p = torch.as_tensor(length_of).to(x.device, x.dtype)
            length = (apart @ p).norm(dim=-1, keepdim=True)
            tiny = torch.finfo(x.dtype).tiny
            moved = moved * (length / moved.norm(dim=-1, keepdim=True).clamp_min(tiny))
        return x + moved

    return change


def as_vectors(x: Tensor, n_features: int) -> Tensor:
    """Return values with one vector of features a token: those of all heads one after the other."""
    if x.shape[-1] != n_features and x.ndim > 1 and x.shape[-1] * x.shape[-2] == n_features:
        return x.flatten(-2)
    return x
