"""Two compiled GPT-Neos of which the right answer of a logit lens and of a tuned lens is known.

In ``zero_tail`` the last layers write nothing, so that there the logit lens is the output. In
``rotated`` every block but an idle one turns the stream by a known matrix, which is what the
translator of a tuned lens has to find, or to undo.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.config import NeoConfig
from neoscope.organism.compiled.building import checkpoint_files, zero_weights
from neoscope.organism.compiled.folder import cached
from neoscope.organism.compiled.truth import ln_factor

if TYPE_CHECKING:
    import torch

_WORDS = ("<|endoftext|>", *(f"w{i}" for i in range(1, 64)))
_N_CTX = 32


@dataclasses.dataclass(frozen=True)
class ZeroTailTruth:
    """All that is known about ``zero_tail``.

    A depth is a place to read the stream: 0 is ``resid_pre`` of layer 0, depth ``l + 1`` is
    ``resid_post`` of layer ``l``. ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> ZERO_TAIL_TRUTH.idle, ZERO_TAIL_TRUTH.lens_kl[-1]
        ((2, 3), 0.0)
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    seed: int
    """Of the random weights of the other layers."""
    idle: tuple[int, ...]
    """Layers whose ``out_proj`` and ``c_proj`` are zero: bit for bit, they change nothing."""
    exact_depths: tuple[int, ...]
    """Depths at which the logit lens gives the model's own logits, bit for bit."""
    lens_kl: tuple[float, ...]
    """For each depth, KL(output || logit lens) in nats, mean over ``lens_prompts``; to 1e-4, since
    it depends on the random weights."""


