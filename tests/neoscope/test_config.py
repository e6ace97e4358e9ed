"""NeoConfig against transformers' own GPTNeoConfig, and everything that it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from neoscope.config import NeoConfig
from neoscope.errors import CheckpointError, ConfigError

RAW: dict[str, Any] = {
    "model_type": "gpt_neo",
    "num_layers": 2,
    "num_heads": 4,
    "hidden_size": 20,
    "vocab_size": 50,
}


def test_defaults_are_the_125m() -> None:
    config = NeoConfig()
    assert config.n_params == 125_198_592
    assert config.kinds == ("global", "local") * 6
    assert (config.window(0), config.window(1)) == (None, 256)
    assert (config.d_head, config.n_neurons) == (64, 3072)


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NeoConfig().d_model = 1  # type: ignore[misc]


@settings(max_examples=30, deadline=None)
@given(
    n_heads=st.integers(1, 5),
    d_head=st.integers(1, 9),
    kinds=st.lists(st.sampled_from(["global", "local"]), min_size=1, max_size=5),
    d_mlp=st.none() | st.integers(1, 99),
    tied=st.booleans(),
    pad=st.none() | st.integers(0, 9),
)
def test_transformers_reads_back_what_to_hf_writes(
    n_heads: int, d_head: int, kinds: list[Any], d_mlp: int | None, tied: bool, pad: int | None
) -> None:
    config = NeoConfig(
        n_layers=len(kinds),
        n_heads=n_heads,
        d_model=n_heads * d_head,
        attention_layers=tuple(kinds),
        d_mlp=d_mlp,
        d_vocab=50,
        tie_word_embeddings=tied,
        pad_token_id=pad,
        bos_token_id=1,
        eos_token_id=1,
    )
    theirs = GPTNeoConfig(**config.to_hf())
    assert theirs.attention_layers == kinds
    assert NeoConfig.from_hf(theirs.to_dict()) == config
    assert NeoConfig.from_hf(config.to_hf()) == config


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("intermediate", [None, 7])
def test_n_params_is_transformers_count(tied: bool, intermediate: int | None) -> None:
    theirs = GPTNeoConfig(
        vocab_size=50,
        hidden_size=20,
        num_layers=3,
        num_heads=4,
        max_position_embeddings=9,
        attention_types=[[["local"], 3]],
        intermediate_size=intermediate,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    assert (
        NeoConfig.from_hf(theirs.to_dict()).n_params == GPTNeoForCausalLM(theirs).num_parameters()
    )


def test_old_spellings_are_read() -> None:
    old = {
        "architectures": ["GPTNeoForCausalLM"],
        "n_layer": 2,
        "n_head": 4,
        "n_embd": 20,
        "n_positions": 16,
        "n_inner": 33,
        "vocab_size": 50,
        "gradient_checkpointing": False,
        "summary_type": "cls_index",
    }
    assert NeoConfig.from_hf(old) == NeoConfig(
        n_layers=2, n_heads=4, d_model=20, n_ctx=16, d_mlp=33, d_vocab=50, act_fn="gelu_new"
    )


def test_attention_types_win_over_attention_layers() -> None:
    both = RAW | {
        "attention_types": [[["local", "global"], 1]],
        "attention_layers": ["local", "global"],
    }
    assert NeoConfig.from_hf(both).kinds == ("local", "global")
    stale = RAW | {"attention_types": [[["local"], 2]], "attention_layers": ["global"] * 2}
    assert NeoConfig.from_hf(stale).kinds == ("local", "local")


def test_attention_layers_alone_are_enough() -> None:
    assert NeoConfig.from_hf(RAW | {"attention_layers": ["local", "local"]}).kinds == ("local",) * 2


def test_without_attention_kinds_layers_alternate() -> None:
    assert NeoConfig.from_hf(RAW).kinds == ("global", "local")


def test_first_of_several_eos_tokens_is_taken() -> None:
    assert NeoConfig.from_hf(RAW | {"eos_token_id": [7, 8]}).eos_token_id == 7
    assert NeoConfig.from_hf(RAW | {"eos_token_id": []}).eos_token_id is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, r"here\.json is not a GPT-Neo: it says model_type 'gpt2'"),
        ({"model_type": "gpt_neox"}, "GPT-NeoX is another architecture"),
        ({"model_type": None}, "not a GPT-Neo: it says architectures"),
        ({"num_layers": None}, "no key 'num_layers' or 'num_hidden_layers' or 'n_layer'"),
        ({"vocab_size": None}, "no key 'vocab_size'"),
        ({"n_layer": 3}, "contradicts itself"),
        ({"num_heads": 3}, "d_model 20 cannot be divided by n_heads 3"),
        ({"hidden_size": "20"}, "hidden_size is '20'; expected a whole number"),
        ({"hidden_size": 0}, "d_model is 0"),
        ({"num_layers": True}, "num_layers is True"),
        ({"intermediate_size": -1}, "d_mlp is -1"),
        ({"intermediate_size": True}, "intermediate_size is True"),
        ({"layer_norm_epsilon": 0.0}, r"ln_eps is 0\.0; expected a number between"),
        ({"layer_norm_epsilon": "tiny"}, "layer_norm_epsilon is 'tiny'; expected a number"),
        ({"activation_function": 3}, "activation_function is 3; expected a name"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; expected true or false"),
        ({"attention_types": [[["global"], 3]]}, "names 3 layers, but n_layers is 2"),
        ({"attention_types": [["global"]]}, r"expected e\.g\. \[\[\['global', 'local'\], 6\]\]"),
        ({"attention_types": [[["globl"], 2]]}, r"'globl'.*did you mean 'global'"),
        ({"attention_layers": "global"}, "attention_layers is 'global'; expected e.g."),
        ({"attention_layers": ["sparse", "local"]}, "attention kind 'sparse'"),
    ],
)
def test_bad_config_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        NeoConfig.from_hf(RAW | change, where="here.json")
    assert isinstance(caught.value, CheckpointError)
    assert str(caught.value).startswith("here.json")
    assert "\n" not in str(caught.value)
