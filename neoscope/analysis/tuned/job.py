"""One training of a tuned lens: its weights, its optimiser, its state on disk, and its steps.

Optimisers, clipping and schedule are those of the tuned-lens package 0.2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope.analysis.tuned.data import Pieces, streams
from neoscope.analysis.tuned.files import read_state, write_state
from neoscope.analysis.tuned.gradient import Objective
from neoscope.analysis.tuned.settings import Settings
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.errors import AnalysisError
from neoscope.progress import Progress

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class Job:
    """One training: weights, optimiser, and how far it is."""

    def __init__(
        self, model: HookedGPTNeo, fit: Pieces, settings: Settings, card: dict[str, Any]
    ) -> None:
        """Begin with identities.

        Args:
            model: The model.
            fit: What to train on.
            settings: With the number of steps.
            card: What is known about the lens; ``losses`` are added to it.
        """
        self.model, self.fit, self.settings, self.card = model, fit, settings, card
        self.whole = True
        size = (model.config.n_layers, model.config.d_model)
        self.weights = {"bias": torch.zeros(size, device=model.device)}
        if not settings.bias_only:
            self.weights["matrix"] = torch.zeros(*size, size[1], device=model.device)
        self.optimizer = self._optimizer()

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.card["losses"])

    def _optimizer(self) -> torch.optim.Optimizer:
        s, weights = self.settings, list(self.weights.values())
        if s.optimizer == "sgd":
            # Without the factor momentum would multiply the rate by 1 / (1 - momentum).
            rate = s.lr * (1 - s.momentum)
            return torch.optim.SGD(
                weights, rate, s.momentum, weight_decay=s.weight_decay, nesterov=s.momentum > 0
            )
        betas = (s.momentum, 0.999)
        return torch.optim.Adam(
            weights, s.lr * 1e-3, betas, weight_decay=s.weight_decay, amsgrad=True
        )

    def run(
        self, folder: Path | None, save_every: int, progress: bool | Callable[[int, int], None]
    ) -> bool:
        """Do the steps that are left; return whether Ctrl-C ended them."""
        s = self.settings
        assert s.steps is not None
        objective = Objective(self.model, s.precision)
        base = float(self.optimizer.param_groups[0]["lr"])
        try:
            with Progress(progress, s.steps, "step") as bar:
                bar.update(self.step)
                for step, batch in self.fit.stream(s.batch_tokens, s.seed, self.step, s.steps):
                    self.optimizer.param_groups[0]["lr"] = base * s.rate(step, s.steps)
                    self.take(objective, streams(self.model, batch))
                    if folder is not None and (step + 1) % save_every == 0 and step + 1 < s.steps:
                        self.save(folder)
                    bar.update()
        except KeyboardInterrupt:
            if not self.step:
                raise
            # Between the weights of two steps there is nothing worth keeping.
            if folder is not None and self.whole:
                self.save(folder)
            return self.step < s.steps
        return False

    def take(self, objective: Objective, found: list[Tensor]) -> None:
        """Take one step.

        Args:
            objective: Of the same model.
            found: The stream of a batch at every depth.

        Raises:
            AnalysisError: The loss is no number any more.
        """
        matrix, bias = self.weights.get("matrix"), self.weights["bias"]
        losses, grads = objective(found, matrix, bias)
        if not bool(torch.isfinite(losses).all()):
            bad = int((~torch.isfinite(losses)).nonzero()[0])
            raise AnalysisError(
                f"the loss at depth {bad} is {float(losses[bad])} after {self.step:,} steps; "
                f"choose a smaller lr than {self.settings.lr!r}, or optimizer='adam'"
            )
        bias.grad = grads[-1]
        if matrix is not None:
            matrix.grad = grads[0]
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.clip)
        said = [float(loss) for loss in losses]
        self.whole = False
        self.optimizer.step()
        self.card["losses"].append(said)
        self.whole = True

    def lens(self) -> TunedLens:
        """Return the lens as it is now."""
        card = {**self.card, "steps": self.step}
        kept = {name: x.detach().cpu().clone() for name, x in self.weights.items()}
        return TunedLens(kept.get("matrix"), kept["bias"], card)

    def save(self, folder: Path) -> None:
        """Write weights and the optimiser's state."""
        tensors = dict(self.weights)
        for name, weight in self.weights.items():
            for key, value in self.optimizer.state[weight].items():
                if value is not None:
                    tensors[f"{name}.{key}"] = torch.as_tensor(value)
        write_state(folder, {**self.card, "steps": self.step}, tensors)

    def resume(self, folder: Path) -> None:
        """Read them back, from a folder that is known to be of the same training."""
        card, tensors = read_state(folder)
        self.card["losses"] = card["losses"]
        for name, weight in self.weights.items():
            weight.copy_(tensors[name])
            start = f"{name}."
            self.optimizer.state[weight] = {
                key.removeprefix(start): value if value.ndim == 0 else value.to(weight.device)
                for key, value in tensors.items()
                if key.startswith(start)
            }