@dataclasses.dataclass(frozen=True)
class RotatedTruth:
    """All that is known about ``rotated``.

    Depths are as for ``ZeroTailTruth``. The stream is ``x`` (the embedding), then ``S x``,
    ``R S x``, ``R S x``, ``S x``, for two orthogonal matrices that keep the all-ones vector.
    ``rotation`` returns them and ``translators`` what each depth must be multiplied by.
    ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> ROTATED_TRUTH.turned_depths, ROTATED_TRUTH.tuned_kl
        ((2, 3), 0.0)
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    mixing_seed: int
    """``rotation(mixing_seed)`` is S, by which layer 0 turns the stream."""
    rotation_seed: int
    """``rotation(rotation_seed)`` is R, by which layer 1 turns it."""
    idle: int
    """The layer that does nothing, in the turned basis."""
    undone: int
    """The layer that turns by the inverse of R."""
    norm: float
    """Norm of the stream, everywhere; its mean is 0."""
    turned_depths: tuple[int, ...]
    """Depths whose translator must be the inverse of R. It can be known up to a positive factor,
    and but for what it does along the all-ones vector, which LayerNorm removes."""
    exact_depths: tuple[int, ...]
    """Depths at which the logit lens is right already, so that translators must stay identities."""
    lens_kl: tuple[float, ...]
    """For each depth, KL(output || logit lens) in nats, mean over ``lens_prompts``; to 1e-5."""
    tuned_kl: float
    """The same at every depth with ``translators``; in float32 it is below 1e-6."""


ZERO_TAIL_TRUTH = ZeroTailTruth(
    words=_WORDS,
    seed=0,
    idle=(2, 3),
    exact_depths=(2, 3, 4),
    lens_kl=(1.06269, 0.29792, 0.0, 0.0, 0.0),
)
"""The truth about ``compiled.zero_tail()``."""

ROTATED_TRUTH = RotatedTruth(
    words=_WORDS,
    mixing_seed=1,
    rotation_seed=2,
    idle=2,
    undone=3,
    norm=1.0,
    turned_depths=(2, 3),
    exact_depths=(1, 4),
    lens_kl=(1.168872, 0.0, 0.944829, 0.944829, 0.0),
    tuned_kl=0.0,
)
"""The truth about ``compiled.rotated()``, which is compiled from it."""

_D_ROTATED = 16


def lens_prompts() -> torch.Tensor:
    """Return two prompts that hold each word once, int64 ``[2, 32]``.

    Example:
        >>> tuple(lens_prompts().shape)
        (2, 32)
    """
    import torch

    return torch.arange(len(_WORDS)).view(2, _N_CTX)


def zero_tail() -> Path:
    """Return the folder of a random GPT-Neo whose last two layers write exactly nothing.

    It is in the user's cache, written if need be.

    Raises:
        CheckpointError: The cache cannot be written.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load(zero_tail()).run_with_cache(lens_prompts(), sites="resid_post")
        >>> bool((cache["resid_post", 1] == cache["resid_post", 3]).all())
        True
    """
    import torch

    config = NeoConfig(
        n_layers=4,
        d_model=32,
        n_heads=4,
        n_ctx=_N_CTX,
        d_vocab=len(_WORDS),
        window_size=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    generator = torch.Generator().manual_seed(ZERO_TAIL_TRUTH.seed)
    weights = zero_weights(config)
    for name, weight in weights.items():
        # Float64 draws do not depend on the processor's vector unit, as float32 ones do.
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        std = 0.1 if name.endswith("bias") else weight.shape[-1] ** -0.5
        around = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
        weights[name] = (around + (0.1 if around else std) * drawn).float()
    for layer in ZERO_TAIL_TRUTH.idle:
        for end in ("attn.attention.out_proj", "mlp.c_proj"):
            for kind in ("weight", "bias"):
                weights[f"h.{layer}.{end}.{kind}"].zero_()
    return cached("zero-tail", checkpoint_files(config, weights, _WORDS))


def rotated() -> Path:
    """Return the folder of a GPT-Neo that turns its stream between layers 1 and 3.

    All layers are local with a window of 1: a position sees only itself, so that its pattern is
    exactly 1 and attention is a linear map. It is in the user's cache, written if need be.

    Raises:
        CheckpointError: The cache cannot be written.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load(rotated()).run_with_cache(lens_prompts(), sites="resid_post")
        >>> back = cache["resid_post", 1] @ translators()[2].T.float()
        >>> bool((back - cache["resid_post", 3]).abs().max() < 1e-5)
        True
    """
    import torch

    config = NeoConfig(
        n_layers=4,
        d_model=_D_ROTATED,
        n_heads=2,
        n_ctx=_N_CTX,
        d_vocab=len(_WORDS),
        window_size=1,
        attention_layers=("local", "local", "local", "local"),
        d_mlp=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(_WORDS), _D_ROTATED, generator=generator, dtype=torch.float64)
    rows -= rows.mean(-1, keepdim=True)
    rows *= ROTATED_TRUTH.norm / rows.norm(dim=-1, keepdim=True)
    weights = zero_weights(config)
    weights["wte.weight"] = rows.float()
    seen = ln_factor(ROTATED_TRUTH.norm**2, _D_ROTATED)
    mixing, turn = rotation(ROTATED_TRUTH.mixing_seed), rotation(ROTATED_TRUTH.rotation_seed)
    identity = torch.eye(_D_ROTATED, dtype=torch.float64)
    for layer, matrix in ((0, mixing), (1, turn), (ROTATED_TRUTH.undone, turn.T)):
        attention = f"h.{layer}.attn.attention"
        weights[f"{attention}.v_proj.weight"].copy_(identity)
        # What is written is added to the stream, and is read through a LayerNorm.
        weights[f"{attention}.out_proj.weight"].copy_((matrix - identity) / seen)
    return cached("rotated", checkpoint_files(config, weights, _WORDS))


def rotation(seed: int) -> torch.Tensor:
    """Return a random rotation that keeps the all-ones vector, so that it commutes with LayerNorm.

    Args:
        seed: Of the draw.

    Returns:
        Float64 ``[16, 16]``, orthogonal with determinant 1; it multiplies columns.

    Example:
        >>> R = rotation(ROTATED_TRUTH.rotation_seed)
        >>> bool((R.sum(1) - 1).abs().max() < 1e-12)
        True
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    size = (2, _D_ROTATED, _D_ROTATED)
    drawn = torch.randn(size, generator=generator, dtype=torch.float64)
    drawn[:, :, 0] = 1
    # Two orthonormal bases that begin with the all-ones direction: one is turned into the other.
    bases, upper = torch.linalg.qr(drawn)
    bases = bases * upper.diagonal(dim1=1, dim2=2).sign()[:, None]
    bases[0, :, -1] *= torch.linalg.det(bases).prod().sign()
    turn: torch.Tensor = bases[0] @ bases[1].T
    return turn


def translators() -> torch.Tensor:
    """Return the exact solution of a tuned lens on ``rotated``.

    Returns:
        Float64 ``[5, 16, 16]``: at depth ``d``, ``ln_f(translators()[d] @ stream)`` gives the
        model's output. A tuned lens that writes ``h + A h`` has ``A = translators()[d] - I``.

    Example:
        >>> tuple(translators().shape)
        (5, 16, 16)
    """
    import torch

    mixing = rotation(ROTATED_TRUTH.mixing_seed)
    back = rotation(ROTATED_TRUTH.rotation_seed).T
    identity = torch.eye(_D_ROTATED, dtype=torch.float64)
    return torch.stack([mixing, identity, back, back, identity])
