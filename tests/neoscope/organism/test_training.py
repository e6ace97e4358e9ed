"""Training goes on after a stop as if there had been none, and writes a model only if it passes."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neoscope.errors import CheckpointError
from neoscope.model import HookedGPTNeo
from neoscope.organism import initial
from neoscope.organism.bundle import check
from neoscope.organism.gates import Gate, GateReport
from neoscope.organism.language import TASKS
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.grammar import END
from neoscope.organism.language.vocabulary import encode
from neoscope.organism.training import loop, rows, state
from neoscope.organism.training.loop import Stage, Training

torch.set_num_threads(1)
entry = importlib.import_module("neoscope.organism.training.__main__")
LAST = 10
"""The step with which the shortened training ends."""
NEAR = {0: 0.05, 2: 0.5, 4: 0.95}
"""What the held-out repeats are said to give; from step 4 on they are continued."""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make training ten tiny steps with all three stages; one in four saves."""
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


def silent(_: state.State) -> None:
    return


def same(a: Training, b: Training) -> bool:
    """Whether two runs came to the same weights, optimiser and knowledge of themselves."""
    for name, weight in a.weights.items():
        assert torch.equal(weight, b.weights[name]), name
    theirs = b.optimiser.tensors()
    for name, tensor in a.optimiser.tensors().items():
        assert torch.equal(tensor, theirs[name]), name
    assert known(a.state) == known(b.state)
    return True


def known(of: state.State) -> dict[str, Any]:
    """Return what a run knows but for the time it took, and the sources, which may be edited."""
    log = [{k: v for k, v in line.items() if k != "seconds"} for line in of.log]
    return {**vars(of), "seconds": 0, "codes": [], "log": log}


@pytest.fixture(scope="module")
def _unbroken() -> dict[str, Training]:
    return {}


