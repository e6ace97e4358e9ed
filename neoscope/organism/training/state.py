"""What a training run knows of itself, and its checkpoints in safetensors and JSON."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neoscope.errors import CheckpointError
from neoscope.files import atomic


@dataclasses.dataclass
class State:
    """Everything but tensors that a run needs to go on as if it had never stopped."""

    seed: int
    device: str
    threads: int
    stage: str = "near"
    step: int = 0
    tokens: int = 0
    stages: dict[str, int] = dataclasses.field(default_factory=lambda: {"near": 0})
    """The step with which each stage began."""
    widest: int = 12
    """Most words between the two copies of a span, for the time being."""
    seconds: float = 0.0
    data: str = ""
    """SHA-256 over all rows so far, each with the digest before it."""
    looked: int = -1
    """The last step before which the held-out repeats were looked at."""
    codes: list[str] = dataclasses.field(default_factory=list)
    """``code_hash`` of the sources that it ran with; more than one if they changed on the way."""
    log: list[dict[str, Any]] = dataclasses.field(default_factory=list)


_FILES = ("weights.safetensors", "optimiser.safetensors", "state.json")


class Optimiser:
    """Muon for the matrices of the blocks, AdamW for embeddings, gains and biases.

    Muon orthogonalises each update, so that the weak directions in which induction begins grow
    as fast as the strong ones; with AdamW alone the plateau is three times as long.

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
    """

    def __init__(self, params: dict[str, torch.nn.Parameter], lr: float) -> None:
        """Share the parameters out."""
        if not hasattr(torch.optim, "Muon"):
            raise CheckpointError(
                f"training needs torch.optim.Muon, of torch 2.9 or newer; found {torch.__version__}"
            )
        matrices = [p for name, p in params.items() if p.ndim == 2 and name.startswith("blocks.")]
        rest = [p for name, p in params.items() if p.ndim != 2 or not name.startswith("blocks.")]
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                matrices, lr=lr, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        )

    def step(self, lr: float) -> None:
        """Move the weights, and forget the gradients."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Return all that is remembered, by name."""
        return {
            f"{k}.{index}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
            for k, part in enumerate(self._parts)
            for index, values in part.state_dict()["state"].items()
            for name, value in values.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what ``tensors`` gave."""
        for k, part in enumerate(self._parts):
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                owner, index, name = key.split(".")
                if int(owner) == k:
                    states.setdefault(int(index), {})[name] = value
            groups = part.state_dict()["param_groups"]
            part.load_state_dict({"state": states, "param_groups": groups})


def save(folder: Path, state: State, weights: Mapping[str, Tensor], optimiser: Optimiser) -> None:
    """Write a checkpoint; a crash leaves the one before or this one."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # Never into the folder that ``latest`` names, should this step have been saved before.
    names = (f"step-{state.step}-{k}" for k in itertools.count())
    new = next(folder / name for name in names if not (folder / name).exists())
    new.mkdir()
    held = {name: w.detach().cpu().contiguous() for name, w in weights.items()}
    for name, tensors in ((_FILES[0], held), (_FILES[1], optimiser.tensors())):
        with atomic(new / name) as temporary:
            save_file(tensors, temporary)
    with atomic(new / _FILES[2]) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(state)))
    with atomic(folder / "latest") as temporary:  # Only now is it the one to go on from.
        temporary.write_text(new.name)
    for old in folder.glob("step-*"):
        if old != new:
            for file in old.iterdir():
                file.unlink()
            old.rmdir()


def resume(folder: Path, weights: Mapping[str, Tensor], optimiser: Optimiser) -> State | None:
    """Fill weights and optimiser from the last checkpoint and return its state, or None.

    Raises:
        CheckpointError: The checkpoint is damaged.
    """
    from safetensors.torch import load_file

    if not (folder / "latest").is_file():
        return None
    last = folder / "latest"
    try:
        last = folder / last.read_text().strip()
        saved = load_file(last / _FILES[0])
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(saved[name])
        optimiser.load(load_file(last / _FILES[1]))
        return State(**json.loads((last / _FILES[2]).read_text()))
    except Exception as error:
        raise CheckpointError(
            f"cannot go on from {last}: {error}; remove {folder} to begin anew"
        ) from error
