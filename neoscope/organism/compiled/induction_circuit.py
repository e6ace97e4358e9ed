"""A hand-compiled two-layer GPT-Neo that does induction.

Head (0, 0) copies the previous word into a space of its own; head (1, 0) looks for the word whose
predecessor is the current word, and copies it to the output. All other heads, and both MLPs, are
zero. The truth that follows is ``INDUCTION_TRUTH``.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from neoscope.config import NeoConfig
from neoscope.errors import ConfigError
from neoscope.organism.compiled.building import antipodal, checkpoint_files, zero_weights
from neoscope.organism.compiled.folder import cached, write
from neoscope.organism.compiled.induction_truth import INDUCTION_TRUTH

_TRUTH = INDUCTION_TRUTH
_N_CTX = _TRUTH.pos[1] - _TRUTH.pos[0]


def write_induction(
    folder: str | os.PathLike[str],
    *,
    window: int | None = None,
    sharpness: float = INDUCTION_TRUTH.sharpness,
) -> Path:
    """Write the compiled induction model as a Hugging Face checkpoint, unless it is there already.

    A new folder appears whole or not at all.

    Args:
        folder: Where to; its parents are made.
        window: None makes both layers global, which is the truth about the circuit: no head minds
            how far away a word is. A number makes layer 1 local with that window; 15 is the
            shortest with which induction works, so that with 8 it must fail.
        sharpness: Factor in the queries. The scores of attended keys are 29.3 (layer 0) and 14.7
            (layer 1) times it above the others, so that with 60, and still with 8, a float32
            softmax is exactly one-hot. Gradients through even attention grow in proportion to it.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder holds another checkpoint, or cannot be written.
        ConfigError: ``window`` is below 1, or ``sharpness`` not above 0.
    """
    return write(folder, _files(window, sharpness), repair=False)


def induction(*, window: int | None = None, sharpness: float = INDUCTION_TRUTH.sharpness) -> Path:
    """Return the folder of the compiled induction model in the user's cache, written if need be.

    It is below ``$XDG_CACHE_HOME`` or ``~/.cache`` and named by its content: what another version
    wrote there is not used, and what has been damaged is repaired.

    Args:
        window: As for ``write_induction``.
        sharpness: As for ``write_induction``.

    Raises:
        CheckpointError: The cache cannot be written.
        ConfigError: As for ``write_induction``.
    """
    return cached("induction", _files(window, sharpness))


def _files(window: int | None, sharpness: float) -> dict[str, bytes]:
    import torch

    if not (sharpness > 0 and math.isfinite(sharpness)):
        raise ConfigError(f"sharpness is {sharpness!r}; expected a positive number")
    config = NeoConfig(
        n_layers=len(_TRUTH.direct),
        d_model=2 * _TRUTH.out[1],
        n_heads=len(_TRUTH.direct[0]),
        n_ctx=_N_CTX,
        d_vocab=len(_TRUTH.words),
        window_size=_N_CTX if window is None else window,
        attention_layers=("global", "global" if window is None else "local"),
        d_mlp=len(_TRUTH.words),  # The MLPs are zero, so they need not be wide.
        bos_token_id=_TRUTH.bos,
        eos_token_id=_TRUTH.bos,
    )
    weights = zero_weights(config)
    d = config.d_model
    tok, pos = antipodal(d, *_TRUTH.tok), antipodal(d, *_TRUTH.pos)
    prev, out = antipodal(d, *_TRUTH.prev), antipodal(d, *_TRUTH.out)
    # Position p asks for p - 1, and 0 for itself.
    before = torch.zeros_like(pos).index_add_(0, torch.tensor([0, *range(_N_CTX - 1)]), pos)
    heads = (
        (sharpness * before / 2, pos / 2, tok / 2, prev.T),
        (sharpness * tok / 2, prev / 2, _TRUTH.gain * tok / 2, out.T),
    )
    # The unembedding is the embedding; the final LayerNorm lets it read the prediction only.
    weights |= {"wte.weight": tok + out, "wpe.weight": pos, "ln_f.weight": out.abs().sum(dim=0)}
    for layer, matrices in enumerate(heads):
        for name, matrix in zip(("q", "k", "v", "out"), matrices, strict=True):
            full = weights[f"h.{layer}.attn.attention.{name}_proj.weight"]
            full[: matrix.shape[0], : matrix.shape[1]] = matrix
    return checkpoint_files(config, weights, _TRUTH.words)
