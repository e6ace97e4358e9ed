"""Training goes on after a stop as if there had been none, and writes a model only if it passes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neoscope.errors import CheckpointError
from neoscope.organism.training import rows, state
from neoscope.organism.training.loop import Training
from tests.neoscope.organism.short_training import LAST, begin, shorten

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


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
