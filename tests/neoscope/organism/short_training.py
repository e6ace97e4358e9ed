"""A training of ten tiny steps, with all three stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neoscope.model import HookedGPTNeo
from neoscope.organism import initial
from neoscope.organism.training import loop
from neoscope.organism.training.loop import Stage, Training

LAST = 10
"""The step with which the shortened training ends."""
NEAR = {0: 0.05, 2: 0.5, 4: 0.95}
"""What the held-out repeats are said to give; from step 4 on they are continued."""


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make training ten tiny steps; one in four saves."""
    stages = {"near": Stage(2, 0, 64), "far": Stage(2, 0, 64), "all": Stage(1, 2, 64)}
    for name, value in {
        "STAGES": stages, "LAST_STEPS": 4, "_SAVE_EVERY": 4, "_SPREAD": 24, "_TAKE_OVER": 2,
        "_LOOK_EVERY": {"near": 2, "far": 2, "all": 2},
    }.items():  # fmt: skip
        monkeypatch.setattr(loop, name, value)


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> Training:
    torch.set_num_threads(1)
    model = HookedGPTNeo.from_pretrained(initial.random_twin(seed))
    training = Training(model, folder, seed)
    monkeypatch.setattr(loop, "continued", lambda model, items: NEAR.get(training.state.step, 0.95))
    return training
