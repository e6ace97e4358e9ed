"""Norms of what heads move: attention, and what a head would write from each key.

Kobayashi et al. 2020, "Attention is Not Only a Weight" (EMNLP): a head writes the sum over keys j
of ``alpha_ij f(x_j)`` with ``f(x) = LN1(x) W_V W_O``; the output bias belongs to no key. The norm
is of what one head writes: a mean or a sum of heads before it would let them cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neoscope.analysis import reading
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


WEIGHTINGS = ("attention", "norm")


def check_weighting(weighted: object) -> None:
    """Refuse a way to weigh keys that there is none of.

    Raises:
        AnalysisError: It is neither ``"attention"`` nor ``"norm"``.
    """
    if weighted not in WEIGHTINGS:
        raise AnalysisError(
            f"weighted={weighted!r}{nearest(str(weighted), WEIGHTINGS)}; expected 'attention' or "
            "'norm'"
        )


def value_norms(
    v: Float[Tensor, "batch key head d_head"], W_O: Float[Tensor, "head d_head d_model"]
) -> Float[Tensor, "batch head key"]:
    """Return the norm of what each head would write from each key: ``||v W_O||``.

    ``W_O`` is cut down to a triangle of d_head x d_head by a QR decomposition, which keeps norms.
    """
    triangle = torch.linalg.qr(W_O.double().transpose(1, 2)).R
    written = torch.einsum("bkhe,hfe->bhkf", v.double(), triangle)
    norms: Tensor = written.norm(dim=-1)
    return norms.float()


def norm_shares(
    pattern: Float[Tensor, "batch head query key"], norms: Float[Tensor, "batch head key"]
) -> tuple[Float[Tensor, "batch head query key"], Bool[Tensor, "batch head query"]]:
    """Return each key's share of the norms that a query gets, and which queries get any.

    The rows of those that get nothing are zero: they have no shares.
    """
    weights = pattern.abs() * norms[:, :, None]
    total = weights.sum(-1, keepdim=True)
    shares = torch.where(total > 0, weights / total, 0.0)
    return shares, total[..., 0] > 0


def values_of(
    cache: ActivationCache, layer: int, model: HookedGPTNeo, what: str
) -> Float[Tensor, "batch key head d_head"]:
    """Return a layer's value vectors: as cached, or from the stream that they are read from.

    Raises:
        AnalysisError: Neither ``v`` nor ``resid_pre`` was cached.
    """
    if layer in cache.layers("v"):
        return reading.at(cache, "v", layer)
    block = model.blocks[layer]
    if layer not in cache.layers("resid_pre"):
        raise AnalysisError(
            f"{what} needs the values of layer {layer}: cache them with "
            "model.run_with_cache(text, sites=['pattern', 'v'])"
        )
    stream = reading.at(cache, "resid_pre", layer).to(model.device, model.dtype)
    with torch.no_grad():
        return torch.einsum("bpd,hde->bphe", block.ln1(stream), block.attn.W_V)


def pattern_of(
    cache: ActivationCache, layer: int, what: str
) -> Float[Tensor, "batch head query key"]:
    """Return a layer's attention pattern in float32.

    Raises:
        AnalysisError: It was not cached; says which site to cache.
    """
    held = cache.layers("pattern")
    if layer not in held:
        has = f"it has those of layers {', '.join(map(str, held))}" if held else "it has none"
        raise AnalysisError(
            f"{what} needs the attention patterns of layer {layer}, but of this cache {has}: make "
            "it with model.run_with_cache(text, sites='pattern')"
        )
    return reading.at(cache, "pattern", layer).float()
