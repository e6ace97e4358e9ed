"""A hand-compiled GPT-Neo with three outlier dimensions, which own the cosine between its states.

Words are random signs, in opposite pairs; the MLP of layer 1 adds one large constant to each
outlier dimension, and nothing else is ever written. All numbers of ``OUTLIER_TRUTH`` have
closed forms.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.config import NeoConfig
from neoscope.organism.compiled.building import checkpoint_files, zero_weights
from neoscope.organism.compiled.folder import cached
from neoscope.organism.compiled.truth import seeded

if TYPE_CHECKING:
    import torch

_D_MODEL, _N_WORDS = 32, 64
_SIZES = (100.0, -60.0, 40.0)
# Orthogonal to the sizes, so that all states have one norm; see ``_embeddings``.
_SIGNS = (1.0, 1.0, -1.0)
_LARGE = sum(size * size for size in _SIZES)
_WITHIN = -1 / (_N_WORDS - 1)  # Mean cosine between different words, whose sum is 0.
_NORM = _LARGE + _D_MODEL
_COSINE = (_LARGE + _D_MODEL * _WITHIN) / _NORM


@dataclasses.dataclass(frozen=True)
class OutlierTruth:
    """All that is known about the compiled outlier model.

    Cosines and shares are means over all pairs of different states of ``outlier_prompts``.
    ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> OUTLIER_TRUTH.dims, round(OUTLIER_TRUTH.cosine, 4), round(sum(OUTLIER_TRUTH.shares), 4)
        ((5, 12, 27), 0.9979, 1.0)
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids; words ``2 i`` and ``2 i + 1`` are opposite vectors."""
    dims: tuple[int, ...]
    """The outlier dimensions of the residual stream."""
    sizes: tuple[float, ...]
    """Mean of each of them, from ``first_layer``'s ``resid_post`` on; before it is 0."""
    first_layer: int
    """The layer whose MLP adds the sizes, at every position: all that comes later has them."""
    std: float
    """Standard deviation over words, of every dimension and everywhere."""
    norm_before: float
    """Norm of every state up to ``resid_mid`` of ``first_layer``."""
    norm: float
    """Norm of every state from ``resid_post`` of ``first_layer`` on."""
    cosine_before: float
    """Mean cosine between states up to ``resid_mid`` of ``first_layer``."""
    cosine: float
    """The same from ``resid_post`` of ``first_layer`` on: the anisotropy of the raw states."""
    shares: tuple[float, ...]
    """Each outlier dimension's share of ``cosine``; the shares of all dimensions sum to 1."""
    other_share: float
    """Share of each other dimension."""
    share_before: float
    """Share of each dimension in ``cosine_before``."""
    cosine_centred: float
    """Mean cosine from ``first_layer`` on when each dimension has its mean taken away."""
    cosine_standardised: float
    """The same when each dimension is also divided by its standard deviation."""


OUTLIER_TRUTH = OutlierTruth(
    words=("<|endoftext|>", *(f"w{i}" for i in range(1, _N_WORDS))),
    dims=(5, 12, 27),
    sizes=_SIZES,
    first_layer=1,
    std=1.0,
    norm_before=_D_MODEL**0.5,
    norm=_NORM**0.5,
    cosine_before=_WITHIN,
    cosine=_COSINE,
    shares=tuple((size * size + _WITHIN) / _NORM / _COSINE for size in _SIZES),
    other_share=_WITHIN / _NORM / _COSINE,
    share_before=1 / _D_MODEL,
    cosine_centred=_WITHIN,
    cosine_standardised=_WITHIN,
)
"""The truth about ``compiled.outliers()``, which is compiled from it."""


def outliers() -> Path:
    """Return the folder of the compiled outlier model in the user's cache, written if need be.

    Raises:
        CheckpointError: The cache cannot be written.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load(outliers()).run_with_cache(outlier_prompts(), sites="resid_post")
        >>> [round(float(cache["resid_post", layer][..., 5].mean()), 3) for layer in range(4)]
        [0.0, 100.0, 100.0, 100.0]
    """
    import torch

    config = NeoConfig(
        n_layers=4,
        d_model=_D_MODEL,
        n_heads=4,
        n_ctx=_N_WORDS,
        d_vocab=_N_WORDS,
        window_size=8,
        d_mlp=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    weights = zero_weights(config)
    weights["wte.weight"] = _embeddings()
    bias = weights[f"h.{OUTLIER_TRUTH.first_layer}.mlp.c_proj.bias"]
    bias[list(OUTLIER_TRUTH.dims)] = torch.tensor(OUTLIER_TRUTH.sizes)
    return cached("outliers", checkpoint_files(config, weights, OUTLIER_TRUTH.words))


def _embeddings() -> torch.Tensor:
    """Return random signs, ``[word, d_model]``.

    Opposite words make all means exactly 0. On the outlier dimensions a word is plus or minus
    ``_SIGNS``, so that what is added there changes all norms alike.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(2, (_N_WORDS // 2, _D_MODEL), generator=generator)
    rows = 2.0 * bits - 1
    rows[:, list(OUTLIER_TRUTH.dims)] = rows[:, :1] * torch.tensor(_SIGNS)
    return torch.stack([rows, -rows], dim=1).flatten(0, 1)


def outlier_prompts(seed: int = 0) -> torch.Tensor:
    """Return prompts in which every word comes exactly once.

    Args:
        seed: Of the order, on which no state depends.

    Returns:
        Token ids, int64 ``[4, 16]``.

    Raises:
        ArgumentError: The seed is no whole number.

    Example:
        >>> tuple(outlier_prompts().shape)
        (4, 16)
    """
    import torch

    generator = seeded(seed)
    return torch.randperm(_N_WORDS, generator=generator).view(4, 16)
