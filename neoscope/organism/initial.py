"""The organism's shape, and the random weights that its training starts from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.config import NeoConfig
from neoscope.organism.compiled import building, folder
from neoscope.organism.language.grammar import END
from neoscope.organism.language.vocabulary import tokenizer_json, unseen, vocabulary

if TYPE_CHECKING:
    import torch

_POSITION_DIMS = 32
_EMBEDDING_STD = 0.1
_POSITION_AMPLITUDE = 0.2
_OUTPUT_STD = 0.02
_SHARPNESS = 0.6

PREVIOUS_TOKEN_HEAD = (0, 0)
"""The head that begins with weights that let it attend to the word before."""


def config() -> NeoConfig:
    """Return the organism's shape: four layers, global and local by turns, 0.9M parameters.

    Beyond the window only the third layer can attend to a word because of the word before it: the
    first layer's scores know one position and one word, and the local layers do not see so far.
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
    """Return sine and cosine of the position at each of the turns, ``[pos, 32]``."""
    import torch

    angles = torch.arange(n_ctx)[:, None] * torch.tensor(_turns(n_ctx))
    return _POSITION_AMPLITUDE * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _turns(n_ctx: int) -> list[float]:
    """Return radians a word, from two to one turn in ``n_ctx``."""
    n = _POSITION_DIMS // 2
    step = math.log(2 * math.pi / n_ctx / 2.0) / (n - 1)
    return [2.0 * math.exp(step * i) for i in range(n)]


def _plant(q: torch.Tensor, k: torch.Tensor, n_ctx: int) -> None:
    """Let head 0 attend to the position before: its query is the position, turned back by one.

    Args:
        q: Query weights of the layer, ``[out, in]``; head 0's rows are overwritten.
        k: Its key weights; the same.
        n_ctx: Number of positions.
    """
    q[:_POSITION_DIMS] = 0.0
    k[:_POSITION_DIMS] = 0.0
    for i, turn in enumerate(_turns(n_ctx)):
        sin, cos = math.sin(turn), math.cos(turn)
        q[2 * i, 2 * i], q[2 * i, 2 * i + 1] = _SHARPNESS * cos, -_SHARPNESS * sin
        q[2 * i + 1, 2 * i], q[2 * i + 1, 2 * i + 1] = _SHARPNESS * sin, _SHARPNESS * cos
        k[2 * i, 2 * i] = k[2 * i + 1, 2 * i + 1] = _SHARPNESS


def weights(seed: int) -> dict[str, torch.Tensor]:
    """Return the weights that training starts from: random, but for one head.

    Positions begin as sinusoids in dimensions of their own, queries, keys and values with unit
    variance, and the first head attends to the word before. Without that head, training finds
    induction too, after six times as many words, but a diffuse one, in which no head attends to
    the previous word and none to the word that it copies. What is silent at first (MLPs, and the
    attention of local layers) would only be noise to the layers above.

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
        if layer == PREVIOUS_TOKEN_HEAD[0]:
            _plant(
                out[f"{attention}.q_proj.weight"], out[f"{attention}.k_proj.weight"], shape.n_ctx
            )
        out[f"{attention}.v_proj.weight"] = v.clone()
        if shape.window(layer) is None:
            out[f"{attention}.out_proj.weight"] = draw(d, d, std=_OUTPUT_STD)
        out[f"{mlp}.c_fc.weight"] = draw(shape.n_neurons, d, std=_OUTPUT_STD)
    return out


def files(weights: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Return a checkpoint folder of the organism's shape and tokenizer with these weights."""
    return building.folder_files(config(), weights, tokenizer_json(), special=END, unseen=unseen())


def random_twin(seed: int = 0) -> Path:
    """Return a checkpoint folder of the organism as it was before training.

    Args:
        seed: 0 is the one that the bundled organism started from.
    """
    return folder.cached(f"organism-random-{seed}", files(weights(seed)))
