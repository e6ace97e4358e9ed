"""Norm-weighted attention: how much a head moves from each token, not only how much it looks.

Kobayashi et al. 2020, "Attention is Not Only a Weight" (EMNLP): a head writes the sum over keys j
of ``alpha_ij f(x_j)`` with ``f(x) = LN1(x) W_V W_O``; the output bias belongs to no key. The norm
is of what one head writes: a mean or a sum of heads before it would let them cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neoscope.analysis import reading
from neoscope.analysis.result import Result, counted
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, SiteError
from neoscope.indices import Index, listed, whole
from neoscope.sites import check_layer

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.model import HookedGPTNeo


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


@dataclass(frozen=True, eq=False, repr=False)
class NormWeightedAttention(Result):
    """What the heads of one layer move from each token."""

    model: str
    layer: int
    heads: tuple[int, ...]
    values: Float[np.ndarray, "batch head query key"]
    """``||alpha_ij f(x_j)||``, in units of the residual stream; 0 for what a query does not see."""
    attention: Float[np.ndarray, "batch head query key"]
    """``alpha_ij``, the attention itself."""
    error: float | None
    """Most that the sum of all heads' ``alpha_ij f(x_j)`` and the output bias differs from the
    cached ``attn_out``, of all real tokens; None where that was not cached."""
    mask: Bool[np.ndarray, "batch pos"]
    """True where a token is real."""
    strings: tuple[tuple[str, ...], ...]
    """The real tokens of each text."""

    def heading(self) -> str:
        """Return what was measured."""
        checked = "" if self.error is None else f"; sums to attn_out within {self.error:.2g}"
        return (
            f"Norm-weighted attention of layer {self.layer} of {self.model!r}, heads "
            f"{', '.join(map(str, self.heads))} ({counted(len(self.values), 'text')}): "
            f"||alpha_ij f(x_j)||, norm in the residual stream{checked}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each head, query and key that it may see, by text."""
        import pandas as pd

        seen = self.mask[:, None, :, None] & self.mask[:, None, None, :]
        seen = np.broadcast_to(np.tril(np.broadcast_to(seen, self.values.shape)), self.values.shape)
        text, head, query, key = seen.nonzero()
        position = np.maximum(self.mask.cumsum(1) - 1, 0)
        query_at, key_at = position[text, query], position[text, key]
        return pd.DataFrame(
            {
                "text": text,
                "head": np.asarray(self.heads)[head],
                "query": query_at,
                "key": key_at,
                "query_token": [self.strings[t][i] for t, i in zip(text, query_at, strict=True)],
                "key_token": [self.strings[t][i] for t, i in zip(text, key_at, strict=True)],
                "norm": self.values[seen],
                "attention": self.attention[seen],
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return the pairs of which most is moved."""
        table = self.to_dataframe().nlargest(20, "norm")
        return table if len(self.values) > 1 else table.drop(columns="text")


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


def norm_weighted_attention(
    cache: reading.GivenCache,
    layer: Any,
    head: Index = None,
    model: reading.GivenModel | None = None,
    *,
    check: bool = True,
) -> NormWeightedAttention:
    """Return how much each head moves from each token to each other (Kobayashi et al. 2020).

    Args:
        cache: With ``pattern`` and ``v`` (or ``resid_pre``) of the layer; with ``attn_out`` too it
            is checked that all heads' parts and the output bias sum to it.
        layer: Which.
        head: One or several; None for all.
        model: The model of a cache that came from a file.
        check: Refuse what does not sum to the cached ``attn_out`` to 1e-4, or to what the coarsest
            number format in play must lose.

    Raises:
        AnalysisError: The cache lacks a site, or kept some positions only; it does not sum; or no
            head is asked for, or one twice.
        SiteError: There is no such layer or head.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet",
        ...                                 sites=["pattern", "v", "attn_out"])
        >>> result = ns.analysis.norm_weighted_attention(cache, layer=2)
        >>> result.values.shape, result.error < 1e-4
        ((1, 4, 5, 5), True)
    """
    what = "norm_weighted_attention"
    owner = reading.owner(cache, model, what)
    tokens = reading.whole(cache, what)
    layer = check_layer(layer, cache.config.n_layers, "pattern")
    heads = _heads(head, cache.config.n_heads)
    # On the cache's own device and in float32, whatever it was kept in.
    pattern = pattern_of(cache, layer, what)
    v = values_of(cache, layer, owner, what).to(pattern.device).float()
    attn = owner.blocks[layer].attn
    W_O = attn.W_O.detach().to(pattern.device).float()
    mask = tokens.mask.to(pattern.device)
    seen = mask[:, None, :, None] & mask[:, None, None, :]
    pattern = torch.where(seen, pattern, 0.0)
    values = pattern.abs() * value_norms(v, W_O)[:, :, None]
    error = None
    if layer in cache.layers("attn_out"):
        z = torch.einsum("bhqk,bkhe->bqhe", pattern, v)
        written = torch.einsum("bqhe,hed->bqd", z, W_O) + attn.b_O.detach().to(z.device).float()
        out = reading.at(cache, "attn_out", layer).to(z.device).float()
        error = float((written - out)[mask].abs().max())
        kept = (cache["pattern", layer], cache["attn_out", layer], attn.W_O)
        eps = max(torch.finfo(x.dtype).eps for x in kept)
        limit = max(1e-4, 4 * eps * float(values.sum((1, 3)).max()))
        if check and not error <= limit:
            raise AnalysisError(
                f"{what}: the parts of layer {layer} and the output bias differ from the cached "
                f"attn_out by {error:.3g}, more than {limit:.3g}: an edit or a hook wrote there, "
                "or the weights were changed since; check=False returns them with their error"
            )
    return NormWeightedAttention(
        owner.cfg.model_name,
        layer,
        heads,
        values[:, list(heads)].cpu().numpy(),
        pattern[:, list(heads)].cpu().numpy(),
        error,
        tokens.mask.cpu().numpy(),
        reading.token_strings(tokens, owner),
    )


def _heads(head: Index, n_heads: int) -> tuple[int, ...]:
    if head is None:
        return tuple(range(n_heads))
    found = []
    for one in listed(head):
        number = whole(one)
        if number is None or not -n_heads <= number < n_heads:
            raise SiteError(f"head {one!r} does not exist; a layer has heads 0 to {n_heads - 1}")
        found.append(number % n_heads)
    if not found:
        raise AnalysisError("head=[] asks for no head; leave it out to get all")
    if len(set(found)) < len(found):
        raise AnalysisError(f"head={head!r} names a head twice")
    return tuple(found)
