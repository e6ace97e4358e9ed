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

from neoscope.errors import CheckpointError
from neoscope.organism import initial
from neoscope.organism.asking import continued
from neoscope.organism.language import sentences
from neoscope.organism.training import rows
from neoscope.organism.training.bundle import code_hash, keep
from neoscope.organism.training.interrupt import interrupts_wait
from neoscope.organism.training.state import Optimiser, State, resume, save

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

LEARNING_RATE = 3e-3
LAST_LEARNING_RATE = 1e-3
"""With which the last stage begins; with three times as much it learns more slowly."""
INDUCTION_HEAD = (2, 0)
"""The head of the third layer that is kept when all four have learnt the same."""
_WARM_UP = 100
_LOOK_EVERY = {"near": 10, "far": 50, "all": 100}
"""Steps between two looks, in each stage; the transition takes some fifty."""
_SAVE_EVERY = 500
_NEAREST = 12
_SPREAD = 96
"""Most words that are ever put between the two copies of a span."""
_ENOUGH = 0.95
"""Share of near and of far repeats continued with which the second stage ends, not before"""
_TAKE_OVER = 300
"""these steps, and not after"""
_LONGEST = 3000
_FADE = 0.98
"""By which the heads that are to give way are multiplied in each step of the second stage."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a step is made of."""

    repeated: int
    """Rows of repeated spans."""
    language: int
    """Rows of documents."""
    size: int
    """Words in a row."""


STAGES = {"near": Stage(16, 0, 128), "far": Stage(32, 0, 128), "all": Stage(8, 40, 128)}
LAST_STEPS = 2600
"""Steps of the last stage, over which the learning rate falls to a fiftieth."""


