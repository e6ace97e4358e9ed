"""``neoscope doctor``: what it prints, its exit status, and an installation that is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neoscope import doctor
from neoscope.cli import app
from neoscope.doctor import Checkup, Fact

RUNNER = CliRunner()
WELL = Fact("packages", "torch", "2.13.0")
EXTRA = Fact("extras", "umap", "umap-learn not installed", "missing", "projections by UMAP",
             "pip install 'neoscope[umap]'")  # fmt: skip
BROKEN = Fact("devices", "cpu", "torch cannot be imported", "broken", "the model", "pip install it")


def pretend(monkeypatch: pytest.MonkeyPatch, *facts: Fact) -> None:
    monkeypatch.setattr(doctor, "check", lambda: Checkup(facts))


def test_working_core_exits_with_0_and_lists_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, WELL, EXTRA)
    result = RUNNER.invoke(app, ["doctor"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "2.13.0" in result.stdout
    missing = result.stdout[result.stdout.index("missing, and for what") :]
    assert "umap; for projections by UMAP" in missing
    assert "    pip install 'neoscope[umap]'\n" in missing


def test_broken_core_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, WELL, BROKEN)
    result = RUNNER.invoke(app, ["doctor"])
    assert result.exit_code == 1
    said = " ".join(result.stdout.split())
    assert "cpu: torch cannot be imported; for the model pip install it" in said
    assert "works" not in result.stdout


def test_lines_for_a_pipe_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/" + "folder/" * 30
    pretend(monkeypatch, WELL, Fact("machine", "here", long), EXTRA)
    lines = RUNNER.invoke(app, ["doctor"], env={"COLUMNS": "80"}).stdout.splitlines()
    assert f"  here  {long}" in lines
    assert all(line == line.rstrip() for line in lines)


def test_json_holds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, WELL, BROKEN)
    result = RUNNER.invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == Checkup((WELL, BROKEN)).to_dict()


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, str]:
    """An environment in which doctor's trial fails at once."""
    (tmp_path / "torch.py").write_text("raise OSError('odd')")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("package", ["rich", "typer"])
def test_report_needs_neither_rich_nor_typer(
    package: str, quick: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / f"{package}.py"
    file.write_text("raise ImportError('odd')")
    done = subprocess.run(
        [sys.executable, "-m", "neoscope", "doctor"], capture_output=True, text=True, env=quick,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "bug" not in done.stderr
    assert f"cannot be imported ({file}): ImportError: odd" in done.stdout
    assert f"    remove or rename {file}, or take {tmp_path} out of PYTHONPATH\n" in done.stdout


def test_broken_torch_is_reported_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    problem = "libcudart.so.12: cannot open shared object file"
    (tmp_path / "torch" / "__init__.py").write_text(f"raise OSError({problem!r})")
    done = subprocess.run(
        [sys.executable, "-m", "neoscope", "doctor", "--json"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == ""
    facts = {fact["name"]: fact for fact in json.loads(done.stdout)["facts"]}
    assert problem in facts["cpu"]["value"]
    assert facts["cpu"]["state"] == "broken"
    assert facts["files"]["state"] == "ok"
