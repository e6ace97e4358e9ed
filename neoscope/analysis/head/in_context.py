"""In-context learning score: how much better a model predicts late in a text than early.

Olsson et al. 2022: the loss at the 500th token minus that at the 50th; an induction head's coming
into being shows in it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

EARLY, LATE = 50, 500


class InContext:
    """The differences of some texts, summed."""

    def __init__(self, early: int = EARLY, late: int = LATE) -> None:
        """Begin with nothing.

        Args:
            early: Position of the early token, counted from 0.
            late: Position of the late one.
        """
        self.early, self.late = early, late
        self.n, self._sum, self._squares = 0, 0.0, 0.0

    def fits(self, mask: Bool[Tensor, "text pos"]) -> bool:
        """Whether any text is long enough."""
        return bool((mask.sum(1) > self.late).any())

    def add(
        self,
        model: torch.nn.Module,
        hidden: Float[Tensor, "text pos d_model"],
        ids: Int[Tensor, "text pos"],
        mask: Bool[Tensor, "text pos"],
    ) -> None:
        """Take in right-padded texts.

        Args:
            model: Its ``unembed`` reads the stream.
            hidden: The stream after the final LayerNorm.
            ids: What was read.
            mask: True where a token is real; texts that are too short do not count.
        """
        rows = (mask.sum(1) > self.late).nonzero().flatten()
        losses = []
        for position in (self.early, self.late):
            logits = model.unembed(hidden[rows, position - 1]).float()  # type: ignore[operator]
            target = ids[rows, position].to(logits.device)
            losses.append(F.cross_entropy(logits, target, reduction="none").double())
        found = losses[1] - losses[0]
        self.n += len(found)
        self._sum += float(found.sum())
        self._squares += float(found.square().sum())

    def mean(self) -> tuple[float | None, float | None]:
        """Return the score in nats and its standard error over texts; None where there is none."""
        if not self.n:
            return None, None
        mean = self._sum / self.n
        if self.n == 1:
            return mean, None
        variance = max(0.0, (self._squares - self.n * mean**2) / (self.n - 1))
        return mean, math.sqrt(variance / self.n)