class Training:
    """One run; ``run`` goes on until it is finished, out of time, or interrupted."""

    def __init__(self, model: HookedGPTNeo, folder: Path, seed: int) -> None:
        """Begin, or go on where the folder's last checkpoint stopped.

        Raises:
            CheckpointError: The checkpoint is damaged, or one of another seed.
        """
        self.model, self.folder = model, folder
        self.weights = dict(model.named_parameters())
        for weight in self.weights.values():
            weight.requires_grad_(True)
        self.optimiser = Optimiser(self.weights, LEARNING_RATE)
        self.state = resume(folder, self.weights, self.optimiser) or State(
            seed=seed, device=str(model.device), threads=torch.get_num_threads()
        )
        if self.state.seed != seed:
            raise CheckpointError(
                f"{folder} holds a run of seed {self.state.seed}, not {seed}; give each seed a "
                "folder of its own"
            )
        if code_hash() not in self.state.codes:
            self.state.codes.append(code_hash())
        self._between_steps = True
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

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, or ``tell`` raised it. The step in progress is
                finished and a checkpoint written before.
        """
        state, began = self.state, time.monotonic() - self.state.seconds
        try:
            with interrupts_wait() as interrupted:
                while not self.finished:
                    if interrupted():
                        raise KeyboardInterrupt
                    if state.seconds >= 60 * minutes:
                        return False
                    if state.step % _LOOK_EVERY[state.stage] == 0:
                        self._look(tell)
                    self._step()
                    state.seconds = time.monotonic() - began
                    if state.log[-1]["step"] == state.step:
                        state.log[-1]["seconds"] = round(state.seconds, 1)
                    if state.step % _SAVE_EVERY == 0:
                        self.save()
                self._look(tell)
                if interrupted():
                    raise KeyboardInterrupt
        finally:
            # What broke off within a step left weights that no step of the run has.
            if self._between_steps:
                self.save()
        return True

    def save(self) -> None:
        """Write a checkpoint to go on from."""
        save(self.folder, self.state, self.weights, self.optimiser)

    def _step(self) -> None:
        """Take one step, and note its loss now and then."""
        self._between_steps = False
        state = self.state
        self._narrow()
        stage = STAGES[state.stage]
        # A step's rows depend on seed and step alone, so that a resumed run sees the same.
        rng = random.Random(f"training {state.seed} {state.step}")
        # Near ones stay half of all, or they are unlearnt.
        gaps = (*range(state.widest + 1), *rng.choices(range(_NEAREST + 1), k=state.widest + 1))
        words, weight = rows.repeated(rng, stage.repeated, stage.size, gaps)
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
        if state.stage != "all":
            self._hold()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        self.optimiser.step(self._learning_rate())
        if state.stage == "far":
            self._fade()
        state.step += 1
        if state.step % _LOOK_EVERY[state.stage] == 0:
            values = {name: round(float(loss.detach()), 4) for name, loss in losses.items()}
            state.log.append(
                {"step": state.step, "tokens": state.tokens, "stage": state.stage, **values}
            )
        self._between_steps = True

    def _narrow(self) -> None:
        """Let the layer of the induction head see no farther than its window at first.

        With 30 words to choose from instead of 120, the right one is found many times sooner.
        """
        layer, config = INDUCTION_HEAD[0], self.model.config
        near = self.state.stage == "near"
        self.model.blocks[layer].attn.window = config.window_size if near else config.window(layer)

    def _by_head(self, layer: int) -> list[tuple[Tensor, Tensor]]:
        """Return each head's own rows of q, k and v, and columns of the output; with gradients."""
        attn = self.model.blocks[layer].attn
        heads = (attn.n_heads, attn.d_head)
        rows, columns = attn.weight_qkv.unflatten(0, (3, *heads)), attn.weight_o.unflatten(1, heads)
        return [(rows[:, k], columns[:, k]) for k in range(attn.n_heads)]

    def _hold(self) -> None:
        """Clear the gradients of heads that stand still in this stage.

        Local layers do: they would pick up near repeats, and cannot see far. From the second stage
        on all heads of the third layer do but the one that stays.
        """
        layer, head = INDUCTION_HEAD
        for block in self.model.blocks[:layer]:
            for weight in block.mlp.parameters():
                weight.grad = None
        for block in self.model.blocks[1:]:
            attn = block.attn
            rows = attn.weight_qkv.grad.unflatten(0, (3, attn.n_heads, attn.d_head))
            columns = attn.weight_o.grad.unflatten(1, (attn.n_heads, attn.d_head))
            for k in range(attn.n_heads):
                if attn.layer != layer or (self.state.stage == "far" and k != head):
                    rows[:, k] = 0.0
                    columns[:, k] = 0.0

    def _fade(self) -> None:
        """Let one head take over what all heads of its layer have learnt together."""
        layer, head = INDUCTION_HEAD
        with torch.no_grad():
            for k, (_, columns) in enumerate(self._by_head(layer)):
                if k != head:
                    columns *= _FADE

    def _renew(self) -> None:
        """Give the faded heads the weights that they began with."""
        layer, head = INDUCTION_HEAD
        first = initial.weights(self.state.seed)
        block = f"h.{layer}.attn.attention"
        begun = torch.stack([first[f"{block}.{name}_proj.weight"] for name in "qkv"])
        out = first[f"{block}.out_proj.weight"]
        with torch.no_grad():
            for k, (rows, columns) in enumerate(self._by_head(layer)):
                if k != head:
                    size = rows.shape[1]
                    rows.copy_(begun[:, k * size : (k + 1) * size])
                    columns.copy_(out[:, k * size : (k + 1) * size])

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
            return LAST_LEARNING_RATE * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        return LEARNING_RATE * min(1.0, (self.state.step + 1) / _WARM_UP)

    def _look(self, tell: Callable[[State], None]) -> None:
        """Measure held-out repeats; keep the weights around the transition; change the stage."""
        state = self.state
        # A run that was stopped after its last look must not look, and widen, twice.
        if state.looked == state.step:
            return
        near, far = continued(self.model, self.near), continued(self.model, self.far)
        if near < 0.1:
            self._keep("before", replace=True)
        elif 0.2 < near < 0.9:
            self._keep("during", replace=False)
        elif min(near, far) >= _ENOUGH:
            self._keep("after", replace=False)
        state.log.append({"step": state.step, "tokens": state.tokens, "near": near, "far": far})
        state.looked = state.step
        if state.stage == "near" and near >= 0.9:
            self._enter("far")
            state.widest = 16
        elif state.stage == "far":
            if near >= 0.9:
                state.widest = min(_SPREAD, state.widest + 16)
            taken_over = self._in_stage() >= _TAKE_OVER and near >= _ENOUGH and far >= _ENOUGH
            if taken_over or self._in_stage() >= _LONGEST:
                state.widest = _SPREAD
                self._renew()
                self._enter("all")
        tell(state)

    def _enter(self, stage: str) -> None:
        self.state.stage = stage
        self.state.stages[stage] = self.state.step

    def _keep(self, name: str, *, replace: bool) -> None:
        path = self.folder / f"{name}.safetensors"
        if replace or not path.exists():
            keep(path, self.weights, self.state.step)
