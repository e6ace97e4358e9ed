"""Gradient descent with early stopping, for the probes that have no convex objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from neoscope.errors import ProbeError
from probes.progress import QUIET_SECONDS

MIN_STEPS = 20
"""Steps in an epoch at least: few rows are passed over several times before the loss is judged."""


@dataclass(frozen=True)
class Descent:
    """How a descent went."""

    losses: list[float]
    """The loss that was judged, after each epoch."""
    stopped: bool
    """It ended because the loss no longer fell; False where the epochs ran out."""


@dataclass(frozen=True)
class Schedule:
    """How long to descend, and how fast."""

    learning_rate: float
    max_epochs: int
    patience: int
    """Epochs without a lower loss after which it ends, or the learning rate drops."""
    tolerance: float
    """A loss counts as lower when it is lower by this much."""
    weight_decay: float = 0.0
    """AdamW's, of matrices only."""
    drops: int = 0
    """How often the learning rate drops to a tenth, from the best point so far, before the end."""
    progress: bool = False
    """Show a bar on stderr from two seconds on."""


def descend(
    parameters: Sequence[torch.Tensor],
    loss: Callable[[Any], torch.Tensor],
    epoch: Callable[[], Iterable[Any]],
    judge: Callable[[], float] | None,
    schedule: Schedule,
) -> Descent:
    """Lower a loss with AdamW and leave the parameters at the best point that was judged.

    Args:
        parameters: Leaves that require gradients; changed in place.
        loss: Of one batch, a scalar.
        epoch: Yields the batches of one epoch; repeated until an epoch has `MIN_STEPS` steps.
        judge: The loss that says when to stop, on held-out rows; None takes the training loss.
        schedule: Of the descent.

    Raises:
        ProbeError: The loss is no longer a finite number.
    """
    from tqdm.auto import tqdm

    optimizer = _optimizer(parameters, schedule)
    best, losses, waited, drops = _copies(parameters), [], 0, schedule.drops
    lowest = math.inf
    with tqdm(
        total=schedule.max_epochs,
        unit="epoch",
        delay=QUIET_SECONDS,
        leave=False,
        disable=not schedule.progress,
    ) as bar:
        for _ in range(schedule.max_epochs):
            trained = _one_epoch(optimizer, loss, epoch)
            losses.append(trained if judge is None else judge())
            bar.update()
            bar.set_postfix_str(f"loss {losses[-1]:.4g}", refresh=False)
            if not math.isfinite(losses[-1]):
                raise ProbeError(
                    f"training ended in epoch {len(losses)}: the loss is {losses[-1]}; try a "
                    f"learning_rate below {schedule.learning_rate:g}"
                )
            waited = 0 if losses[-1] < lowest - schedule.tolerance else waited + 1
            if losses[-1] < lowest:
                lowest, best = losses[-1], _copies(parameters)
            if waited < schedule.patience:
                continue
            if not drops:
                break
            drops, waited = drops - 1, 0
            rate = optimizer.param_groups[0]["lr"] / 10
            _restore(parameters, best)
            optimizer = _optimizer(parameters, schedule, rate)
    _restore(parameters, best)
    return Descent(losses, stopped=waited >= schedule.patience)


def _optimizer(
    parameters: Sequence[torch.Tensor], schedule: Schedule, rate: float | None = None
) -> torch.optim.AdamW:
    decay = schedule.weight_decay
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate if rate is None else rate)


def _one_epoch(
    optimizer: torch.optim.AdamW,
    loss: Callable[[Any], torch.Tensor],
    epoch: Callable[[], Iterable[Any]],
) -> float:
    total, steps = 0.0, 0
    while steps < MIN_STEPS:
        for batch in epoch():
            optimizer.zero_grad(set_to_none=True)
            value = loss(batch)
            value.backward()
            optimizer.step()
            total += value.item()
            steps += 1
    return total / steps


def _copies(parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _restore(parameters: Sequence[torch.Tensor], best: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
