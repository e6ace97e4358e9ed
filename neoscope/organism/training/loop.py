"""The training itself: near repeats until induction appears, then far ones, then everything."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.organism.gates import continued
from neoscope.organism.language import sentences
from neoscope.organism.training import rows
from neoscope.organism.training.bundle import keep
from neoscope.organism.training.state import Optimiser, State, resume, save

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

LEARNING_RATE = 3e-3
_WARM_UP = 100
_LOOK_EVERY = 50
_SAVE_EVERY = 500
_SPREAD = 96
"""Most words that are ever put between the two copies of a span."""
_WIDEN_AT = 0.6
"""Share of far repeats continued at which the distances are widened further."""
_MAX_WIDENING = 4000


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a step is made of."""

    repeated: int
    """Rows of repeated spans."""
    language: int
    """Rows of documents."""
    size: int
    """Words in a row."""


STAGES = {"near": Stage(32, 0, 64), "far": Stage(32, 0, 128), "all": Stage(16, 32, 128)}
LAST_STEPS = 3000
"""Steps of the last stage, over which the learning rate falls to a fiftieth."""


class Training:
    """One run; ``run`` goes on until it is finished, out of time, or interrupted."""

    def __init__(self, model: HookedGPTNeo, folder: Path, seed: int) -> None:
        """Begin, or go on where the folder's last checkpoint stopped."""
        self.model, self.folder = model, folder
        self.weights = dict(model.named_parameters())
        for weight in self.weights.values():
            weight.requires_grad_(True)
        self.optimiser = Optimiser(self.weights, LEARNING_RATE)
        self.state = resume(folder, self.weights, self.optimiser) or State(
            seed=seed, device=str(model.device), threads=torch.get_num_threads()
        )
        self.near = sentences("induction", 48, seed=901, length=(8, 20))
        self.far = sentences("far-induction", 48, seed=902, length=(8, 20))

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.state.stage == "all" and self._in_stage() >= LAST_STEPS

    def _in_stage(self) -> int:
        return self.state.step - self.state.stages[self.state.stage]

    def run(self, minutes: float, tell: Callable[[State], None]) -> bool:
        """Train, and return whether it came to its end within ``minutes`` in all.

        Args:
            minutes: Time of training in all, that of earlier calls included.
            tell: Called after every look at the held-out repeats.
        """
        state, began = self.state, time.monotonic() - self.state.seconds
        try:
            while not self.finished:
                if state.step % _LOOK_EVERY == 0:
                    self._look()
                    tell(state)
                loss = self._step()
                state.step += 1
                state.seconds = time.monotonic() - began
                if state.step % 50 == 0:
                    state.log.append(
                        {"step": state.step, "tokens": state.tokens, "stage": state.stage,
                         "seconds": round(state.seconds, 1), **loss}
                    )  # fmt: skip
                if state.step % _SAVE_EVERY == 0:
                    self.save()
                if state.seconds > 60 * minutes:
                    return False
            self._look()
            tell(state)
        finally:
            self.save()
        return True

    def save(self) -> None:
        """Write a checkpoint to go on from."""
        save(self.folder, self.state, self.weights, self.optimiser)

    def _step(self) -> dict[str, float]:
        state = self.state
        stage = STAGES[state.stage]
        # A step's rows depend on seed and step alone, so that a resumed run sees the same.
        rng = random.Random(f"training {state.seed} {state.step}")
        words, weight = rows.repeated(rng, stage.repeated, stage.size, range(state.widest + 1))
        digest = hashlib.sha256(state.data.encode() + words.numpy().tobytes())
        losses = {"repeats": self._loss(words, weight)}
        if stage.language:
            text = rows.language(rng, stage.language, stage.size)
            digest.update(text.numpy().tobytes())
            losses["language"] = self._loss(text, torch.ones(text.shape))
            state.tokens += text.numel()
        state.data = digest.hexdigest()
        state.tokens += words.numel()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimiser.step(self._learning_rate())
        return {name: round(float(loss.detach()), 4) for name, loss in losses.items()}

    def _loss(self, ids: Int[Tensor, "row pos"], weight: Float[Tensor, "row pos"]) -> Tensor:
        """Return the weighted mean loss of the next word, in nats."""
        ids, weight = ids.to(self.model.device), weight.to(self.model.device)
        logits = self.model(ids)[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weight = weight[:, 1:].flatten()
        return (loss * weight).sum() / weight.sum()

    def _learning_rate(self) -> float:
        if self.state.stage == "all":
            done = self._in_stage() / LAST_STEPS
            return LEARNING_RATE * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        return LEARNING_RATE * min(1.0, (self.state.step + 1) / _WARM_UP)

    def _look(self) -> None:
        """Measure held-out repeats; keep the weights around the transition; change the stage."""
        state = self.state
        near, far = continued(self.model, self.near), continued(self.model, self.far)
        state.log.append({"step": state.step, "tokens": state.tokens, "near": near, "far": far})
        if near < 0.1:
            self._keep("before", replace=True)
        elif 0.2 < near < 0.9:
            self._keep("during", replace=False)
        elif near >= 0.95:
            self._keep("after", replace=False)
        if state.stage == "near" and near >= 0.9:
            self._enter("far")
            state.widest = 16
        elif state.stage == "far":
            if near >= 0.9:
                state.widest = min(_SPREAD, state.widest + 8)
            wide = state.widest == _SPREAD and far >= _WIDEN_AT
            if wide or self._in_stage() >= _MAX_WIDENING:
                state.widest = _SPREAD
                self._enter("all")

    def _enter(self, stage: str) -> None:
        self.state.stage = stage
        self.state.stages[stage] = self.state.step

    def _keep(self, name: str, *, replace: bool) -> None:
        path = self.folder / f"{name}.safetensors"
        if replace or not path.exists():
            keep(path, self.weights, self.state.step)
