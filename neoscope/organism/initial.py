"""The organism's shape, and the random weights that its training starts from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.config import NeoConfig
from neoscope.organism.compiled import building, folder
from neoscope.organism.language.grammar import END
from neoscope.organism.language.vocabulary import tokenizer_json, vocabulary

if TYPE_CHECKING:
    import torch

_POSITION_DIMS = 32
_EMBEDDING_STD = 0.1
_POSITION_AMPLITUDE = 0.2
_OUTPUT_STD = 0.02


def config() -> NeoConfig:
    """Return the organism's shape: four layers, global and local by turns, 0.9M parameters.

    A repeat more than 62 words away is beyond what both local layers can carry together, and the
    first layer cannot know which word came before another. So only the third can continue it.
    """
    end = vocabulary()[END]
    return NeoConfig(
        n_layers=4,
        d_model=128,
        n_heads=4,
        n_ctx=128,
        d_vocab=len(vocabulary()),
        window_size=32,
        attention_layers=("global", "local", "global", "local"),
        bos_token_id=end,
        eos_token_id=end,
    )


def _positions(n_ctx: int) -> torch.Tensor:
    """Return sines and cosines, from two radians a word to one turn in ``n_ctx``, ``[pos, 32]``."""
    import torch

    turns = torch.logspace(math.log10(2.0), math.log10(2 * math.pi / n_ctx), _POSITION_DIMS // 2)
    angles = torch.arange(n_ctx)[:, None] * turns
    return _POSITION_AMPLITUDE * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def weights(seed: int) -> dict[str, torch.Tensor]:
    """Return the weights that training starts from; no head is given anything to do.

    Positions begin as sinusoids in dimensions of their own, so that neighbours are alike and one
    is the other turned; queries, keys and values begin with unit variance. From GPT-Neo's own
    0.02, and with AdamW, the plateau before induction is several times as long.

    Args:
        seed: Fixes them.

    Returns:
        All parameters under Hugging Face's names, as ``building.zero_weights`` has them.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    shape = config()
    d = shape.d_model
    out = building.zero_weights(shape)

    def draw(*size: int, std: float) -> torch.Tensor:
        return torch.randn(size, generator=generator) * std

    out["wpe.weight"][:, :_POSITION_DIMS] = _positions(shape.n_ctx)
    out["wte.weight"] = draw(shape.d_vocab, d, std=_EMBEDDING_STD)
    out["wte.weight"][:, :_POSITION_DIMS] = 0.0
    for layer in range(shape.n_layers):
        attention, mlp = f"h.{layer}.attn.attention", f"h.{layer}.mlp"
        q, k, v = draw(3 * d, d, std=1 / math.sqrt(d)).chunk(3)
        out[f"{attention}.q_proj.weight"] = 0.6 * q
        out[f"{attention}.k_proj.weight"] = 0.6 * k
        out[f"{attention}.v_proj.weight"] = v.clone()
        out[f"{attention}.out_proj.weight"] = draw(d, d, std=_OUTPUT_STD)
        out[f"{mlp}.c_fc.weight"] = draw(shape.n_neurons, d, std=_OUTPUT_STD)
        out[f"{mlp}.c_proj.weight"] = draw(d, shape.n_neurons, std=_OUTPUT_STD)
    return out


def files(weights: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Return a checkpoint folder of the organism's shape and tokenizer with these weights."""
    return building.folder_files(config(), weights, tokenizer_json(), special=END)


def random_twin(seed: int = 0) -> Path:
    """Return a checkpoint folder of the organism as it was before training.

    Args:
        seed: 0 is the one that the bundled organism started from.
    """
    return folder.cached(f"organism-random-{seed}", files(weights(seed)))
