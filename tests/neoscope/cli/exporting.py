"""Short ways to run ``neoscope export`` and to look at what it left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from neoscope.cli import app

RUNNER = CliRunner()
WORDS = ["Mary", "John", "store", "drink", "keys", "film", "castle", "horse", "window", "tired"]


def texts(n: int, *, longest: int = 40) -> list[str]:
    """Texts of many lengths, no two alike."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(3, longest))) for _ in range(n)]


def export(source: Path, out: Path, *args: str, **options: Any) -> Result:
    return RUNNER.invoke(
        app, ["export", "organism", str(source), "--out", str(out), *args], **options
    )


def refused(result: Result, message: str, code: int = 1) -> None:
    """A failure of one line (of a box, for wrong usage) that leaves nothing on stdout."""
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert re.search(message, shown), shown
    assert isinstance(result.exception, SystemExit)
    if code == 1:
        assert result.stderr.count("\n") == 1


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
