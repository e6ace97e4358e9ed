"""Attention flow (Abnar and Zuidema 2020): maximum flows through the layers' attention.

Positions of each layer are nodes, attention with the residual connection the capacities of what
joins them. scipy's maximum flow (Dinic's algorithm) wants whole numbers: capacities are counted in
units of 2^-30 and rounded down, so that a flow is too small by at most the number of edges times
2^-30; the result says how much that is.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.analysis import reading
from neoscope.analysis.rolling.layers import reaches, read_plan, step, within
from neoscope.analysis.rolling.result import AttentionFlow
from neoscope.analysis.words import token_strings
from neoscope.errors import AnalysisError
from neoscope.indices import Positions
from neoscope.progress import Progress
from neoscope.visibility import Visibility

SCALE = 1 << 30


def attention_flow(
    cache: reading.GivenCache,
    *,
    heads: Any = "mean",
    add_residual: Any = True,
    start_layer: Any = 0,
    weighted: str = "attention",
    positions: Positions = None,
    model: reading.GivenModel | None = None,
    progress: reading.GivenProgress = True,
) -> AttentionFlow:
    """Return the most that can flow from each position after the last layer down to each token.

    A flow is at least the rollout of the same options, and at most 1. Each takes a search of its
    own, so that all queries of a long text take long: ``positions`` asks for some. Interrupted, it
    returns what was done; the other queries are NaN.

    Args:
        cache: As for :func:`rollout`.
        heads: As for :func:`rollout`.
        add_residual: As for :func:`rollout`.
        start_layer: As for :func:`rollout`.
        weighted: As for :func:`rollout`.
        positions: Queries of each text; padding does not count, -1 is the last token. Default all.
        model: As for :func:`rollout`.
        progress: A bar after two seconds; or a function of queries done and in all.

    Raises:
        AnalysisError: An option means nothing, or the cache lacks patterns or positions.
        SiteError: There is no such layer or position.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet", sites="pattern")
        >>> ns.analysis.attention_flow(cache, positions=-1).values.shape
        (1, 1, 5)
    """
    told = reading.check_progress(progress, "attention_flow")
    tokens = reading.whole(cache, "attention_flow")
    how = {"heads": heads, "add_residual": add_residual, "start_layer": start_layer}
    plan = read_plan(cache, "attention_flow", **how, weighted=weighted, model=model)
    mask = tokens.mask.cpu()
    columns = _columns(mask, positions)
    batch, n = mask.shape
    layers = range(plan.start_layer, cache.config.n_layers)
    steps = torch.stack([step(cache, layer, plan, mask) for layer in layers]).numpy()
    reach = reaches(cache, plan)[-1]
    reachable = within(mask, reach).numpy()[np.arange(batch)[:, None], columns]
    values = np.full((*columns.shape, n), np.nan)
    done = 0
    try:
        with Progress(told, columns.size, "query") as bar:
            for row, i in np.ndindex(*columns.shape):
                column = int(columns[row, i])
                known = mask[row, column]
                values[row, i] = flows(steps[:, row], column, reachable[row, i]) if known else 0
                done += 1
                bar.update()
    except KeyboardInterrupt:
        if not done:
            raise
        warnings.warn(f"interrupted: {done} of {columns.size} queries are done", stacklevel=2)
    position = np.where(mask.numpy(), mask.numpy().cumsum(1) - 1, -1)
    return AttentionFlow(
        model=plan.name,
        last_layer=layers[-1],
        values=values,
        reachable=reachable,
        queries=position[np.arange(batch)[:, None], columns],
        bandwidth=reach,
        start_layer=plan.start_layer,
        heads=plan.heads,
        residual=plan.residual,
        weighted=plan.weighted,
        scale=SCALE,
        complete=done == columns.size,
        # What every edge of the cut that bounds a flow may have lost.
        error=int((steps > 0).sum((0, 2, 3)).max()) / SCALE,
        mask=mask.numpy(),
        strings=token_strings(tokens, model or cache.model),
    )


def _columns(mask: Bool[Tensor, "batch pos"], positions: Positions) -> Int[np.ndarray, "batch n"]:
    """The columns of the asked-for queries of each text."""
    batch, n = mask.shape
    asked = Visibility(batch, n, mask.device, mask=mask).columns(positions)
    columns = np.tile(np.arange(n), (batch, 1)) if asked is None else asked.numpy()
    if not columns.size:
        raise AnalysisError("positions selects no token")
    return columns


def flows(
    steps: Float[np.ndarray, "layer query key"], query: int, reachable: Bool[np.ndarray, " key"]
) -> Float[np.ndarray, " key"]:
    """Return the maximum flow from a position after the last layer to each of the tokens.

    Args:
        steps: Capacities, first layer first.
        query: Column of the position.
        reachable: Tokens to which any path leads; the flow to others is 0.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    n_layers, n, _ = steps.shape
    found = np.zeros(n)
    capacity = np.floor(steps * SCALE).astype(np.int32)
    layer, above, below = capacity.nonzero()
    # Node (l, i) is position i of the stream after l layers; flow runs from above to below.
    size = (n_layers + 1) * n
    graph = csr_array(
        (capacity[layer, above, below], ((layer + 1) * n + above, layer * n + below)),
        shape=(size, size),
        dtype=np.int32,
    )
    for key in reachable.nonzero()[0]:
        flow = maximum_flow(graph, n_layers * n + query, int(key)).flow_value
        found[key] = flow / SCALE
    return found
