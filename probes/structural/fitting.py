"""Fitting of the structural probes: a projection by gradient descent on an L1 loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import nn

from neoscope.errors import ProbeError
from probes.estimating.arguments import number, whole_number
from probes.estimating.descent import Descent, Schedule, descend
from probes.linear.joint import read_device

Array = NDArray[Any]

ROWS, GROUPS = 512, 20
"""Rows and groups a step where nobody says."""
DROPS = 3
"""How often the learning rate drops to a tenth before training ends."""
AUTO_ROWS = 1000
AUTO_SHARE = 0.1


@dataclass(frozen=True)
class StructuralOptions:
    """What the constructors of the structural probes take, checked."""

    rank: int
    batch_size: int
    schedule: Schedule
    seed: int
    device: str

    @classmethod
    def read(cls, probe: Any, batch_size: int) -> StructuralOptions:
        """Check a probe's parameters.

        Args:
            probe: Its parameters.
            batch_size: What None means.

        Raises:
            ProbeError: One of them means nothing.
        """
        return cls(
            rank=whole_number("rank", probe.rank),
            batch_size=batch_size
            if probe.batch_size is None
            else whole_number("batch_size", probe.batch_size),
            schedule=Schedule(
                learning_rate=number("learning_rate", probe.learning_rate, positive=True),
                max_epochs=whole_number("max_epochs", probe.max_epochs),
                patience=whole_number("patience", probe.patience),
                tolerance=number("tolerance", probe.tolerance),
                drops=DROPS,
                progress=bool(probe.progress),
            ),
            seed=whole_number("seed", probe.seed, least=0),
            device=read_device(probe.device),
        )


class SquaredLength(nn.Module):
    """The squared length of vectors, as an axis of one."""

    def forward(self, x: Float[torch.Tensor, "... rank"]) -> Float[torch.Tensor, "... 1"]:
        """Return the sum of squares over the last axis."""
        return x.square().sum(-1, keepdim=True)


def rows_of_groups(groups: Any, n_rows: int) -> list[Array]:
    """Return the rows of each group in order, the groups by their first row.

    Args:
        groups: [rows] of any values; None makes all rows one group.
        n_rows: Of the data.

    Raises:
        ProbeError: Not one group a row.
    """
    if groups is None:
        return [np.arange(n_rows)]
    groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise ProbeError(f"groups has shape {groups.shape}; expected ({n_rows},), one a row")
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    return sorted(rows, key=lambda these: int(these[0]))


def fit_depth(
    Z: Array, y: Array, weights: Array, parts: list[Array], options: StructuralOptions
) -> tuple[Array, Descent]:
    """Fit ``||B z||^2`` to numbers.

    Args:
        Z: [rows, features], scaled.
        y: [rows].
        weights: [rows].
        parts: The rows of each group, which are held out together.
        options: Of the probe.

    Returns:
        B [rank, features] and how the descent went.
    """
    train, held = _hold_out(parts, len(Z), options.seed)
    trained, judged = np.concatenate(train), np.concatenate(held) if held else np.empty(0, int)
    whole = len(trained) <= options.batch_size
    tensor = _tensors(torch.float64 if whole else torch.float32, options.device)
    weights = weights / weights[trained].mean()
    B = _initial(Z.shape[1], options, tensor)

    def loss(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        z, depth, weight = batch
        predicted = (z @ B.T).square().sum(1)
        return weight @ (predicted - depth).abs() / len(z)

    def read(rows: Array) -> tuple[torch.Tensor, ...]:
        return tensor(Z[rows]), tensor(y[rows]), tensor(weights[rows])

    def judge() -> float:
        with torch.no_grad():
            return loss(read(judged)).item()

    rng = np.random.default_rng(options.seed)
    everything = read(trained) if whole else ()

    def epoch() -> Iterator[tuple[torch.Tensor, ...]]:
        if whole:
            yield everything
            return
        order = rng.permutation(trained)
        for start in range(0, len(order), options.batch_size):
            yield read(np.sort(order[start : start + options.batch_size]))

    descent = descend([B], loss, epoch, judge if held else None, options.schedule)
    return _numpy(B), descent


def fit_distance(
    Z: Array, y: Array, parts: list[Array], options: StructuralOptions
) -> tuple[Array, Descent]:
    """Fit ``||B (z_i - z_j)||^2`` to the L1 distances of targets, within groups.

    Args:
        Z: [rows, features], scaled.
        y: [rows, targets].
        parts: The rows of each group.
        options: Of the probe; ``batch_size`` counts groups.

    Returns:
        B [rank, features] and how the descent went.
    """
    parts = [rows for rows in parts if len(rows) > 1]
    train, held = _hold_out(parts, sum(map(len, parts)), options.seed)
    whole = len(train) <= options.batch_size
    tensor = _tensors(torch.float64 if whole else torch.float32, options.device)
    B = _initial(Z.shape[1], options, tensor)

    def loss(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        z, distance, pairs = batch
        error = (_squared_distances(z @ B.T) - distance).abs() * pairs
        return error.sum()

    def read(chosen: list[Array]) -> tuple[torch.Tensor, ...]:
        width = max(map(len, chosen))
        rows = np.stack([np.pad(each, (0, width - len(each)), mode="edge") for each in chosen])
        real = np.arange(width) < np.array([len(each) for each in chosen])[:, None]
        # The mean over the pairs of a group, then over groups, as in the paper.
        pairs = (real[:, :, None] & real[:, None]) / real.sum(1)[:, None, None] ** 2 / len(chosen)
        targets = tensor(y[rows])
        return tensor(Z[rows]), torch.cdist(targets, targets, p=1), tensor(pairs)

    def judge() -> float:
        size = options.batch_size
        with torch.no_grad():
            batches = [held[at : at + size] for at in range(0, len(held), size)]
            return sum(loss(read(b)).item() * len(b) for b in batches) / len(held)

    rng = np.random.default_rng(options.seed)
    everything = read(train) if whole else ()

    def epoch() -> Iterator[tuple[torch.Tensor, ...]]:
        if whole:
            yield everything
            return
        order = rng.permutation(len(train))
        for start in range(0, len(order), options.batch_size):
            yield read([train[i] for i in order[start : start + options.batch_size]])

    descent = descend([B], loss, epoch, judge if held else None, options.schedule)
    return _numpy(B), descent


def _squared_distances(points: torch.Tensor) -> torch.Tensor:
    square = points.square().sum(-1)
    return square[..., :, None] + square[..., None, :] - 2 * points @ points.mT


def _hold_out(parts: list[Array], n_rows: int, seed: int) -> tuple[list[Array], list[Array]]:
    """Return groups to train on and, where there are many rows and groups, a tenth to judge by."""
    count = int(AUTO_SHARE * len(parts)) if n_rows >= AUTO_ROWS else 0
    order = np.random.default_rng(seed).permutation(len(parts))
    return [parts[i] for i in np.sort(order[count:])], [parts[i] for i in np.sort(order[:count])]


def _initial(features: int, options: StructuralOptions, tensor: Any) -> torch.Tensor:
    """Draw a projection under which a row of unit features has length 1 on average."""
    rank = min(options.rank, features)
    generator = torch.Generator().manual_seed(options.seed)
    draw = torch.randn(rank, features, generator=generator, dtype=torch.float64)
    B: torch.Tensor = tensor((draw / (rank * features) ** 0.5).numpy())
    return B.requires_grad_()


def _tensors(dtype: torch.dtype, device: str) -> Callable[[Array], torch.Tensor]:
    return lambda values: torch.tensor(values, dtype=dtype, device=device)


def _numpy(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy(), np.float64)
