"""Loading: bundled names, folders and files become a model that runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import neoscope
from neoscope.errors import CheckpointError
from neoscope.loading import load
from neoscope.model import HookedGPTNeo
from neoscope.parity import compare
from tests.neoscope.folders import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_default_is_the_organism() -> None:
    model = load()
    assert model.cfg.model_name == "organism"
    assert model.tokenizer is not None
    logits = model("When Mary and John went to the store, John gave a drink to")
    assert model.tokenizer.decode(int(logits[0, -1].argmax())) == " Mary"


def test_load_is_from_pretrained(folder: Path) -> None:
    model = load(folder, dtype=torch.bfloat16, device="cpu")
    assert isinstance(model, HookedGPTNeo)
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert (
        model.fingerprint()
        == HookedGPTNeo.from_pretrained(str(folder), dtype=torch.bfloat16).fingerprint()
    )


def test_one_file_finds_its_tokenizer_beside_it(folder: Path) -> None:
    model = load(folder / "model.safetensors")
    assert model.tokenize("hello").strings == (("hello",),)
    assert model.fingerprint() == load(folder).fingerprint()


def test_loading_leaves_the_default_dtype_and_the_random_state_alone(folder: Path) -> None:
    before = torch.random.get_rng_state()
    load(folder, dtype=torch.float16)
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bundled_model_has_no_revision() -> None:
    with pytest.raises(
        CheckpointError, match="'induction' comes with neoscope, so it has no revision 'main'"
    ):
        load("induction", revision="main")


def test_public_load_is_this_one() -> None:
    assert neoscope.load is load


# ---- the comparison with transformers ---------------------------------------------------------


def assert_equal(path: Path) -> None:
    checks = compare(load(path), str(path))
    assert len(checks) > 1, checks
    assert all(check.passed for check in checks), checks


def test_parity_of_a_folder(folder: Path) -> None:
    assert_equal(folder)


def test_parity_reads_the_file_that_was_loaded(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_checkpoint(tmp_path, tokenizer=False)
    weights = {k: 1.5 * x for k, x in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "other.safetensors", metadata={"format": "pt"})
    torch.save(weights, tmp_path / "other.bin")
    assert_equal(tmp_path / "other.safetensors")
    assert_equal(tmp_path / "other.bin")


@pytest.mark.parametrize("says_tied", [True, False])
def test_parity_ties_as_the_weights_do(
    says_tied: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    write_checkpoint(tmp_path, tokenizer=False, tie_word_embeddings=says_tied)
    if says_tied:
        file = tmp_path / "model.safetensors"
        weights = load_file(file)
        head = weights["transformer.wte.weight"].flip(0).contiguous()
        save_file(weights | {"lm_head.weight": head}, file, metadata={"format": "pt"})
    with caplog.at_level(logging.ERROR):
        assert_equal(tmp_path)


def test_parity_fails_when_one_weight_differs(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        model.blocks[1].mlp.b_out[0] += 1e-2
    failed = [check for check in compare(model, str(folder)) if not check.passed]
    assert failed
    assert all(check.error > check.limit for check in failed)


def test_parity_fails_on_nan(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        model.ln_final.b[0] = torch.nan
    assert not all(check.passed for check in compare(model, str(folder)))


def test_parity_leaves_progress_bars_as_they_were(folder: Path) -> None:
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.disable_progress_bar()
        compare(load(folder), str(folder))
        assert not transformers_logging.is_progress_bar_enabled()
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
