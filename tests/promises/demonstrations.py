"""The demonstrations of every bundled model, run once for all tests that look at them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from neoscope.demo import Demo, Step
from tests.promises import watched_demo

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shown:
    """What came of one run of the script."""

    stdout: str
    stderr: str
    code: int
    demos: dict[str, Demo]
    """By the model's name."""
    noted: list[str]
    """What was refused: a network, or code out of a file."""
    packets: int | None
    """How often anyone tried the network; None where nobody could count."""


def demonstrations(made: pytest.TempPathFactory) -> Shown:
    """Run the demonstrations, or wait until another worker has run them."""
    base = made.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "demonstrations"
    with FileLock(shared / "demonstrations.lock"):
        if not folder.exists():
            folder.mkdir()
            _run(folder)
    facts = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    demos = {one["model"]: _demo(one) for one in facts["demos"]}
    stdout, stderr = ((folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
    return Shown(stdout, stderr, facts["code"], demos, facts["noted"], facts["packets"])


def _run(folder: Path) -> None:
    command = [sys.executable, watched_demo.__file__, str(folder), str(folder / "told.json")]
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    (folder / "out").write_text(done.stdout, encoding="utf-8")
    (folder / "err").write_text(done.stderr, encoding="utf-8")


def _demo(facts: dict[str, object]) -> Demo:
    held = dict(facts)
    steps = [_step(one) for one in held.pop("steps")]  # type: ignore[attr-defined]
    return Demo(str(held["model"]), Path(str(held["folder"])), tuple(steps), tuple(held["failed"]))  # type: ignore[arg-type]


def _step(facts: dict[str, object]) -> Step:
    lists = {name: tuple(facts.pop(name)) for name in ("lines", "columns")}  # type: ignore[arg-type]
    rows = tuple(tuple(row) for row in facts.pop("rows"))  # type: ignore[attr-defined]
    return Step(rows=rows, **lists, **facts)  # type: ignore[arg-type]
