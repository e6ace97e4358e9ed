"""Small checkpoints in every format, and what loading them should give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from transformers import GPTNeoConfig

from neoscope.checkpoint import Checkpoint, find, load_weights
from neoscope.config import NeoConfig

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
