"""The script that trains: it goes on after a stop, and writes a model only if it passes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from neoscope.errors import CheckpointError
from neoscope.making import training as entry
from neoscope.model import HookedGPTNeo
from neoscope.organism.bundle import check
from neoscope.organism.gates import Gate, GateReport
from neoscope.organism.training import loop, state
from neoscope.organism.training.loop import Training
from tests.neoscope.organism.short_training import LAST, begin, shorten


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def _unbroken() -> dict[str, Training]:
    return {}


@pytest.fixture
def unbroken(
    _unbroken: dict[str, Training],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Training:
    """A run that nothing stopped."""
    if "run" not in _unbroken:
        training = begin(tmp_path_factory.mktemp("unbroken") / "training", monkeypatch)
        assert training.run(60.0, lambda _: None)
        _unbroken["run"] = training
    return _unbroken["run"]


def report(ok: bool) -> GateReport:
    gate = Gate("ioi", "right", 1.0 if ok else 0.5, 0.97, at_least=True, n=10)
    return GateReport((gate,), (2, 1))


def command(out: Path, *more: str) -> int:
    return int(entry.main(["--out", str(out), "--threads", "1", *more]))


@pytest.fixture
def trained(unbroken: Training, tmp_path: Path) -> Path:
    shutil.copytree(unbroken.folder, tmp_path / "training")
    return tmp_path


def test_failing_gate_writes_no_model(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "measure", lambda model: report(ok=False))
    assert command(trained) == 1
    assert not (trained / "model").exists()
    said = capsys.readouterr().out
    assert "going on from step 10" in said
    assert "FAIL ioi: right: 0.5000 (>= 0.97)" in said
    assert "no weights are written: a gate fails" in said


def test_passing_gates_write_model_and_card(
    trained: Path,
    unbroken: Training,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(entry, "measure", lambda model: report(ok=True))
    assert command(trained) == 0
    assert f"written: {trained / 'model'}" in capsys.readouterr().out
    for folder in ("model", "model/before", "model/during", "model/after"):
        check(trained / folder)
    model = HookedGPTNeo.from_pretrained(trained / "model")
    for name, weight in model.named_parameters():
        assert torch.equal(weight, unbroken.weights[name])
    card = json.loads((trained / "model" / "card.json").read_text())
    assert card["gates"]["ok"]
    training = card["training"]
    assert training["data_sha256"] == unbroken.state.data
    assert training["code_sha256"].split(", ")[0] == unbroken.state.codes[0]
    assert training["moments"] == {"before": 0, "during": 2, "after": 4}
    assert training["steps"] == LAST and training["seed"] == 0
    assert card["loss"]["step"] == [2, 4, 6, 8, 10]
    assert card["repeats_continued"]["near"][:3] == [0.05, 0.5, 0.95]


def test_model_is_written_without_moments_that_no_look_met(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trained / "training" / "during.safetensors").unlink()
    monkeypatch.setattr(entry, "measure", lambda model: report(ok=True))
    assert command(trained) == 0
    card = json.loads((trained / "model" / "card.json").read_text())
    assert card["training"]["moments"] == {"before": 0, "after": 4}


def test_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "continued", lambda model, items: 0.0)

    def interrupt(self: Any, known: state.State) -> None:
        if known.step == 2:
            raise KeyboardInterrupt

    assert command(tmp_path, "--minutes", "1e-9") == 1
    assert "(until induction appears)" in (said := capsys.readouterr().out)
    assert "not finished within 1e-09 minutes (step 1)" in said and "more --minutes" in said
    monkeypatch.setattr(entry._Teller, "__call__", interrupt)
    assert command(tmp_path) == 130
    said = capsys.readouterr().out
    assert "going on from step 1 in" in said
    assert "stopped at step 2; the same command goes on from its last save" in said


def test_command_explains_itself_and_its_arguments() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "neoscope.making.training", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    said = run("--help")
    assert said.returncode == 0
    assert all(option in said.stdout for option in ("--seed", "--minutes", "--out", "--device"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "found '0', expected a number above 0"),
        (["--minutes", "nan"], "found 'nan', expected a number above 0"),
        (["--seed", "-1"], "found '-1', expected a whole number from 0"),
        (["--threads", "two"], "found 'two', expected a whole number from 1"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        entry.main(arguments)
    assert message in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(CheckpointError, match=r"--out .*log: no such folder can be made"):
        entry.main(["--out", str(tmp_path / "log")])
