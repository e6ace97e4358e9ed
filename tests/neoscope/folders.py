"""Checkpoint folders for tests: a tiny random GPT-Neo, and a tokenizer laid out as GPT-2's is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoConfig, GPTNeoForCausalLM

BOS = "<|endoftext|>"
_TEXTS = ["the quick brown fox jumps over the lazy dog", "hello there the the café"] * 5


def write_bpe(folder: Path) -> Path:
    """Write a byte-level BPE tokenizer as real GPT-Neo checkpoints have it: two files, no more."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    tokenizer.model.save(str(folder))
    if not (folder / "config.json").exists():
        # Without it, transformers cannot know whose tokenizer two such files are.
        (folder / "config.json").write_text('{"model_type": "gpt_neo"}', encoding="utf-8")
    return folder


def random_weights(config: GPTNeoConfig) -> dict[str, torch.Tensor]:
    """Return the weights of a random GPT-Neo under Hugging Face's names, the head left out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPTNeoForCausalLM(config)
    weights = {name: x.detach().clone() for name, x in model.named_parameters()}
    return {name: x for name, x in weights.items() if name != "lm_head.weight"}


def write_checkpoint(folder: Path, *, tokenizer: bool = True, **changes: Any) -> Path:
    """Write a GPT-Neo of two layers, one global and one local, with a window of 4."""
    options: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 8,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 16,
        "window_size": 4,
        "attention_types": [[["global", "local"], 1]],
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    config = GPTNeoConfig(**options | changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json_string(), encoding="utf-8")
    save_file(random_weights(config), folder / "model.safetensors", metadata={"format": "pt"})
    return write_bpe(folder) if tokenizer else folder