@pytest.fixture
def unbroken(
    _unbroken: dict[str, Training],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Training:
    """Return a run that nothing stopped; it also leaves what a kill at each look would leave."""
    if "run" not in _unbroken:
        folder = tmp_path_factory.mktemp("unbroken") / "training"
        training = begin(folder, monkeypatch)

        def copy(known: state.State) -> None:
            if (folder / "latest").exists():
                shutil.copytree(folder, folder.parent / f"killed-{known.step}")

        assert training.run(60.0, copy)
        _unbroken["run"] = training
    return _unbroken["run"]


def test_training_passes_through_all_stages(unbroken: Training) -> None:
    known = unbroken.state
    assert known.step == LAST and unbroken.finished
    assert list(known.stages) == ["near", "far", "all"]
    assert known.tokens == 6 * 2 * 64 + 4 * 3 * 64
    assert [line["step"] for line in known.log if "near" in line] == [0, 2, 4, 6, 8, 10]
    assert [line["step"] for line in known.log if "repeats" in line] == [2, 4, 6, 8, 10]
    assert all("seconds" in line for line in known.log if "repeats" in line)
    assert len(known.data) == 64 and len(known.codes) == 1
    kept = {path.name for path in unbroken.folder.iterdir() if path.is_file()}
    assert kept == {"before.safetensors", "during.safetensors", "after.safetensors", "latest"}


@pytest.mark.parametrize("at", [6, 8, 10])
def test_a_killed_run_goes_on_as_if_unbroken(
    at: int, unbroken: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed at step 6 it goes on from the save at 4; the others stand right behind a save."""
    folder = tmp_path / "training"
    shutil.copytree(unbroken.folder.parent / f"killed-{at}", folder)
    again = begin(folder, monkeypatch)
    assert again.state.step == at - at % 4
    assert again.run(60.0, silent)
    assert same(again, unbroken)


@pytest.mark.parametrize("at", [0, 4, 6])
def test_an_interrupt_at_a_look_changes_nothing(
    at: int, unbroken: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(known: state.State) -> None:
        if known.step == at:
            raise KeyboardInterrupt

    first = begin(tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        first.run(60.0, interrupt)
    again = begin(tmp_path, monkeypatch)
    assert again.state.step == at
    assert again.run(60.0, silent)
    assert same(again, unbroken)


def test_ctrl_c_within_a_step_waits_for_its_end(
    unbroken: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = begin(tmp_path, monkeypatch)
    draw = rows.repeated

    def press(*arguments: Any) -> Any:
        if first.state.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(*arguments)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "repeated", press)
        with pytest.raises(KeyboardInterrupt):
            first.run(60.0, silent)
    assert signal.getsignal(signal.SIGINT) is before
    again = begin(tmp_path, monkeypatch)
    assert again.state.step == 6
    assert again.run(60.0, silent)
    assert same(again, unbroken)


def test_a_step_that_breaks_is_not_saved(
    unbroken: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = begin(tmp_path, monkeypatch)
    move = first.optimiser.step

    def fail(lr: float) -> None:
        move(lr)
        if first.state.step == 6:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(first.optimiser, "step", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        first.run(60.0, silent)
    again = begin(tmp_path, monkeypatch)
    assert again.state.step == 4
    assert again.run(60.0, silent)
    assert same(again, unbroken)


def test_time_is_counted_over_all_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = begin(tmp_path, monkeypatch)
    assert not first.run(1e-9, silent)
    assert first.state.step == 1
    again = begin(tmp_path, monkeypatch)
    assert again.state.seconds > 0
    assert not again.run(1e-9, silent)
    assert again.state.step == 1


def test_optimiser_goes_there_and_back(unbroken: Training, tmp_path: Path) -> None:
    other = state.Optimiser(dict(unbroken.model.named_parameters()), 1.0)
    tensors = unbroken.optimiser.tensors()
    other.load(tensors)
    assert other.tensors().keys() == tensors.keys()
    assert all(torch.equal(value, tensors[name]) for name, value in other.tensors().items())


@pytest.mark.parametrize(
    "part", ["weights.safetensors", "optimiser.safetensors", "state.json", "latest"]
)
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"\xff" + b[1:]])
def test_damaged_checkpoint_is_named(
    part: str,
    damage: Callable[[bytes], bytes],
    unbroken: Training,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "training"
    shutil.copytree(unbroken.folder, folder)
    last = folder / (folder / "latest").read_text()
    file = folder / part if part == "latest" else last / part
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"cannot go on from .*; remove .* to begin anew"):
        begin(folder, monkeypatch)


def test_another_seed_needs_another_folder(
    unbroken: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="holds a run of seed 0, not 1"):
        begin(unbroken.folder, monkeypatch, seed=1)


def test_saving_twice_at_one_step_keeps_the_first_until_the_second_is_whole(
    unbroken: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "training"
    shutil.copytree(unbroken.folder, folder)
    training = begin(folder, monkeypatch)

    def full(*_: Any, **__: Any) -> str:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", full)
        with pytest.raises(OSError, match="no space left"):
            training.save()
    assert same(begin(folder, monkeypatch), unbroken)
    training.save()
    assert len(list(folder.glob("step-*"))) == 1
    assert same(begin(folder, monkeypatch), unbroken)


# Rows.


def test_weight_marks_the_words_that_the_earlier_copy_tells() -> None:
    ids, weight = rows.repeated(random.Random("rows"), 400, 128, range(97))
    assert ids.shape == weight.shape == (400, 128)
    assert weight.unique().tolist() == pytest.approx([rows.UNTOLD, 1.0])
    for row, marks in zip(ids.tolist(), weight.tolist(), strict=True):
        assert max(Counter(row).values()) <= 2
        for k, mark in enumerate(marks):
            before = row[: k - 1].index(row[k - 1]) if k and row[k - 1] in row[: k - 1] else None
            assert (before is not None and row[before + 1] == row[k]) == (mark == 1.0)
    # The weights leave no doubt of where copies stand: any other repeat begins one.
    assert 0.1 < (weight == 1.0).float().mean() < 0.5


def test_distances_of_copies_are_those_asked_for() -> None:
    for distances in ((0,), (5, 6), (50,)):
        ids, weight = rows.repeated(random.Random("rows"), 60, 128, distances)
        for row, marks in zip(ids.tolist(), weight.tolist(), strict=True):
            for k in range(128):
                if marks[k] == 1.0:
                    apart = k - row.index(row[k])
                    assert any(4 <= apart - d <= 20 for d in distances)


def test_documents_stand_between_ends() -> None:
    (end, stop) = encode([END, "."])
    ids = rows.language(random.Random("documents"), 200, 128)
    assert ids.shape == (200, 128)
    assert (ids[1::2, 0] == end).all() and (ids[::2, 0] != end).all()
    capitals = set(encode(w for w in lex.parts_of_speech() if w[0].isupper()))
    for row in ids.tolist():
        for k, token in enumerate(row):
            if token == end and k:
                assert row[k - 1] == stop
            if k and row[k - 1] == end:
                assert token in capitals


def test_shares_are_of_all_documents() -> None:
    assert sum(rows.SHARES.values()) == pytest.approx(1.0)
    assert set(rows.SHARES) == set(TASKS) - {"induction", "far-induction"}


# The command.


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
            [sys.executable, "-m", "neoscope.organism.training", *arguments],
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
