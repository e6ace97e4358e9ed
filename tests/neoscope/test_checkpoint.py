"""Every way a GPT-Neo has been stored loads exactly; everything else is refused in one line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from neoscope import hub, weight_files
from neoscope.checkpoint import Checkpoint, find, load_weights
from neoscope.config import NeoConfig
from neoscope.errors import CheckpointError, ConfigError, WeightsError

Weights = dict[str, torch.Tensor]
FORMATS = ("safetensors", "zip", "legacy")


def tiny_config(**changes: Any) -> GPTNeoConfig:
    """A GPT-Neo of 3 layers with an odd d_head and an intermediate_size of its own."""
    fields: dict[str, Any] = {
        "vocab_size": 101,
        "hidden_size": 20,
        "num_layers": 3,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1], [["local"], 1]],
        "intermediate_size": 36,
        "max_position_embeddings": 32,
        "window_size": 4,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return GPTNeoConfig(**(fields | changes))


def tiny_model(architecture: str = "GPTNeoForCausalLM", **changes: Any) -> Any:
    torch.manual_seed(0)
    model = getattr(transformers, architecture)(tiny_config(**changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope="module")
def model() -> GPTNeoForCausalLM:
    return tiny_model()


@pytest.fixture
def weights(model: GPTNeoForCausalLM) -> Weights:
    """What save_pretrained stores: lm_head is wte and is left out."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    del state["lm_head.weight"]
    return state


def write(
    folder: Path, weights: Mapping[str, Any], form: str = "safetensors", **config: Any
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(tiny_config().to_dict() | config))
    if form == "safetensors":
        safetensors.torch.save_file(dict(weights), folder / "model.safetensors")
    else:
        zipped = form == "zip"
        file = folder / "pytorch_model.bin"
        torch.save(dict(weights), file, _use_new_zipfile_serialization=zipped)
    return folder


def params_for(config: NeoConfig, dtype: torch.dtype = torch.float32) -> Weights:
    """Allocate every parameter, filled with NaN, which no test lets survive."""
    d, m = config.d_model, config.n_neurons
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (config.d_vocab, d),
        "pos_embed.W_pos": (config.n_ctx, d),
        "ln_final.w": (d,),
        "ln_final.b": (d,),
    }
    for layer in range(config.n_layers):
        shapes |= {
            f"blocks.{layer}.{name}": shape
            for name, shape in {
                "ln1.w": (d,),
                "ln1.b": (d,),
                "ln2.w": (d,),
                "ln2.b": (d,),
                "attn.weight_qkv": (3 * d, d),
                "attn.weight_o": (d, d),
                "attn.b_O": (d,),
                "mlp.weight_in": (m, d),
                "mlp.b_in": (m,),
                "mlp.weight_out": (d, m),
                "mlp.b_out": (d,),
            }.items()
        }
    if not config.tie_word_embeddings:
        shapes["unembed.weight"] = (config.d_vocab, d)
    return {name: torch.full(shape, torch.nan, dtype=dtype) for name, shape in shapes.items()}


def load(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Checkpoint, Weights]:
    checkpoint = find(path)
    params = params_for(checkpoint.config, dtype)
    load_weights(checkpoint, params)
    return checkpoint, params


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


def write_bin_shards(folder: Path, weights: Weights) -> list[Path]:
    write(folder, {})
    (folder / "model.safetensors").unlink()
    keys = list(weights)
    shards = [folder / f"pytorch_model-0000{n + 1}-of-00003.bin" for n in range(3)]
    weight_map = {}
    for n, shard in enumerate(shards):
        torch.save({key: weights[key] for key in keys[n::3]}, shard)
        weight_map |= dict.fromkeys(keys[n::3], shard.name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return shards


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


# What is not found


@pytest.mark.parametrize(
    "name", ["./absent", "../absent", "/absent/x", "~/absent/x", "a/b.safetensors", "a/b.bin"]
)
def test_what_looks_local_never_reaches_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise AssertionError("asked the hub")

    monkeypatch.setattr(hub, "fetch", fail)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no file or folder"):
        find(name)
    with pytest.raises(CheckpointError, match="no file or folder"):
        find(Path("EleutherAI/gpt-neo-125m"))


def test_nearest_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "my_model").mkdir()
    with pytest.raises(CheckpointError, match="did you mean 'my_model'"):
        find(tmp_path / "my_modle")


