"""One matrix a layer for rollout and flow: heads put together, and what passes the layer by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neoscope.analysis import reading
from neoscope.analysis.head.norms import check_weighting, pattern_of, value_norms, values_of
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, nearest
from neoscope.indices import listed, whole
from neoscope.sites import check_layer

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

FUSIONS = ("mean", "max", "min")


@dataclass(frozen=True)
class Plan:
    """What is put together, and how."""

    what: str
    """The function, for errors."""
    fusion: str
    picked: Mapping[int, tuple[int, ...]] | None
    """Heads by layer; None for all. What a layer that is not named reads passes it by."""
    residual: float
    start_layer: int
    model: HookedGPTNeo | None
    """The model whose values weigh attention; None where attention itself counts."""
    name: str
    """What the model is called, as far as is known."""

    @property
    def heads(self) -> str:
        """Which heads, and how they are put together, in words."""
        if self.picked is None:
            return self.fusion
        named = (f"{layer}.{head}" for layer, heads in self.picked.items() for head in heads)
        return f"mean of {', '.join(named)}"

    @property
    def weighted(self) -> str:
        """``"attention"`` or ``"norm"``: by what keys are weighed."""
        return "attention" if self.model is None else "norm"


def read_plan(
    cache: ActivationCache,
    what: str,
    *,
    heads: Any,
    add_residual: Any,
    start_layer: Any,
    weighted: str,
    model: HookedGPTNeo | None,
) -> Plan:
    """Check the options that rollout and flow share.

    Raises:
        AnalysisError: An option means nothing, or the model is needed and gone.
        SiteError: A layer does not exist.
    """
    config = cache.config
    start = check_layer(start_layer, config.n_layers, "pattern")
    fusion, picked = "mean", None
    if isinstance(heads, str):
        if heads not in FUSIONS:
            raise AnalysisError(
                f"heads={heads!r}{nearest(heads, FUSIONS)}; expected 'mean', 'max', 'min', or "
                "pairs (layer, head)"
            )
        fusion = heads
    else:
        picked = _picked(heads, config.n_layers, config.n_heads)
    residual = 0.5 if add_residual is True else 0.0 if add_residual is False else add_residual
    if not isinstance(residual, int | float) or not 0 <= residual <= 1:
        raise AnalysisError(f"add_residual={add_residual!r}; expected True, False or 0 to 1")
    check_weighting(weighted)
    by_norm = weighted == "norm"
    asked = by_norm or model is not None
    owner = reading.owner(cache, model, what) if asked else None
    name = str(model.cfg.model_name) if model is not None else cache.model_name or "a cache"
    weights = owner if by_norm else None
    return Plan(what, fusion, picked, float(residual), start, weights, name)


def _picked(heads: Any, n_layers: int, n_heads: int) -> dict[int, tuple[int, ...]]:
    pairs: list[Any]
    if isinstance(heads, Mapping):
        pairs = [(layer, head) for layer, some in heads.items() for head in listed(some)]
    else:
        pairs = list(heads) if isinstance(heads, Sequence) else []
        if len(pairs) == 2 and None not in map(whole, pairs):
            pairs = [pairs]  # one pair by itself
    found: dict[int, list[int]] = {}
    for pair in pairs:
        parts = [whole(part) for part in pair] if isinstance(pair, Sequence) else []
        if len(parts) != 2 or None in parts:
            raise AnalysisError(f"heads: {pair!r} is no pair (layer, head)")
        layer, head = check_layer(parts[0], n_layers, "pattern"), parts[1]
        assert head is not None
        if not -n_heads <= head < n_heads:
            raise AnalysisError(
                f"head {head} of layer {layer} does not exist; a layer has heads 0 to {n_heads - 1}"
            )
        found.setdefault(layer, []).append(head % n_heads)
    if not found:
        raise AnalysisError(
            f"heads={heads!r} names no head; give 'mean', 'max', 'min', or pairs (layer, head)"
        )
    return {layer: tuple(dict.fromkeys(found[layer])) for layer in sorted(found)}


def step(
    cache: ActivationCache, layer: int, plan: Plan, mask: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch query key"]:
    """Return how much of each position's stream after a layer comes from each before it.

    ``(1 - residual) A + residual I`` with rows scaled to sum to 1 (Abnar and Zuidema 2020); A is
    the fused attention. A query that its fused heads give nothing keeps what it has. Rows and
    columns of padding are 0.

    Args:
        cache: With patterns.
        layer: Which.
        plan: What is put together.
        mask: True where a token is real.
    """
    n = mask.shape[1]
    own = torch.eye(n, dtype=torch.float64).expand(len(mask), -1, -1)
    fused = own
    if plan.picked is None or layer in plan.picked:
        fused = _fused(cache, layer, plan)
    real = mask[:, :, None] & mask[:, None]
    fused = torch.where(real, fused, 0.0)
    empty = fused.sum(-1, keepdim=True) == 0
    fused = torch.where(empty, own, fused)
    mixed = (1 - plan.residual) * fused + plan.residual * own
    mixed = mixed / mixed.sum(-1, keepdim=True)
    return torch.where(real, mixed, 0.0)


def _fused(cache: ActivationCache, layer: int, plan: Plan) -> Tensor:
    pattern = pattern_of(cache, layer, plan.what).cpu().double()
    if plan.model is not None:
        v = values_of(cache, layer, plan.model, plan.what).cpu().float()
        W_O = plan.model.blocks[layer].attn.W_O.detach().cpu().float()
        # Norms of heads are put together before rows are scaled: who writes little counts little.
        pattern = pattern.abs() * value_norms(v, W_O).double()[:, :, None]
    if plan.picked is not None:
        fused = pattern[:, list(plan.picked[layer])].mean(1)
    else:
        fuse: dict[str, Callable[..., Tensor]] = {
            "mean": torch.mean, "max": torch.amax, "min": torch.amin,
        }  # fmt: skip
        fused = fuse[plan.fusion](pattern, dim=1)
    if plan.model is None:
        return fused
    total = fused.sum(-1, keepdim=True)
    return torch.where(total > 0, fused / total, 0.0)


def reaches(cache: ActivationCache, plan: Plan) -> list[int | None]:
    """Return how far back the stream after each layer can reach, from the start layer on."""
    config, total, found = cache.config, 0, []
    unbounded = False
    for layer in range(plan.start_layer, config.n_layers):
        window = config.window(layer)
        if plan.picked is None or layer in plan.picked:
            unbounded = unbounded or window is None
            total += 0 if window is None else window - 1
        found.append(None if unbounded else total)
    return found


def within(mask: Bool[Tensor, "batch pos"], reach: int | None) -> Bool[Tensor, "batch query key"]:
    """Return which real keys each real query can be made of.

    Args:
        mask: True where a token is real.
        reach: How many tokens back a path can lead; None for any.
    """
    position = mask.long().cumsum(1) - 1
    distance = position[:, :, None] - position[:, None]
    seen = mask[:, :, None] & mask[:, None] & (distance >= 0)
    return seen if reach is None else seen & (distance <= reach)
