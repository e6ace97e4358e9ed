"""What is no checkpoint, or cannot be found, is named in one line, and the hub is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import GPTNeoForCausalLM

from neoscope import hub
from neoscope.checkpoint import find
from neoscope.errors import CheckpointError, ConfigError
from tests.neoscope.checkpoints import (
    Weights,
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
    with pytest.raises(CheckpointError, match=f"did you mean '{tmp_path}/my_model'"):
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


def test_file_of_another_kind_is_refused_before_its_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "reviews.txt").write_text("The food was lovely.\n")
    with pytest.raises(CheckpointError, match=r"reviews.txt is not a weight file; expected one"):
        find(tmp_path / "reviews.txt")


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
