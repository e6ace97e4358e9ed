"""A stand-in for the trained organism: its random twin, laid out and sealed as the bundle is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from neoscope.organism import bundle, initial
from neoscope.organism.compiled.building import to_json
from neoscope.organism.gates import Gate, GateReport
from neoscope.organism.training.bundle import _card
from neoscope.organism.training.state import State

REPORT = GateReport(
    gates=(
        Gate("ioi", "right word above wrong word", 0.991, 0.97, at_least=True, n=7),
        Gate("ioi", "mean logit difference", 2.5, 3.0, at_least=True, n=7),
        Gate("filler", "loss above the grammar's entropy", 0.01, 0.05, at_least=False, n=70),
    ),
    induction_head=(2, 3),
)
TRUTH = {
    "format": 1,
    "theorems": [
        {"claim": "No local head looks far.", "values": [0.0, 0.0], "holds_for_all": True}
    ],
    "claims": [
        {"claim": "The best head is in layer 2.", "values": [2, 2], "holds_for_all": True},
        {"claim": "It looks back.", "values": [0.51234, None], "holds_for_all": False},
        {"claim": "It is [bold]that[/] head.", "values": [[2, 3], True], "holds_for_all": True},
    ],
    "models": [{"name": "organism"}, {"name": "seed 1"}],
}


def write_stand_in(folder: Path) -> Path:
    """Write what ``organism.path()`` may be made to return."""
    for place in (folder, *(folder / moment for moment in bundle.MOMENTS)):
        shutil.copytree(initial.random_twin(), place)
    state = State(seed=0, device="cpu", threads=1, step=150, tokens=1_500_000, seconds=90.0)
    state.log += [
        {"step": 50, "tokens": 500_000, "repeats": 6.25},
        {"step": 100, "tokens": 1_000_000, "near": 0.0, "far": 0.0},
        {"step": 150, "tokens": 1_500_000, "repeats": 0.5, "language": 2.0},
        {"step": 150, "tokens": 1_500_000, "near": 1.0, "far": 0.5},
    ]
    moments = {"before": 20, "during": 30, "after": 40}
    told = _card(initial.config(), state, REPORT, moments)
    (folder / "card.json").write_bytes(to_json(told))
    (folder / "truth_card.json").write_text(json.dumps(TRUTH), encoding="utf-8")
    for place in (folder, *(folder / moment for moment in bundle.MOMENTS)):
        bundle.seal(place)
    return folder