def test_local_path_with_a_revision_is_refused(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a path, so it has no revision 'v1'"):
        find(write(tmp_path, weights), revision="v1")


def test_empty_name_is_refused() -> None:
    with pytest.raises(CheckpointError, match="name is empty"):
        find("")


def test_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json; the folder is empty"):
        find(tmp_path)


def test_missing_config_lists_what_is_there(weights: Weights, tmp_path: Path) -> None:
    (write(tmp_path, weights) / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json; found model\.safetensors"):
        find(tmp_path)


def test_foreign_weights_are_named(weights: Weights, tmp_path: Path) -> None:
    (write(tmp_path, weights) / "model.safetensors").rename(tmp_path / "flax_model.msgpack")
    message = r"looked for model\.safetensors, .* found .*flax_model\.msgpack \(Flax\) cannot"
    with pytest.raises(CheckpointError, match=message):
        find(tmp_path)


def test_file_of_another_kind_is_refused(weights: Weights, tmp_path: Path) -> None:
    write(tmp_path, weights)
    with pytest.raises(CheckpointError, match="not a weight file; expected one that ends in"):
        find(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{oops", "not valid JSON"),
        ("[1]", "holds a JSON list; expected an object"),
        ('{"model_type": "gpt2"}', "not a GPT-Neo: it says model_type 'gpt2'"),
    ],
)
def test_bad_config_is_refused(text: str, message: str, weights: Weights, tmp_path: Path) -> None:
    (write(tmp_path, weights) / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"config\.json.*{message}"):
        find(tmp_path)


def test_missing_shard_is_named(weights: Weights, tmp_path: Path) -> None:
    write_bin_shards(tmp_path, weights)[1].unlink()
    message = r"names 3 shards, of which 1 are not in .*: pytorch_model-00002-of-00003\.bin"
    with pytest.raises(CheckpointError, match=message):
        find(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{}", "has no 'weight_map'"),
        ("[]", "has no 'weight_map'"),
        ("{", "not valid JSON"),
        ('{"weight_map": {"a": "../../secret.bin"}}', r"names the shard '\.\./\.\./secret\.bin'"),
        ('{"weight_map": {"a": 3}}', "names the shard '3'"),
    ],
)
def test_bad_index_is_refused(index: str, message: str, weights: Weights, tmp_path: Path) -> None:
    write_bin_shards(tmp_path, weights)
    (tmp_path / "pytorch_model.bin.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=message):
        find(tmp_path)


# What is wrong in the weights


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        load(folder)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text
    assert "Traceback" not in text


def test_shape_mismatch_names_key_and_both_shapes(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.h.1.attn.attention.k_proj.weight"] = torch.zeros(20, 16)
    message = (
        r"'transformer\.h\.1\.attn\.attention\.k_proj\.weight' has shape \[20, 16\]; .*\[20, 20"
    )
    assert_refused(write(tmp_path, weights), message)


def test_transposed_and_lower_dimensional_tensors_are_refused(
    weights: Weights, tmp_path: Path
) -> None:
    scalar = weights | {"transformer.ln_f.bias": torch.tensor(1.0)}
    assert_refused(write(tmp_path / "a", scalar), r"ln_f\.bias' has shape \[\]; .* \[20\]")
    fc = weights["transformer.h.0.mlp.c_fc.weight"].T.contiguous()
    transposed = weights | {"transformer.h.0.mlp.c_fc.weight": fc}
    assert_refused(write(tmp_path / "b", transposed), r"shape \[20, 36\]; .* \[36, 20\]")


def test_wrong_names_leave_parameters_untouched(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.ln_f.bias"] = torch.zeros(7)
    checkpoint = find(write(tmp_path, weights))
    params = params_for(checkpoint.config)
    with pytest.raises(WeightsError):
        load_weights(checkpoint, params)
    assert all(value.isnan().all() for value in params.values())


def test_missing_tensor_is_named(weights: Weights, tmp_path: Path) -> None:
    del weights["transformer.h.2.mlp.c_proj.bias"]
    assert_refused(
        write(tmp_path, weights), r"model\.safetensors: no tensor for 'h\.2\.mlp\.c_proj"
    )


def test_missing_layers_are_counted(weights: Weights, tmp_path: Path) -> None:
    fewer = {key: value for key, value in weights.items() if ".h.2." not in key}
    assert_refused(write(tmp_path, fewer), r"no tensor for 'h\.2\.ln_1\.weight' and 12 more")


def test_unexpected_tensor_is_named_with_the_nearest(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.h.0.mlp.c_fcc.weight"] = torch.zeros(36, 20)
    message = (
        r"unexpected tensor 'transformer\.h\.0\.mlp\.c_fcc\.weight' of shape \[36, 20\].*did you"
    )
    assert_refused(write(tmp_path, weights), message)


def test_more_layers_than_configured_are_refused(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.h.3.ln_1.weight"] = torch.zeros(20)
    assert_refused(write(tmp_path, weights), r"'transformer\.h\.3\.ln_1\.weight'.* of 3 layers")


def test_tensor_beside_the_prefix_is_refused(weights: Weights, tmp_path: Path) -> None:
    weights["wpe.weight"] = torch.zeros(32, 20)
    assert_refused(write(tmp_path, weights), "unexpected tensor 'wpe.weight'; .* 'transformer.'")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    other = {"gpt_neox.embed_in.weight": torch.zeros(3, 4)}
    message = r"no 'wte\.weight' .* is no GPT-Neo; found 'gpt_neox\.embed_in\.weight'"
    assert_refused(write(tmp_path, other), message)


def test_misshapen_lm_head_is_refused(weights: Weights, tmp_path: Path) -> None:
    weights["lm_head.weight"] = torch.zeros(99, 20)
    assert_refused(write(tmp_path, weights), r"'lm_head\.weight' has shape \[99, 20\]")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(
    weights: Weights, form: str, bad: float, tmp_path: Path
) -> None:
    weights["transformer.h.1.attn.attention.v_proj.weight"][19, 3] = bad
    folder = write(tmp_path, weights, form)
    assert_refused(folder, r"'transformer\.h\.1\.attn\.attention\.v_proj\.weight' holds NaN or inf")


def test_overflow_of_the_wanted_dtype_is_refused(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.wpe.weight"][0, 0] = 1e6
    load(write(tmp_path, weights), torch.bfloat16)
    with pytest.raises(
        WeightsError, match=r"wpe\.weight' holds NaN or infinity when read as float16"
    ):
        load(tmp_path, torch.float16)


def test_large_finite_weights_are_not_mistaken_for_infinity(
    weights: Weights, tmp_path: Path
) -> None:
    weights["transformer.wpe.weight"].fill_(3e38)
    assert load(write(tmp_path, weights))[1]["pos_embed.W_pos"].min() == 3e38


def test_quantised_weights_are_refused(weights: Weights, tmp_path: Path) -> None:
    weights["transformer.wte.weight"] = torch.zeros(101, 20, dtype=torch.int8)
    assert_refused(write(tmp_path, weights), "not stored as float16.* quantised")


def test_key_in_two_shards_is_refused(weights: Weights, tmp_path: Path) -> None:
    shards = write_bin_shards(tmp_path, weights)
    torch.save({"transformer.wte.weight": weights["transformer.wte.weight"]}, shards[2])
    assert_refused(tmp_path, r"'transformer\.wte\.weight' is in .*00001.* and in .*00003")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def overwrite(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content) and None


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is damaged or is not a"),
        (overwrite(b""), "is empty; the download or copy did not finish"),
        (overwrite(b"\xff" * 64), "is damaged or is not a"),
        (overwrite(b"<html>Not found</html>"), "is damaged or is not a"),
        (overwrite(b"\x10" + bytes(7) + b'{"a": [1, 2, 3}}'), "is damaged or is not a"),
        (overwrite(b"version https://git-lfs.github.com/spec/v1\noid"), "git-lfs pointer"),
    ],
)
def test_damaged_file_is_refused(
    form: str, damage: Callable[[Path], None], message: str, weights: Weights, tmp_path: Path
) -> None:
    write(tmp_path, weights, form)
    file = next(path for path in tmp_path.iterdir() if path.name != "config.json")
    damage(file)
    assert_refused(tmp_path, message)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_code_in_a_bin_file_is_refused_and_not_run(
    form: str, weights: Weights, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    folder = write(tmp_path / "model", weights | {"evil": Attack(marker)}, form)
    assert_refused(folder, r"is refused: opening it would run '\w+\.system'")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a dict of tensors"),
        ({"step": 3}, "holds a int under 'step'"),
        ({"state_dict": {"wte.weight": torch.zeros(2)}}, "holds a dict under 'state_dict'"),
    ],
)
def test_bin_file_of_something_else_is_refused(
    content: object, message: str, tmp_path: Path
) -> None:
    write(tmp_path, {}, "zip")
    torch.save(content, tmp_path / "pytorch_model.bin")
    assert_refused(tmp_path, message)


def test_parameters_of_another_model_are_refused(weights: Weights, tmp_path: Path) -> None:
    checkpoint = find(write(tmp_path, weights))
    params = params_for(checkpoint.config) | {"extra.w": torch.zeros(2)}
    with pytest.raises(WeightsError, match=r"parameters \['extra\.w'\] of the model"):
        load_weights(checkpoint, params)


# What it costs

MEASURE = """
import json, sys, torch
from neoscope.checkpoint import find, load_weights

def kilobytes(key):
    # ru_maxrss would begin at the size of the process that started this one.
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key)))

def load(folder):
    checkpoint = find(folder)
    shapes = json.load(open(folder + "/shapes.json"))
    params = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    load_weights(checkpoint, params)
    return params

large, tiny, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
load(tiny)  # so that the code that runs is part of the baseline
baseline = kilobytes("VmRSS:")
params = load(large)
size = sum(value.nbytes for value in params.values())
peak = (kilobytes("VmHWM:") - baseline) * 1024
print(peak / size)
"""


@pytest.fixture(scope="module")
def large_weights() -> Weights:
    """175 MB in the proportions of the 125M, with old mask buffers and a tied lm_head on top."""
    config = NeoConfig(n_layers=4, d_vocab=20_000)
    torch.manual_seed(0)
    shapes = GPTNeoForCausalLM._from_config(GPTNeoConfig(**config.to_hf()), dtype=torch.float32)
    state = {key: value.detach() for key, value in shapes.state_dict().items()}
    state["lm_head.weight"] = state["lm_head.weight"].clone()
    return state | {"transformer.h.0.attn.attention.bias": torch.ones(1, 1, 2048, 2048).byte()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("form", "dtype"), [("safetensors", "float32"), ("safetensors", "float16"), ("zip", "float32")]
)
def test_peak_memory_is_that_of_the_parameters(
    large_weights: Weights, weights: Weights, form: str, dtype: str, tmp_path: Path
) -> None:
    config = NeoConfig(n_layers=4, d_vocab=20_000).to_hf()
    large = write(tmp_path / "large", large_weights, form, **config)
    tiny = write(tmp_path / "tiny", weights, form)
    for folder in (large, tiny):
        params = params_for(find(folder).config)
        shapes = {name: list(value.shape) for name, value in params.items()}
        (folder / "shapes.json").write_text(json.dumps(shapes))
    command = [sys.executable, "-c", MEASURE, str(large), str(tiny), dtype]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert float(result.stdout) <= 1.2, result.stdout
