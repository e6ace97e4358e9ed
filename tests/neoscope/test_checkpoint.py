"""Every way a GPT-Neo has been stored loads exactly."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPTNeoForCausalLM

from neoscope import weight_files
from neoscope.checkpoint import find, load_weights
from neoscope.config import NeoConfig
from tests.neoscope.checkpoints import (
    FORMATS,
    Weights,
    load,
    params_for,
    tiny_model,
    write,
    write_bin_shards,
)


@pytest.fixture(scope="module")
def model() -> GPTNeoForCausalLM:
    return tiny_model()


@pytest.fixture
def weights(model: GPTNeoForCausalLM) -> Weights:
    """What save_pretrained stores: lm_head is wte and is left out."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    del state["lm_head.weight"]
    return state


def expected_params(body: Any) -> Weights:
    """Read neoscope's parameters off a transformers GPTNeoModel, without the rename table."""
    params = {
        "embed.W_E": body.wte.weight,
        "pos_embed.W_pos": body.wpe.weight,
        "ln_final.w": body.ln_f.weight,
        "ln_final.b": body.ln_f.bias,
    }
    for layer, block in enumerate(body.h):
        attention, name = block.attn.attention, f"blocks.{layer}"
        qkv = (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)
        params |= {
            f"{name}.ln1.w": block.ln_1.weight,
            f"{name}.ln1.b": block.ln_1.bias,
            f"{name}.ln2.w": block.ln_2.weight,
            f"{name}.ln2.b": block.ln_2.bias,
            f"{name}.attn.weight_qkv": torch.cat(qkv),
            f"{name}.attn.weight_o": attention.out_proj.weight,
            f"{name}.attn.b_O": attention.out_proj.bias,
            f"{name}.mlp.weight_in": block.mlp.c_fc.weight,
            f"{name}.mlp.b_in": block.mlp.c_fc.bias,
            f"{name}.mlp.weight_out": block.mlp.c_proj.weight,
            f"{name}.mlp.b_out": block.mlp.c_proj.bias,
        }
    return {name: value.detach() for name, value in params.items()}


def assert_same(params: Weights, expected: Weights) -> None:
    assert params.keys() == expected.keys()
    for name, value in params.items():
        assert torch.equal(value, expected[name].to(value.dtype)), name


# What loads


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_loads_exactly(
    model: GPTNeoForCausalLM, weights: Weights, form: str, tmp_path: Path
) -> None:
    checkpoint, params = load(write(tmp_path, weights, form))
    assert_same(params, expected_params(model.transformer))
    assert checkpoint.config == NeoConfig.from_hf(model.config.to_dict())
    assert (checkpoint.folder, checkpoint.revision) == (tmp_path, None)


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_larger_than_a_chunk_load_exactly(
    model: GPTNeoForCausalLM,
    weights: Weights,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weight_files, "CHUNK_BYTES", 700)
    weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
    checkpoint, params = load(write(tmp_path, weights, form))
    assert checkpoint.config.tie_word_embeddings
    assert_same(params, expected_params(model.transformer))


def test_what_transformers_saves_loads(model: GPTNeoForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert_same(load(tmp_path)[1], expected_params(model.transformer))


def test_safetensors_shards_load(model: GPTNeoForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    checkpoint, params = load(tmp_path)
    assert len(checkpoint.files) > 2
    assert_same(params, expected_params(model.transformer))
    assert find(tmp_path / "model.safetensors.index.json").files == checkpoint.files


def test_bin_shards_load(model: GPTNeoForCausalLM, weights: Weights, tmp_path: Path) -> None:
    shards = write_bin_shards(tmp_path, weights)
    checkpoint, params = load(tmp_path)
    assert checkpoint.files == tuple(shards)
    assert_same(params, expected_params(model.transformer))


def test_safetensors_are_preferred_to_bin(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    assert [file.name for file in find(tmp_path).files] == ["model.safetensors"]


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_one_file_loads(
    model: GPTNeoForCausalLM, weights: Weights, suffix: str, tmp_path: Path
) -> None:
    write(tmp_path, weights, "safetensors" if suffix == ".safetensors" else "zip")
    file = next(tmp_path.glob(f"*{suffix}")).rename(tmp_path / f"epoch_3{suffix}")
    checkpoint, params = load(file)
    assert (checkpoint.folder, checkpoint.files) == (tmp_path, (file,))
    assert_same(params, expected_params(model.transformer))


@pytest.mark.parametrize("prefix", ["transformer.", "", "model.", "model.transformer."])
def test_every_prefix_loads(
    model: GPTNeoForCausalLM, weights: Weights, prefix: str, tmp_path: Path
) -> None:
    renamed = {prefix + key.removeprefix("transformer."): value for key, value in weights.items()}
    head = "model.lm_head.weight" if prefix == "model.transformer." else "lm_head.weight"
    renamed[head] = weights["transformer.wte.weight"].clone()
    assert_same(load(write(tmp_path, renamed))[1], expected_params(model.transformer))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32])
@pytest.mark.parametrize("layers", [(0,), (0, 1, 2)])
def test_mask_buffers_are_dropped(
    model: GPTNeoForCausalLM,
    weights: Weights,
    dtype: torch.dtype,
    layers: tuple[int, ...],
    tmp_path: Path,
) -> None:
    for layer in layers:
        name = f"transformer.h.{layer}.attn.attention"
        weights[f"{name}.bias"] = torch.ones(1, 1, 32, 32).tril().to(dtype)
        weights[f"{name}.masked_bias"] = torch.tensor(-1e9)
    assert_same(load(write(tmp_path, weights))[1], expected_params(model.transformer))


@pytest.mark.parametrize("on_disk", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float16, torch.bfloat16, torch.float32])
def test_every_dtype_loads_into_every_dtype(
    model: GPTNeoForCausalLM,
    weights: Weights,
    on_disk: torch.dtype,
    wanted: torch.dtype,
    tmp_path: Path,
) -> None:
    stored = {key: value.to(on_disk) for key, value in weights.items()}
    params = load(write(tmp_path, stored), wanted)[1]
    expected = expected_params(model.transformer)
    assert_same(params, {name: value.to(on_disk) for name, value in expected.items()})


