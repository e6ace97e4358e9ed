"""What ships: folders that are whole or say what is wrong, names that load, one tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import neoscope as ns
from neoscope import organism
from neoscope.errors import ArgumentError, CheckpointError
from neoscope.organism import bundle, initial
from neoscope.organism.language import TASKS, sentences
from neoscope.organism.language.vocabulary import encode, unseen, vocabulary
from tests.neoscope.organism.stand_in import TRUTH, write_stand_in

SHIPPED = (None, *bundle.MOMENTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("organism") / "trained")


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage, which stands where the trained organism does."""
    folder = Path(shutil.copytree(whole, tmp_path / "trained"))
    monkeypatch.setattr(bundle, "_FOLDER", folder)
    return folder


def said(moment: str | None = None) -> str:
    """Return what an attempt to get the folder says."""
    with pytest.raises(CheckpointError) as caught:
        organism.path(moment)
    return str(caught.value)


# ---- damage ------------------------------------------------------------------------------------


def test_whole_folders_are_returned(copy: Path) -> None:
    assert organism.path() == copy
    assert [organism.path(name) for name in bundle.MOMENTS] == [
        copy / name for name in bundle.MOMENTS
    ]
    assert organism.card()["parameters"] == initial.config().n_params
    assert organism.truth_card() == TRUTH


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "card.json"])
def test_one_flipped_byte_is_found(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    message = said()
    assert message.startswith(f"the bundled organism is damaged: {copy / name} has SHA-256 ")
    assert "expected" in message


@pytest.mark.parametrize("moment", bundle.MOMENTS)
def test_moments_are_checked_too(copy: Path, moment: str) -> None:
    (copy / moment / "model.safetensors").write_bytes(b"half")
    assert organism.path() == copy
    assert f"damaged: {copy / moment / 'model.safetensors'}" in said(moment)


@pytest.mark.parametrize("name", ["model.safetensors", "hashes.json", "truth_card.json"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert said().startswith(f"the bundled organism lacks {copy / name}. ")


def test_missing_folder_is_told(copy: Path) -> None:
    shutil.rmtree(copy)
    assert said().startswith(f"this copy of neoscope lacks the trained organism: no folder {copy}")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "7", "\x00"])
def test_hashes_that_say_nothing_are_damage(copy: Path, content: str) -> None:
    (copy / "hashes.json").write_text(content)
    assert said().startswith(f"the bundled organism is damaged: {copy / 'hashes.json'} ")


def test_folder_in_a_files_place_is_told(copy: Path) -> None:
    (copy / "config.json").unlink()
    (copy / "config.json").mkdir()
    assert f"cannot be read: {copy / 'config.json'}: Is a directory" in said()


def test_card_that_was_never_sealed_is_missing(copy: Path) -> None:
    (copy / "truth_card.json").unlink()
    bundle.seal(copy)
    with pytest.raises(CheckpointError, match=r"lacks .*truth_card\.json"):
        organism.truth_card()


@pytest.mark.parametrize("git", [True, False])
def test_cure_fits_the_installation(
    copy: Path, git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "neoscope" / "organism" / "bundle.py"
    monkeypatch.setattr(bundle, "__file__", str(home))
    if git:
        (tmp_path / ".git").mkdir()
    (copy / "config.json").unlink()
    wanted = f"git -C {tmp_path} checkout -- neoscope/organism/trained" if git else "--no-deps ."
    assert said().endswith(wanted)


def test_loading_what_is_damaged_says_so_and_guesses_no_name(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="bundled organism is damaged") as caught:
        ns.load("organism")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("moment", ["befor", "", "..", "after/"])
def test_unknown_moment_is_an_argument_error(moment: str) -> None:
    with pytest.raises(ArgumentError, match="there are before, during, after"):
        organism.path(moment)


def test_nearest_moment_is_offered() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'before'"):
        organism.path("befor")


# ---- loading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", organism.BUNDLED)
def test_every_bundled_name_loads(name: str, copy: Path) -> None:
    model = ns.load(name)
    assert model.cfg.model_name == name
    assert model.tokenizer is not None
    assert torch.isfinite(model([[0, 1, 2]])).all()


def test_random_twin_is_transformers_own_model() -> None:
    folder = initial.random_twin()
    model = ns.HookedGPTNeo.from_pretrained("organism-random")
    theirs: Any = transformers.GPTNeoForCausalLM.from_pretrained(folder)
    tokens = model.tokenize([item.text for item in sentences("ioi", 4)])
    with torch.no_grad():
        expected = theirs(tokens.ids, attention_mask=tokens.mask.long()).logits
        found = model(tokens)
    assert torch.allclose(found[tokens.mask], expected[tokens.mask], atol=1e-4)
    assert model.config == initial.config()


@pytest.mark.parametrize("name", ["organism-random", "organism"])
def test_tokenizer_of_transformers_gives_the_same_ids(name: str, copy: Path) -> None:
    model = ns.load(name)
    folder = organism.BUNDLED[name]()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == len(vocabulary())
    for task in TASKS:
        for item in sentences(task, 5):
            ids = model.to_tokens(item.text)[0].tolist()
            assert ids == encode(item.words)
            assert ids == tokenizer(item.text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids).strip() == item.text


def test_folder_says_which_tokens_training_never_showed() -> None:
    said = json.loads((initial.random_twin() / "tokenizer_config.json").read_text())
    spans = said["neoscope"]["unseen_token_ids"]
    assert {i for first, last in spans for i in range(first, last + 1)} == unseen()


@pytest.mark.skipif(not (Path(bundle.__file__).parent / "trained").is_dir(), reason="not trained")
@pytest.mark.parametrize("moment", SHIPPED)
def test_what_ships_is_whole(moment: str | None) -> None:
    folder = organism.path(moment)
    listed = json.loads((folder / "hashes.json").read_text())
    files = {file.name for file in folder.iterdir() if file.is_file()}
    assert files == {*listed, "hashes.json"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
