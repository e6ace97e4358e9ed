"""Direct logit attribution: what each part of a model writes into a logit, with nothing left over.

References: Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*; Wang et al.
2022 (2211.00593), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.attribution.pieces import KINDS, Piece, Reading, merged, pieces
from neoscope.analysis.attribution.place import place, real_columns
from neoscope.analysis.attribution.result import Attribution
from neoscope.analysis.attribution.words import Question, read_question
from neoscope.analysis.reading import GivenCache, GivenModel, as_cache, at, need, owner
from neoscope.analysis.words import token_strings
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_NAME = "direct_logit_attribution"
_ENDS = ("ln_final.scale", "ln_final.normalized")
_COARSE = ("embed", "pos_embed", "z", "mlp_out", *_ENDS)
ATTRIBUTION_SITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "component": _COARSE,
        "layer": _COARSE,
        "head": _COARSE,
        "mlp": _COARSE,
        "neuron": ("embed", "pos_embed", "z", "post", *_ENDS),
        "source": ("embed", "pos_embed", "v", "pattern", "mlp_out", *_ENDS),
    }
)
"""The sites to cache for each ``by``: ``run_with_cache(text, sites=ATTRIBUTION_SITES["head"])``."""


def direct_logit_attribution(
    cache: GivenCache,
    answer: Any,
    wrong: Any = None,
    *,
    by: str = "component",
    position: Any = -1,
    model: GivenModel | None = None,
    check: bool = True,
) -> Attribution:
    """Split a logit, or the difference of two, into what each component writes directly.

    The final LayerNorm is applied to each write with its gain, its centring and the scale that it
    had in the run; its bias is a component of its own. Whatever is not split by ``by`` is summed in
    rows of its own, so that every table adds up to the model's logit.

    Args:
        cache: A run with the sites of ``ATTRIBUTION_SITES[by]``.
        answer: A word or a token id, one for all rows or one for each.
        wrong: The same; its logit is subtracted. None attributes the answer's logit alone.
        by: ``"component"`` (embeddings, heads, attention biases, MLPs), ``"layer"``, ``"head"``,
            ``"mlp"``, ``"neuron"`` (its activation times its row of W_out), or ``"source"`` (each
            head's write by the token it comes from: pattern times v times W_O).
        position: Where: padding does not count, -1 is the last real token; or one for each row.
        model: Whose weights; default the model that made the cache.
        check: Refuse what does not add up to 1e-4 (see :meth:`Attribution.check`).

    Returns:
        Contributions in logits, for each row of the batch.

    Raises:
        AnalysisError: No such ``by``; the cache lacks a site or the position, or does not add up;
            answers that are no single tokens, or the same.
        SiteError: A row has no such position.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.analysis import ATTRIBUTION_SITES, direct_logit_attribution
        >>> model = ns.load("organism")
        >>> text = "When Mary and John went to the store, John gave a drink to"
        >>> _, cache = model.run_with_cache(text, sites=ATTRIBUTION_SITES["component"])
        >>> found = direct_logit_attribution(cache, " Mary", " John")
        >>> found.top(1).component[0], bool(abs(found.residual[0]) < 1e-4)
        ('head 2.1', True)
    """
    cache = as_cache(cache, _NAME)
    if by not in ATTRIBUTION_SITES:
        hint = nearest(str(by), ATTRIBUTION_SITES)
        raise AnalysisError(f"by={by!r} is none of {', '.join(ATTRIBUTION_SITES)}{hint}")
    found = owner(cache, model, _NAME)
    need(cache, ATTRIBUTION_SITES[by], f"{_NAME}(by={by!r})")
    if by == "source" and cache.positions is not None:
        raise AnalysisError(
            f"{_NAME}(by='source') needs the values of every position; this cache kept "
            f"positions={cache.positions!r}"
        )
    normalized = at(cache, "ln_final.normalized")
    n_rows, width = normalized.shape[:2]
    if by == "source" and at(cache, "pattern", 0).shape[-1] != width:
        raise AnalysisError(
            f"{_NAME}(by='source'): tokens of a KV cache were attended to, whose values were not "
            "cached; run the whole text at once"
        )
    strings = () if cache.tokens is None else token_strings(cache.tokens, found)
    asked = read_question(found, answer, wrong, n_rows, strings)
    where = place(cache, position, real_columns(cache, n_rows, width), width, _NAME)
    # The sums are float64: what is left over is then the model's own rounding.
    dtype = torch.float32 if found.device.type == "mps" else torch.float64
    direction = asked.direction(found, dtype)
    gained = direction * found.ln_final.w.detach().to(dtype)
    scale = where.pick(at(cache, "ln_final.scale")).to(gained)
    reading = Reading(found, cache, where, (gained - gained.mean(-1, keepdim=True)) / scale)
    last = where.pick(normalized).to(gained)
    bias = (direction * found.ln_final.b.detach().to(dtype)).sum(-1, keepdim=True)
    split = [*merged(list(pieces(reading, by=by)), by), Piece("ln_final_bias", bias)]
    result = _result(found, by, asked, where.position.tolist(), strings, split,
        logit=(last * gained).sum(-1) + bias[:, 0],
        tolerance=_tolerance(cache, found, last * gained))  # fmt: skip
    if check:
        result.check()
    return result


def _result(
    model: HookedGPTNeo,
    by: str,
    asked: Question,
    positions: list[int],
    strings: tuple[tuple[str, ...], ...],
    split: list[Piece],
    *,
    logit: Tensor,
    tolerance: float,
) -> Attribution:
    def index(name: str) -> np.ndarray:
        rows = [getattr(p, name) or (-1,) * p.values.shape[1] for p in split]
        return np.array([i for row in rows for i in row], dtype=np.int64)

    sizes = [piece.values.shape[1] for piece in split]
    return Attribution(
        model=model.cfg.model_name,
        by=by,
        answers=asked.answers,
        wrongs=asked.wrongs,
        positions=tuple(positions),
        strings=strings,
        kind_names=KINDS,
        kind=np.repeat([KINDS.index(p.kind) for p in split], sizes).astype(np.int64),
        layer=np.repeat([p.layer for p in split], sizes).astype(np.int64),
        head=index("head"),
        neuron=index("neuron"),
        source=index("source"),
        values=torch.cat([p.values for p in split], dim=1).double().cpu().numpy(),
        logit=logit.double().cpu().numpy(),
        tolerance=tolerance,
    )


def _tolerance(
    cache: ActivationCache, model: HookedGPTNeo, parts: Float[Tensor, "row d_model"]
) -> float:
    """1e-4, or what the coarsest number format in play must lose over so many additions."""
    kept = (cache["embed"].dtype, cache["ln_final.normalized"].dtype)
    eps = max(torch.finfo(dtype).eps for dtype in (*kept, model.dtype))
    additions = 2 * model.config.n_layers + 2
    return max(1e-4, 2 * eps * math.sqrt(additions) * float(parts.norm(dim=-1).max()))
