"""A tuned lens is kept whole: what is damaged is refused, what is another's is left alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import neoscope as ns
from neoscope.analysis.tuned.place import CARD, LENS, STATE
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo

TEXTS = [s.text for s in ns.organism.sentences("filler", 400, seed=0)]
SHORT: dict[str, Any] = {"steps": 6, "batch_tokens": 128, "progress": False, "held_out": 0}


@pytest.fixture(scope="module")
def lens(model: HookedGPTNeo) -> TunedLens:
    return TunedLens.train(model, TEXTS, **SHORT)


def equal(found: TunedLens, expected: TunedLens) -> bool:
    matrices = (found.matrix, expected.matrix)
    assert (matrices[0] is None) == (matrices[1] is None)
    same = matrices[0] is None or torch.equal(*matrices)  # type: ignore[arg-type]
    return same and torch.equal(found.bias, expected.bias)


@pytest.mark.parametrize("bias_only", [False, True])
def test_it_is_kept(model: HookedGPTNeo, tmp_path: Path, bias_only: bool) -> None:
    lens = TunedLens.train(model, TEXTS, **SHORT, bias_only=bias_only)
    assert lens.save(tmp_path / "a" / "lens") == tmp_path / "a" / "lens"
    again = TunedLens.load(tmp_path / "a" / "lens")
    assert equal(again, lens)
    assert again.card == lens.card
    card = json.loads((tmp_path / "a" / "lens" / CARD).read_text())
    assert card["kind"] == ("debiased" if bias_only else "tuned")
    assert card["data"]["texts"] == len(TEXTS)
    assert repr(again) == repr(lens)


def test_card_holds_the_sha256_of_the_numbers(lens: TunedLens, tmp_path: Path) -> None:
    lens.save(tmp_path)
    expected = hashlib.sha256((tmp_path / LENS).read_bytes()).hexdigest()
    assert json.loads((tmp_path / CARD).read_text())["sha256"] == expected


@pytest.mark.parametrize("damage", ["absent", "cut", "foreign", "shape"])
def test_damaged_files_are_refused(lens: TunedLens, tmp_path: Path, damage: str) -> None:
    lens.save(tmp_path)
    file = tmp_path / LENS
    if damage == "absent":
        file.unlink()
    elif damage == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif damage == "foreign":
        save_file({"x": torch.zeros(1)}, file)
    else:
        with safe_open(file, framework="pt") as opened:
            said = opened.metadata()
        save_file({"bias": torch.zeros(4, 3)}, file, said)
    with pytest.raises(
        AnalysisError, match="there is no tuned lens" if damage == "absent" else "damaged"
    ):
        TunedLens.load(tmp_path)


@pytest.mark.parametrize("at", [-1, -5000, 300])
def test_one_bit_of_the_numbers_is_noticed(lens: TunedLens, tmp_path: Path, at: int) -> None:
    lens.save(tmp_path)
    data = bytearray((tmp_path / LENS).read_bytes())
    data[at] ^= 1
    (tmp_path / LENS).write_bytes(bytes(data))
    with pytest.raises(AnalysisError, match="damaged"):
        TunedLens.load(tmp_path)


def altered(text: str, how: str) -> str | None:
    """Return what a card says then; None for no card."""
    card = json.loads(text)
    return {
        "missing": None,
        "empty": "{}",
        "list": "[]",
        "half": text[: len(text) // 2],
        "fingerprint": json.dumps(card | {"fingerprint": "0" * 32}),
        "more": json.dumps(card | {"note": "x"}),
        "sha": json.dumps(card | {"sha256": "0" * 64}),
    }[how]


@pytest.mark.parametrize("how", ["missing", "empty", "list", "half", "fingerprint", "more", "sha"])
def test_a_card_that_was_changed_is_refused(lens: TunedLens, tmp_path: Path, how: str) -> None:
    lens.save(tmp_path)
    said = altered((tmp_path / CARD).read_text(), how)
    (tmp_path / CARD).unlink()
    if said is not None:
        (tmp_path / CARD).write_text(said)
    with pytest.raises(AnalysisError, match="damaged"):
        TunedLens.load(tmp_path)


def test_another_lens_is_replaced_only_when_asked(
    model: HookedGPTNeo, lens: TunedLens, tmp_path: Path
) -> None:
    debiased = TunedLens.train(model, TEXTS, **SHORT, bias_only=True)
    lens.save(tmp_path)
    lens.save(tmp_path)  # one's own
    with pytest.raises(AnalysisError, match="another lens: bias_only is False there and True here"):
        debiased.save(tmp_path)
    assert equal(TunedLens.load(tmp_path), lens)
    debiased.save(tmp_path, overwrite=True)
    assert equal(TunedLens.load(tmp_path), debiased)


def test_fewer_steps_of_the_same_training_replace_nothing(lens: TunedLens, tmp_path: Path) -> None:
    part = dataclasses.replace(lens, card=lens.card | {"steps": 3})
    part.save(tmp_path)
    lens.save(tmp_path)
    with pytest.raises(AnalysisError, match="it has 6 steps there and 3 here"):
        part.save(tmp_path)


@pytest.mark.parametrize("name", [CARD, LENS, STATE, "model.safetensors"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_lens_is_never_replaced(
    lens: TunedLens, tmp_path: Path, name: str, overwrite: bool
) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(AnalysisError, match=f"{name}.*give another folder|holds '{name}'"):
        lens.save(tmp_path, overwrite=overwrite)
    assert [x.name for x in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_a_file_is_no_folder(lens: TunedLens, tmp_path: Path) -> None:
    (tmp_path / "lens").write_text("mine")
    with pytest.raises(AnalysisError, match="lens is a file; name a folder"):
        lens.save(tmp_path / "lens")
