"""What decides, with model and texts, which lens a training gives."""

from __future__ import annotations

import dataclasses

from neoscope.analysis.given import whole_number
from neoscope.analysis.tuned.gradient import PRECISIONS
from neoscope.errors import AnalysisError, nearest

_OPTIMIZERS = ("sgd", "adam")
_MOST_WARM = 1000


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides, with model and texts, what comes out."""

    steps: int | None
    epochs: int
    batch_tokens: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    clip: float
    bias_only: bool
    precision: str
    held_out: int
    prepend_bos: bool
    seed: int

    def check(self) -> None:
        """Refuse what means nothing.

        Raises:
            AnalysisError: Says what was found and what is expected.
        """
        for name, known in (("optimizer", _OPTIMIZERS), ("precision", PRECISIONS)):
            value = getattr(self, name)
            if value not in known:
                raise AnalysisError(
                    f"{name}={value!r} is none of {known}{nearest(str(value), known)}"
                )
        least = {"steps": 1, "epochs": 1, "batch_tokens": 1, "held_out": 0, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None or name != "steps":
                whole_number(value, name, low)
        ranges = {
            "lr": ("above 0", self.lr > 0),
            "weight_decay": ("of at least 0", self.weight_decay >= 0),
            "momentum": ("from 0 to below 1", 0 <= self.momentum < 1),
            "clip": ("above 0", self.clip > 0),
        }
        for name, (expected, good) in ranges.items():
            if not good:
                raise AnalysisError(f"{name}={getattr(self, name)!r}; expected a number {expected}")

    def rate(self, step: int, steps: int) -> float:
        """Return the factor of the learning rate at a step."""
        warm = min(_MOST_WARM, steps // 5) if self.optimizer == "adam" else 0
        if step < warm:
            return (step + 1) / (warm + 1)
        return (steps - step) / (steps - warm)
