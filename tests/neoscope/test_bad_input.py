"""What a model cannot take is refused by an error of neoscope's own that says what and where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from neoscope.config import NeoConfig
from neoscope.errors import (
    CheckpointError,
    ConfigError,
    NeoscopeError,
    SiteError,
    TokenizationError,
    WeightsError,
    nearest,
)
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.tokenization import load_tokenizer
from tests.neoscope.folders import write_checkpoint


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    config = NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=6, d_vocab=10, window_size=3)
    return HookedGPTNeo.from_config(config)


@pytest.fixture(scope="module")
def reader() -> HookedGPTNeo:
    """A model with a tokenizer of 16 words, of which it knows 10."""
    config = NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=6, d_vocab=10)
    return HookedGPTNeo.from_config(config, tokenizer=load_tokenizer(str(compiled.induction())))


# ---- loading: one of each kind; tests of the checkpoint module have the rest ------------------


def test_missing_weight_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = write_checkpoint(tmp_path, tokenizer=False) / "model.safetensors"
    weights = load_file(file)
    del weights["transformer.h.1.mlp.c_fc.bias"]
    save_file(weights, file)
    with pytest.raises(WeightsError, match=r"h\.1\.mlp\.c_fc\.bias"):
        HookedGPTNeo.from_pretrained(tmp_path)


def test_truncated_file_is_named(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path, tokenizer=False) / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        HookedGPTNeo.from_pretrained(tmp_path)


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = write_checkpoint(tmp_path, tokenizer=False) / "model.safetensors"
    weights = load_file(file)
    weights["transformer.wpe.weight"][3] = torch.nan
    save_file(weights, file)
    with pytest.raises(WeightsError, match=r"wpe\.weight"):
        HookedGPTNeo.from_pretrained(tmp_path)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tokenizer=False)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ConfigError, match="llama"):
        HookedGPTNeo.from_pretrained(tmp_path)


def test_unknown_model_says_that_it_cannot_be_had() -> None:
    with pytest.raises(CheckpointError, match="'no-such/model': HF_HUB_OFFLINE is set"):
        HookedGPTNeo.from_pretrained("no-such/model")


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file or folder .*nothing"):
        HookedGPTNeo.from_pretrained(tmp_path / "nothing")


def test_folder_without_tokenizer_takes_ids_and_says_what_text_needs(tmp_path: Path) -> None:
    model = HookedGPTNeo.from_pretrained(write_checkpoint(tmp_path, tokenizer=False))
    assert model([[1, 2]]).shape == (1, 2, 300)
    with pytest.raises(
        TokenizationError, match=r"has no tokenizer: none of tokenizer\.json, vocab"
    ):
        model("text")


# ---- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text 0 is empty"),
        (["river", ""], "text 1 is empty"),
        ([], "the list is empty"),
        ("river " * 7, r"has 7 tokens, but the model's context is 6; truncate=True"),
        ("\ud800", "text 0 is not valid Unicode"),
    ],
)
def test_bad_text(text: Any, message: str, reader: HookedGPTNeo) -> None:
    for run in (reader, reader.tokenize, reader.run_with_cache):
        with pytest.raises(TokenizationError, match=message):
            run(text)


def test_word_that_the_embedding_lacks(reader: HookedGPTNeo) -> None:
    assert reader.tokenizer is not None
    word = next(word for word, i in reader.tokenizer.get_vocab().items() if i == 15)
    with pytest.raises(TokenizationError, match="token id 15 in row 0, column 0 is outside"):
        reader(word)


# ---- ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1, 2], [3, 10]], "token id 10 in row 1, column 1 is outside the vocabulary of 10"),
        ([[1, -1]], "token id -1 in row 0, column 1"),
        ([[1, 2], [3]], "rows have between 1 and 2 tokens; pad them"),
        ([[]], "there are no tokens"),
        (torch.zeros(0, 3, dtype=torch.long), "there are no tokens"),
        (torch.tensor([[1.0, 2.0]]), r"must be whole numbers; found torch\.float32"),
        (torch.tensor([[True]]), r"must be whole numbers; found torch\.bool"),
        (torch.ones(1, 1, 1, dtype=torch.long), r"shape \(1, 1, 1\); expected \[batch, pos\]"),
        (torch.tensor(1), r"shape \(\); expected \[batch, pos\]"),
        ([[1] * 7], "has 7 tokens, but the model's context is 6"),
        ([2**70], "cannot read token ids"),
    ],
)
def test_bad_ids(ids: Any, message: str, model: HookedGPTNeo) -> None:
    for run in (model, model.run_with_cache):
        with pytest.raises(TokenizationError, match=message):
            run(ids)


# ---- the mask --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1, 1, 1]], r"attention_mask has shape \(1, 3\); the tokens have \(2, 2\)"),
        ([[1, 1]], r"attention_mask has shape \(1, 2\); the tokens have \(2, 2\)"),
        (torch.ones(2, 1, 1, 2), r"attention_mask has shape \(2, 1, 1, 2\); expected"),
        ([[1, 1], [1, 2]], "attention_mask is 2 in row 1, column 1"),
        (torch.tensor([[0.0, 0.0], [-1e9, 0.0]]), "attention_mask is -1000000000.0 in row 1"),
        (torch.tensor([[1.0, torch.nan], [1.0, 1.0]]), "attention_mask is nan in row 0, column 1"),
        ([[1, 1], [0, 0]], r"no real token in row\(s\) \[1\]"),
        ([[1, 1], [1]], "cannot read attention_mask: .* rows of equal length"),
    ],
)
def test_bad_mask(mask: Any, message: str, model: HookedGPTNeo) -> None:
    for run in (model, model.run_with_cache):
        with pytest.raises(TokenizationError, match=message):
            run([[1, 2], [3, 4]], mask)


# ---- a residual stream -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (torch.zeros(1, 2, 7), r"a residual stream \[batch, pos, 8\]; found \(1, 2, 7\)"),
        (torch.zeros(2, 8), r"found \(2, 8\)"),
        ([[1, 2]], "found list"),
        (torch.zeros(1, 2, 8, dtype=torch.long), r"real numbers; found .* torch\.int64"),
        (torch.zeros(0, 2, 8), r"real numbers; found shape \(0, 2, 8\)"),
        (torch.zeros(1, 7, 8), "has 7 tokens, but the model's context is 6"),
    ],
)
def test_bad_stream(stream: Any, message: str, model: HookedGPTNeo) -> None:
    with pytest.raises(TokenizationError, match=message):
        model(stream, start_at_layer=1)


@pytest.mark.parametrize("name", ["start_at_layer", "stop_at_layer"])
def test_layer_out_of_range(name: str, model: HookedGPTNeo) -> None:
    with pytest.raises(SiteError, match=f"{name}=3 is out of range; the model has 2 layers"):
        model([[1]], **{name: 3})


# ---- what annotations forbid -----------------------------------------------------------------

# Tests run with annotations checked, which refuses these first; users run without.
CASES = {
    "tokenize(None)": "the text is NoneType, not a string: None",
    "tokenize(5)": "the text is int, not a string: 5",
    "tokenize(b'ab')": "the text is bytes, not a string: b'ab'",
    "tokenize({'a': 1})": "the text is dict, not a string",
    "tokenize(['a', 3])": "text 1 is int, not a string: 3",
    "tokenize('a', padding_side='up')": "padding_side is 'up'; expected 'left' or 'right'",
    "model(None)": "the input is NoneType; expected text or token ids",
    "model(5)": "the input is int; expected text or token ids",
    "model({'input_ids': [[1]]})": "the input is a dict; give its input_ids, and its attention_m",
    "model([[1, 2], 3])": "rows and single tokens are mixed",
    "model([[1.5, 2]])": "token ids must be whole numbers; found torch.float32",
    "model([['a']])": "cannot read token ids",
    "model([torch.tensor([1, 2]), torch.tensor([3])])": "rows have between 1 and 2 tokens",
    "model([[1, 2]], 'x')": "cannot read attention_mask",
    "model([[1, 2]], 5)": "attention_mask has shape ()",
    # These are not promised, but work.
    "model(numpy.array([[1, 2]])).shape": "returned torch.Size([1, 2, 16])",
    "model([torch.tensor([1, 2]), torch.tensor([3, 4])]).shape": "returned torch.Size([2, 2, 16])",
}
PROGRAM = """
import json, sys, numpy, torch, neoscope
from neoscope.tokenization import tokenize as _tokenize
model = neoscope.load("induction")
def tokenize(text, **options):
    return _tokenize(model.tokenizer, text, n_ctx=40, **options)
found = {}
for case in json.load(sys.stdin):
    try:
        found[case] = f"returned {eval(case)}"
    except neoscope.NeoscopeError as error:
        found[case] = str(error)
    except Exception as error:
        found[case] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def unchecked() -> dict[str, str]:
    """What each case says in a process where nobody checks annotations."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(CASES)),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_bad_type(case: str, unchecked: dict[str, str]) -> None:
    assert unchecked[case].startswith(CASES[case])


# ---- the errors themselves -------------------------------------------------------------------


def test_every_error_is_a_neoscope_error_in_the_drawn_tree() -> None:
    from neoscope import errors

    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and c.__module__ == errors.__name__
    ]
    assert all(issubclass(c, NeoscopeError) for c in classes)
    assert errors.__doc__ is not None
    assert all(c.__name__ in errors.__doc__ for c in classes)


def test_site_error_prints_its_message_not_its_repr() -> None:
    assert str(SiteError("no 'x'")) == "no 'x'"
    assert str(SiteError()) == ""


def test_nearest_name_is_offered_only_if_near() -> None:
    assert nearest("patern", ["pattern", "z"]) == "; did you mean 'pattern'?"
    assert nearest("quux", ["pattern", "z"]) == ""