def test_parameters_are_filled_in_place(weights: Weights, tmp_path: Path) -> None:
    checkpoint = find(write(tmp_path, weights))
    params = {
        name: torch.nn.Parameter(value) for name, value in params_for(checkpoint.config).items()
    }
    addresses = {name: value.data_ptr() for name, value in params.items()}
    load_weights(checkpoint, params)
    assert {name: value.data_ptr() for name, value in params.items()} == addresses
    assert all(p.requires_grad and p.grad_fn is None for p in params.values())


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("GPTNeoModel", ""),
        ("GPTNeoForSequenceClassification", "score.weight"),
        ("GPTNeoForTokenClassification", "classifier.bias, classifier.weight"),
        ("GPTNeoForQuestionAnswering", "qa_outputs.bias, qa_outputs.weight"),
    ],
)
def test_other_heads_are_left_out_in_one_log_line(
    architecture: str, head: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fine_tuned = tiny_model(architecture, pad_token_id=0)
    fine_tuned.save_pretrained(tmp_path)
    checkpoint, params = load(tmp_path)
    assert_same(params, expected_params(getattr(fine_tuned, "transformer", fine_tuned)))
    assert checkpoint.config.tie_word_embeddings
    lines = [record.getMessage() for record in caplog.records if record.name == "neoscope"]
    assert lines == ([f"left out the head of a fine-tuned model: {head}"] if head else [])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("says_tied", [True, False])
def test_weights_decide_that_embeddings_are_untied(
    form: str, says_tied: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    untied = tiny_model(tie_word_embeddings=False)
    write(tmp_path, untied.state_dict(), form, tie_word_embeddings=says_tied)
    checkpoint, params = load(tmp_path)
    assert not checkpoint.config.tie_word_embeddings
    expected = expected_params(untied.transformer)
    assert_same(params, expected | {"unembed.weight": untied.lm_head.weight.detach()})
    assert [("lm_head differs from wte" in r.getMessage()) for r in caplog.records] == (
        [True] if says_tied else []
    )


def test_tied_copy_in_another_dtype_counts_as_tied(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.wte.weight"] = weights["transformer.wte.weight"].half()
    weights["lm_head.weight"] = weights["transformer.wte.weight"].float()
    assert find(write(tmp_path, weights)).config.tie_word_embeddings


def test_absent_lm_head_means_tied(
    weights: Weights, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, _ = load(write(tmp_path, weights, tie_word_embeddings=False))
    assert checkpoint.config.tie_word_embeddings
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "there is no lm_head: tied" in caplog.text


def test_resized_vocabulary_loads(tmp_path: Path) -> None:
    resized = tiny_model()
    resized.resize_token_embeddings(104, mean_resizing=False)
    resized.save_pretrained(tmp_path)
    checkpoint, params = load(tmp_path)
    assert checkpoint.config.d_vocab == 104
    assert_same(params, expected_params(resized.transformer))


def test_old_config_spellings_load(
    model: GPTNeoForCausalLM, weights: Weights, tmp_path: Path
) -> None:
    write(tmp_path, weights)
    old = {
        "architectures": ["GPTNeoForCausalLM"],
        "n_layer": 3,
        "n_head": 4,
        "n_embd": 20,
        "n_inner": 36,
        "n_positions": 32,
        "window_size": 4,
        "vocab_size": 101,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "attention_types": [[["global", "local"], 1], [["local"], 1]],
        "attention_layers": ["global", "local", "local"],
    }
    (tmp_path / "config.json").write_text(json.dumps(old))
    checkpoint, params = load(tmp_path)
    assert checkpoint.config == NeoConfig.from_hf(model.config.to_dict())
    assert_same(params, expected_params(model.transformer))


def test_snapshot_folder_tells_its_commit(weights: Weights, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / ("ab" * 20)
    folder.parent.mkdir()
    assert find(write(folder, weights)).revision == "ab" * 20


def test_home_and_strings_are_understood(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "neo", weights)
    monkeypatch.setenv("HOME", str(tmp_path))
    checkpoint = find("~/neo")
    assert (checkpoint.name, checkpoint.folder) == ("~/neo", tmp_path / "neo")
    monkeypatch.chdir(tmp_path)
    assert find("neo").files == (Path("neo/model.safetensors"),)


def test_importing_checkpoint_imports_no_other_framework() -> None:
    heavy = ("transformers", "transformer_lens", "huggingface_hub")
    code = f"import sys, neoscope.checkpoint; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
