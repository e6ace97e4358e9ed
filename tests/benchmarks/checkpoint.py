"""The random checkpoint of published shape that every contender loads, and the contenders."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPTNeoConfig, GPTNeoForCausalLM
from transformers.utils import logging

from neoscope import HookedGPTNeo
from tests.benchmarks.harness import Settings

# A config that is not EleutherAI/gpt-neo-125m's only in its weights.
_FULL = {"hidden_size": 768, "num_layers": 12, "num_heads": 12}
_TINY = {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 1000, "window_size": 16}


@contextlib.contextmanager
def random_checkpoint(settings: Settings, **given: Any) -> Iterator[Path]:
    """Save a random GPT-Neo into a folder that is removed after.

    Args:
        settings: 125M-shaped unless ``quick``.
        **given: What is otherwise, as transformers' config calls it.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    shape: dict[str, Any] = {**(_TINY if settings.quick else _FULL), **given}
    shape.setdefault("attention_types", [[["global", "local"], shape["num_layers"] // 2]])
    config = GPTNeoConfig(**shape)
    with tempfile.TemporaryDirectory() as folder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            GPTNeoForCausalLM(config).save_pretrained(folder)
        yield Path(folder)


def load_transformers(
    folder: Path, settings: Settings, dtype: torch.dtype = torch.float32
) -> GPTNeoForCausalLM:
    """Load by transformers, eager attention being the only one it has for GPT-Neo on a CPU."""
    model = GPTNeoForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model.to(settings.device).eval()


def load_ours(folder: Path, settings: Settings, dtype: torch.dtype = torch.float32) -> HookedGPTNeo:
    """Load by neoscope."""
    return HookedGPTNeo.from_pretrained(folder, dtype=dtype, device=settings.device)


def load_bridge(folder: Path, settings: Settings) -> TransformerBridge:
    """Load by TransformerLens's bridge, as raw as it comes."""
    inner = load_transformers(folder, settings)
    return TransformerBridge.boot_transformers(
        str(folder), device=settings.device, dtype=torch.float32, hf_model=inner
    )


def flops(
    config: GPTNeoConfig, batch: int, pos: int, *, logits: bool = False, past: int = 0
) -> float:
    """Count the matrix products' operations, attention only over the keys that are visible."""
    d, heads_width, layers = config.hidden_size, config.hidden_size, config.attention_layers
    mlp = config.intermediate_size or 4 * d
    total = 2.0 * batch * pos * len(layers) * (4 * d * d + 2 * d * mlp)
    for kind in layers:
        window = config.window_size if kind == "local" else past + pos
        visible = sum(min(past + i + 1, window) for i in range(pos))
        total += 4.0 * batch * heads_width * visible
    return total + (2.0 * batch * pos * d * config.vocab_size if logits else 0.0)
