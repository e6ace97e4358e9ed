"""Weights that are missing, misshapen, damaged or unsafe are refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPTNeoForCausalLM

from neoscope.checkpoint import find, load_weights
from neoscope.errors import WeightsError
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
