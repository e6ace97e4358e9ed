"""A training goes on where it was killed or interrupted, and nowhere else."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import neoscope as ns
from neoscope.analysis.tuned.place import CARD, LENS, STATE
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo

TEXTS = [s.text for s in ns.organism.sentences("filler", 100, seed=0)]
SHORT: dict[str, Any] = {"steps": 6, "batch_tokens": 128, "progress": False, "held_out": 0}


def flip(path: Path, at: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def equal(found: TunedLens, expected: TunedLens) -> bool:
    matrices = (found.matrix, expected.matrix)
    assert (matrices[0] is None) == (matrices[1] is None)
    same = matrices[0] is None or torch.equal(*matrices)  # type: ignore[arg-type]
    return same and torch.equal(found.bias, expected.bias)


CASES = (("sgd", 4, 1), ("sgd", 5, 3), ("adam", 4, 2), ("sgd", 1, 4))
LONGER: dict[str, Any] = {"steps": 7, "batch_tokens": 96}
# One process loads everything; a copy of it is killed for each case.
_KILLED = """
import os, signal, sys
import neoscope as ns
from neoscope.analysis.tuned.weights import TunedLens
import torch
torch.set_num_threads(1)
folder, cases, options = sys.argv[1], *map(eval, sys.argv[2:])
texts = [s.text for s in ns.organism.sentences("filler", 60, seed=0)]
model = ns.load("organism")
for number, (optimizer, at, save_every) in enumerate(cases):
    def tell(done, total):
        if done == at:
            os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if not child:
        TunedLens.train(
            model, texts, folder=f"{folder}/{number}", progress=tell, optimizer=optimizer,
            save_every=save_every, **options,
        )
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that killed trainings have left, by the number of the case."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", _KILLED, str(folder), repr(CASES), repr(LONGER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(CASES), done.stderr
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in the process that was killed, so that sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def never_killed(model: HookedGPTNeo, one_thread: None) -> dict[str, TunedLens]:
    """What a training gives that was never killed, by its optimiser."""
    return {
        name: TunedLens.train(model, TEXTS[:60], progress=False, optimizer=name, **LONGER)
        for name in ("sgd", "adam")
    }


def test_killed_and_resumed_is_bit_equal(
    model: HookedGPTNeo, killed: Path, never_killed: dict[str, TunedLens]
) -> None:
    """One test of all cases, so that one process makes what is common to them."""
    for number, case in enumerate(CASES):
        check_resumed(model, killed / str(number), never_killed[case[0]], *case)


def check_resumed(
    model: HookedGPTNeo, folder: Path, whole: TunedLens, optimizer: str, at: int, save_every: int
) -> None:
    assert (folder / STATE).exists() == (at >= save_every)
    steps: list[int] = []
    resumed = TunedLens.train(
        model, TEXTS[:60], folder=folder, progress=lambda n, _: steps.append(n),
        optimizer=optimizer, save_every=save_every, **LONGER,
    )  # fmt: skip
    assert steps[0] == at // save_every * save_every
    assert equal(resumed, whole)
    assert resumed.card == whole.card
    assert not (folder / STATE).exists()


def test_done_is_not_done_again(model: HookedGPTNeo, tmp_path: Path) -> None:
    lens = TunedLens.train(model, TEXTS, folder=tmp_path / "lens", **SHORT)
    written = (tmp_path / "lens" / LENS).stat().st_mtime_ns
    again = TunedLens.train(model, TEXTS, folder=tmp_path / "lens", **SHORT)
    assert equal(again, lens)
    assert (tmp_path / "lens" / LENS).stat().st_mtime_ns == written


@pytest.mark.parametrize("keep", [False, True])
def test_interrupt_keeps_what_was_trained(model: HookedGPTNeo, tmp_path: Path, keep: bool) -> None:
    folder = tmp_path / "lens" if keep else None

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    options = SHORT | {"progress": stop}
    with pytest.warns(UserWarning, match="interrupted: 3 of 6 steps are done"):
        part = TunedLens.train(model, TEXTS, folder=folder, **options)
    assert part.card["steps"] == 3
    assert part.bias.abs().max() > 0
    if folder is not None:
        with pytest.raises(AnalysisError, match=r"has not ended \(3 of 6 steps\)"):
            TunedLens.load(folder)
        whole = TunedLens.train(model, TEXTS, folder=folder, **SHORT)
        assert equal(whole, TunedLens.train(model, TEXTS, **SHORT))


@pytest.mark.parametrize("ended", [False, True])
def test_another_training_does_not_go_on_in_a_folder(
    model: HookedGPTNeo, tmp_path: Path, ended: bool
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2 and not ended:
            raise KeyboardInterrupt

    options = SHORT | {"progress": stop}
    if ended:
        TunedLens.train(model, TEXTS, folder=tmp_path, **options)
    else:
        with pytest.warns(UserWarning, match="interrupted"):
            TunedLens.train(model, TEXTS, folder=tmp_path, **options)
    with pytest.raises(AnalysisError, match=r"another lens: lr is 1.0 there and 0.5 here"):
        TunedLens.train(model, TEXTS, folder=tmp_path, **SHORT, lr=0.5)
    with pytest.raises(AnalysisError, match="another lens: data is"):
        TunedLens.train(model, TEXTS[1:], folder=tmp_path, **SHORT)
    with pytest.raises(AnalysisError, match="fingerprint is 'organism' there"):
        TunedLens.train(ns.load("organism-random"), TEXTS, folder=tmp_path, **SHORT)


def test_a_training_begins_in_no_folder_of_other_files(model: HookedGPTNeo, tmp_path: Path) -> None:
    """And says so before the first step."""
    (tmp_path / "notes.txt").write_text("mine")
    steps: list[int] = []
    options = SHORT | {"progress": lambda n, _: steps.append(n)}
    with pytest.raises(AnalysisError, match=r"it holds 'notes\.txt'; write to a new folder"):
        TunedLens.train(model, TEXTS, folder=tmp_path, **options)
    assert not steps
    assert [x.name for x in tmp_path.iterdir()] == ["notes.txt"]


def test_killed_between_numbers_and_card_it_is_trained_again(
    model: HookedGPTNeo, tmp_path: Path
) -> None:
    lens = TunedLens.train(model, TEXTS, folder=tmp_path, **SHORT)
    (tmp_path / CARD).unlink()
    assert equal(TunedLens.train(model, TEXTS, folder=tmp_path, **SHORT), lens)
    assert equal(TunedLens.load(tmp_path), lens)


def test_a_damaged_state_does_not_go_on(model: HookedGPTNeo, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted"):
        TunedLens.train(model, TEXTS, folder=tmp_path, **(SHORT | {"progress": stop}))
    flip(tmp_path / STATE, -100)
    with pytest.raises(AnalysisError, match="its numbers are not those that were written"):
        TunedLens.train(model, TEXTS, folder=tmp_path, **SHORT)


@pytest.mark.parametrize(("texts", "n"), [([[1]], "1 text"), (["The film was"] * 9, "9 texts")])
def test_a_corpus_of_which_nothing_can_be_held_out_is_refused(
    model: HookedGPTNeo, texts: Any, n: str
) -> None:
    with pytest.raises(AnalysisError, match=f"^{n} to train a lens on .* give at least 10"):
        TunedLens.train(model, texts, progress=False)
    lens = TunedLens.train(model, texts, held_out=0, progress=False)
    assert lens.card["held_out"] is None
    ten = TunedLens.train(model, ["The film was"] * 10, progress=False)
    assert ten.card["held_out"]["tokens"] == 3
