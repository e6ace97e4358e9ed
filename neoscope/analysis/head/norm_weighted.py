"""Norm-weighted attention: how much a head moves from each token, not only how much it looks.

Kobayashi et al. 2020, "Attention is Not Only a Weight" (EMNLP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from neoscope.analysis import reading
from neoscope.analysis.head.norms import pattern_of, value_norms, values_of
from neoscope.analysis.result import Result, counted
from neoscope.analysis.words import token_strings
from neoscope.errors import AnalysisError, SiteError
from neoscope.indices import Index, listed, whole
from neoscope.sites import check_layer

if TYPE_CHECKING:
    import pandas as pd


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


def norm_weighted_attention(
    cache: reading.GivenCache,
    layer: Any,
    heads: Index = None,
    *,
    model: reading.GivenModel | None = None,
    check: bool = True,
) -> NormWeightedAttention:
    """Return how much each head moves from each token to each other (Kobayashi et al. 2020).

    Args:
        cache: With ``pattern`` and ``v`` (or ``resid_pre``) of the layer; with ``attn_out`` too it
            is checked that all heads' parts and the output bias sum to it.
        layer: Which.
        heads: One or several; None for all.
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
    chosen = _heads(heads, cache.config.n_heads)
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
        chosen,
        values[:, list(chosen)].cpu().numpy(),
        pattern[:, list(chosen)].cpu().numpy(),
        error,
        tokens.mask.cpu().numpy(),
        token_strings(tokens, owner),
    )


def _heads(heads: Index, n_heads: int) -> tuple[int, ...]:
    if heads is None:
        return tuple(range(n_heads))
    found = []
    for one in listed(heads):
        number = whole(one)
        if number is None or not -n_heads <= number < n_heads:
            raise SiteError(f"head {one!r} does not exist; a layer has heads 0 to {n_heads - 1}")
        found.append(number % n_heads)
    if not found:
        raise AnalysisError("heads=[] asks for no head; leave it out to get all")
    if len(set(found)) < len(found):
        raise AnalysisError(f"heads={heads!r} names a head twice")
    return tuple(found)
