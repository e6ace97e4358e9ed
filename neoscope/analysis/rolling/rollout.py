"""Attention rollout (Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", ACL).

It follows attention alone: what values write, and MLPs, it does not know; in decoders the first
token, an attention sink, takes a large part. ``weighted="norm"`` weighs attention by what it moves.
"""

from __future__ import annotations

from typing import Any

import torch

from neoscope.analysis import reading
from neoscope.analysis.rolling.layers import reaches, read_plan, step, within
from neoscope.analysis.rolling.result import Rollout
from neoscope.analysis.words import token_strings


def rollout(
    cache: reading.GivenCache,
    *,
    heads: Any = "mean",
    add_residual: Any = True,
    start_layer: Any = 0,
    weighted: str = "attention",
    every_layer: bool = True,
    model: reading.GivenModel | None = None,
) -> Rollout:
    """Return the share of each token in each position: ``R_l = A_l R_{l-1}``.

    ``A_l`` is ``(A + I) / 2`` with rows scaled to sum to 1, A the layer's attention with its heads
    put together. What no path of local windows reaches is exactly 0, and marked.

    Args:
        cache: With ``pattern`` in every layer from the first that counts on; with ``v`` (or
            ``resid_pre``) where norms weigh it.
        heads: ``"mean"``, ``"max"`` or ``"min"`` of a layer's heads; or a pair (layer, head),
            several, or heads by layer, of which the mean is taken: other layers are passed by.
        add_residual: True for a half that passes each layer by, False for none, or the share.
        start_layer: The first layer that counts; tokens are then the positions of its input.
        weighted: ``"attention"``; or ``"norm"``: each key by the norm of what attention moves from
            it (Kobayashi et al. 2020).
        every_layer: Keep the result after each layer; False keeps the last one.
        model: The model of a cache that came from a file, for ``weighted="norm"``.

    Raises:
        AnalysisError: An option means nothing, or the cache lacks patterns or positions.
        SiteError: There is no such layer.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet", sites="pattern")
        >>> found = ns.analysis.rollout(cache)
        >>> found.values.shape, bool(abs(found.values.sum(-1) - 1).max() < 1e-12)
        ((4, 1, 5, 5), True)
    """
    tokens = reading.whole(cache, "rollout")
    plan = read_plan(
        cache,
        "rollout",
        heads=heads,
        add_residual=add_residual,
        start_layer=start_layer,
        weighted=weighted,
        model=model,
    )
    mask = tokens.mask.cpu()
    layers = list(range(plan.start_layer, cache.config.n_layers))
    bandwidth = reaches(cache, plan)
    rolled = torch.diag_embed(mask.double())
    values, reachable = [], []
    for layer, reach in zip(layers, bandwidth, strict=True):
        rolled = step(cache, layer, plan, mask) @ rolled
        if every_layer or layer == layers[-1]:
            values.append(rolled)
            reachable.append(within(mask, reach))
    return Rollout(
        model=plan.name,
        layers=tuple(layers if every_layer else layers[-1:]),
        values=torch.stack(values).numpy(),
        reachable=torch.stack(reachable).numpy(),
        bandwidth=tuple(bandwidth if every_layer else bandwidth[-1:]),
        start_layer=plan.start_layer,
        heads=plan.heads,
        residual=plan.residual,
        weighted=plan.weighted,
        mask=mask.numpy(),
        strings=token_strings(tokens, model or cache.model),
    )
