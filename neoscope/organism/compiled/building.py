"""What all compiled models are built from: features, weights of zero, a tokenizer, a checkpoint.

A feature is stored as an antipodal pair ``(+f, -f)``: residuals have mean 0 and, where their norms
are equal, every LayerNorm multiplies by a known number.

Reference: ``transformers/models/gpt_neo/modeling_gpt_neo.py`` (transformers 5.23).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.config import NeoConfig
from neoscope.errors import ArgumentError
from neoscope.unseen import statement

if TYPE_CHECKING:
    import torch


def antipodal(d_model: int, start: int, stop: int) -> torch.Tensor:
    """Return the directions of a space of features, one row each, ``[stop - start, d_model]``.

    Half the product of a residual with a row reads the feature.

    Args:
        d_model: Width of the residual stream.
        start: The first of the dimensions that hold the features; their negatives are
            ``d_model / 2`` higher.
        stop: One past the last of them, at most ``d_model / 2``.

    Raises:
        ArgumentError: The space does not lie in the lower half of the stream.

    Example:
        >>> antipodal(6, 1, 3).tolist()
        [[0.0, 1.0, 0.0, -0.0, -1.0, -0.0], [0.0, 0.0, 1.0, -0.0, -0.0, -1.0]]
    """
    import torch

    if d_model % 2 or not 0 <= start <= stop <= d_model // 2:
        raise ArgumentError(
            f"a space of dimensions {start} to {stop} does not fit d_model {d_model}; "
            "expected 0 <= start <= stop <= d_model / 2, and d_model even"
        )
    rows = torch.eye(d_model // 2)[start:stop]
    return torch.cat([rows, -rows], dim=1)


def zero_weights(config: NeoConfig) -> dict[str, torch.Tensor]:
    """Return a GPT-Neo that does nothing: all weights zero, but LayerNorms' gains, which are one.

    Args:
        config: Its shape.

    Returns:
        All parameters under Hugging Face's names without the prefix ``transformer.``; linear maps
        as ``[out, in]``, in float32.

    Example:
        >>> shape = NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=4, d_vocab=3, d_mlp=5)
        >>> weights = zero_weights(shape)
        >>> tuple(weights["h.0.mlp.c_fc.weight"].shape), sum(w.numel() for w in weights.values())
        ((5, 8), 461)
    """
    import torch

    d, d_mlp = config.d_model, config.n_neurons
    weights = {
        "wte.weight": torch.zeros(config.d_vocab, d),
        "wpe.weight": torch.zeros(config.n_ctx, d),
    }
    for layer in range(config.n_layers):
        block = f"h.{layer}"
        for name in ("q", "k", "v", "out"):
            weights[f"{block}.attn.attention.{name}_proj.weight"] = torch.zeros(d, d)
        weights[f"{block}.attn.attention.out_proj.bias"] = torch.zeros(d)
        weights[f"{block}.mlp.c_fc.weight"] = torch.zeros(d_mlp, d)
        weights[f"{block}.mlp.c_fc.bias"] = torch.zeros(d_mlp)
        weights[f"{block}.mlp.c_proj.weight"] = torch.zeros(d, d_mlp)
        weights[f"{block}.mlp.c_proj.bias"] = torch.zeros(d)
    norms = [f"h.{layer}.{name}" for layer in range(config.n_layers) for name in ("ln_1", "ln_2")]
    for norm in (*norms, "ln_f"):
        weights[f"{norm}.weight"] = torch.ones(d)
        weights[f"{norm}.bias"] = torch.zeros(d)
    return weights


def word_tokenizer(words: Sequence[str]) -> bytes:
    """Return the ``tokenizer.json`` of the words between white space, which adds nothing to a text.

    An unknown word becomes word 0, as it becomes ``<|endoftext|>`` in GPT-Neo's own tokenizer.

    Args:
        words: The vocabulary in the order of ids; word 0 begins prompts and ends texts.

    Raises:
        ArgumentError: There is no word, one comes twice, or one is not a single word.

    Example:
        >>> from tokenizers import Tokenizer
        >>> Tokenizer.from_str(word_tokenizer(["<|endoftext|>", "a"]).decode()).encode("a b").ids
        [1, 0]
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    if not words or len(set(words)) < len(words) or any(word.split() != [word] for word in words):
        raise ArgumentError(
            f"words are {list(words)!r}; expected at least one, all different and without spaces"
        )
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(words[0], special=True, normalized=False)])
    return tokenizer.to_str(pretty=True).encode()


def checkpoint_files(
    config: NeoConfig, weights: Mapping[str, torch.Tensor], words: Sequence[str]
) -> dict[str, bytes]:
    """Return a Hugging Face checkpoint that reads words, file by file.

    Args:
        config: The model's shape.
        weights: As from ``zero_weights``.
        words: As for ``word_tokenizer``.

    Returns:
        Content by name; last comes ``config.json``, which loaders look for.

    Raises:
        ArgumentError: The words are not as many as the model's vocabulary, or no vocabulary.
    """
    if len(words) != config.d_vocab:
        raise ArgumentError(f"there are {len(words)} words; expected d_vocab, {config.d_vocab}")
    return folder_files(config, weights, word_tokenizer(words), special=words[0])


def folder_files(
    config: NeoConfig,
    weights: Mapping[str, torch.Tensor],
    tokenizer: bytes,
    *,
    special: str,
    unseen: Iterable[int] = (),
) -> dict[str, bytes]:
    """Return a Hugging Face checkpoint with any tokenizer, file by file.

    Args:
        config: The model's shape.
        weights: As from ``zero_weights``.
        tokenizer: Content of ``tokenizer.json``.
        special: The token that begins and ends texts and stands for what is unknown.
        unseen: Ids of tokens that training never showed; text that has them brings a warning.
    """
    import safetensors.torch

    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special,
        "eos_token": special,
        "unk_token": special,
        "model_max_length": config.n_ctx,
        "clean_up_tokenization_spaces": False,
    }
    if unseen := tuple(unseen):
        tokenizer_config |= statement(unseen)
    prefixed = {f"transformer.{name}": weight for name, weight in weights.items()}
    return {
        "model.safetensors": safetensors.torch.save(prefixed, metadata={"format": "pt"}),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": to_json(tokenizer_config),
        "config.json": to_json(config.to_hf()),
    }


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return plain values as an indented JSON file."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
