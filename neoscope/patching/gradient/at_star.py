"""AtP*: attribution patching mended where attention saturates and where effects cancel.

Reference: Kramár et al. 2024 (2403.00745). *QK fix*: for queries and keys the softmax is computed
anew with the donor's, and only what follows is linearised. *GradDrop*: the gradient is taken once
for each layer with nothing flowing back through that layer's attention and MLP, and a cell's score
is the mean of the absolute values; a cell whose direct and indirect effects cancel then shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.gradient.gradients import Trace, trace
from neoscope.patching.gradient.problem import Problem
from neoscope.patching.gradient.products import Scored, by_layer, change, only_visible
from neoscope.patching.gradient.sums import Sums
from neoscope.patching.metrics.metric import full

STREAM = frozenset({"embed", "resid_pre", "resid_mid", "resid_post"})
FIXED = ("q", "k")
Product = Callable[[int | None], Tensor]


def traced_sites(site: str, *, qk_fix: bool) -> list[str]:
    """Return the sites that a run must keep for a score at ``site``."""
    return ["q", "k", "attn_scores", "pattern"] if qk_fix else [site]


def check_options(sums: Sums, n_layers: int, *, qk_fix: bool, grad_drop: bool) -> None:
    """Refuse what AtP* cannot do.

    Raises:
        PatchingError: The QK fix at a site that is neither q nor k, by unit of it, or by spans of
            keys, whose softmax is not the sum of theirs; GradDrop in a model of one layer, in which
            every gradient of a component would be dropped.
    """
    if sums.site == "result" and sums.units is not None:
        raise PatchingError("units of a head's result are not traced; use site='z'")
    if qk_fix and sums.site not in FIXED:
        raise PatchingError(f"qk_fix=True is for site='q' or 'k'; this is {sums.site!r}")
    if qk_fix and sums.units is not None:
        raise PatchingError("qk_fix=True computes whole queries and keys anew: leave units out")
    if qk_fix and sums.site == "k" and sums.places is not None and sums.places.shape[2] > 1:
        raise PatchingError(
            "qk_fix=True takes keys one position at a time, or all with positions='all'; not spans"
        )
    if grad_drop and n_layers == 1 and sums.site not in STREAM:
        raise PatchingError("grad_drop=True needs a model of two layers or more")


def at_star(
    problem: Problem,
    sums: Sums,
    pairs: Int[Tensor, "chunk"],
    donor: Trace,
    *,
    qk_fix: bool = False,
    grad_drop: bool = False,
) -> Scored:
    """Score one chunk of pairs; with neither option it is plain attribution patching.

    Args:
        problem: Model, prompts and metric.
        sums: The cells.
        pairs: The chunk.
        donor: The donor's run, with :func:`traced_sites`.
        qk_fix: Compute the softmax anew; see the module.
        grad_drop: Average absolute scores over dropped layers. A component's own layer tells
            nothing and is left out of the mean (Kramár et al. divide by the layers less one).

    Returns:
        Scores; with GradDrop magnitudes, never negative.
    """
    n_layers = problem.model.config.n_layers
    sites = traced_sites(sums.traced, qk_fix=qk_fix)
    layers = None if grad_drop else list(sums.layers) or None
    if grad_drop:
        sites = [*sites, "resid_pre", "resid_post"]
    base = trace(problem, pairs, sites, layers=layers)
    follow = "pattern" if qk_fix else sums.traced
    names = [base.name(follow, layer) for layer in sums.layers or (None,)]
    moved = _fixed(sums, pairs, base, donor) if qk_fix else _plain(sums, pairs, base, donor)

    def scored(gradients: Mapping[str, Tensor]) -> Tensor:
        def product(layer: int | None) -> Tensor:
            return moved(layer, full(gradients[base.name(follow, layer)]))

        return by_layer(sums, pairs, product)

    known = base.values.detach(), base.components
    if not grad_drop:
        return Scored(scored(base.gradients(names)), *known)
    drops = _dropped(base, names, follow, n_layers)
    total = torch.stack([scored(gradients).abs() for gradients in drops]).sum(0)
    counted = n_layers if sums.site in STREAM else n_layers - 1
    return Scored(total / counted, *known)


def _dropped(base: Trace, names: list[str], site: str, n_layers: int) -> list[dict[str, Tensor]]:
    """Return the gradients at ``names`` with each layer in turn dropped.

    Above a dropped layer nothing changes; below it, the gradient of its output goes on as that of
    its input; so each drop costs one pass back through the layers below.
    """
    streams = [base.name("resid_post", layer) for layer in range(n_layers)]
    plain = base.gradients(list(dict.fromkeys([*names, *streams])), retain=True)
    every = range(0 if site == "embed" else n_layers)
    layer_of = {base.name(site, layer): layer for layer in every}
    found = []
    for dropped in range(n_layers):
        out = plain[streams[dropped]]
        gradients = {}
        below = []
        for name in names:
            layer = layer_of.get(name, -1)
            if layer > dropped or (layer == dropped and site == "resid_post"):
                gradients[name] = plain[name]
            elif layer == dropped:
                stays = site in ("resid_pre", "resid_mid")
                gradients[name] = out if stays else torch.zeros_like(plain[name])
            else:
                below.append(name)
        if below:
            entry = base.live[base.name("resid_pre", dropped)]
            gradients |= base.gradients(below, of=entry, weights=out, retain=True)
        found.append(gradients)
    return found


Moved = Callable[[int | None, Tensor], Tensor]


def _plain(sums: Sums, pairs: Tensor, base: Trace, donor: Trace) -> Moved:
    return lambda layer, gradient: change(sums, pairs, base, donor, layer) * gradient


def _fixed(sums: Sums, pairs: Tensor, base: Trace, donor: Trace) -> Moved:
    """Return the change of the pattern times its gradient, by the position that is patched."""

    def moved(layer: int | None, gradient: Tensor) -> Tensor:
        scores, pattern = base.at("attn_scores", layer), base.at("pattern", layer).float()
        run_of_q, run_of_k = (donor, base) if sums.site == "q" else (base, donor)
        q, k = run_of_q.at("q", layer).float(), run_of_k.at("k", layer).float()
        new = torch.einsum("rihd,rjhd->rhij", q, k).masked_fill(scores.isneginf(), -torch.inf)
        if sums.site == "k" and sums.places is not None:
            by_token = one_key_at_a_time(scores, new, pattern, gradient).sum(-2)
        else:  # one query changes its own row alone
            by_token = (gradient * (new.softmax(-1) - pattern)).sum(-1)
        return only_visible(sums, pairs, by_token.transpose(1, 2)[..., None], layer)

    return moved


def one_key_at_a_time(
    scores: Float[Tensor, "rows head query key"],
    new: Float[Tensor, "rows head query key"],
    pattern: Float[Tensor, "rows head query key"],
    gradient: Float[Tensor, "rows head query key"],
) -> Float[Tensor, "rows head query key"]:
    """Return what one column of new scores does to each query's row, linearised after the softmax.

    For each key the softmax is that of the row with this one score replaced. What the others sum
    to without it is computed exactly (from both sides, in logarithms), since the difference of two
    nearly equal sums would lose it where attention is sharp; all keys together cost as much as one
    row, not one row each (Kramár et al., appendix).

    Args:
        scores: Of the base run, masked with -inf.
        new: With the key of each column replaced.
        pattern: Of the base run.
        gradient: Of the metric with respect to the pattern.

    Returns:
        Sum over a row of gradient times change; zero where the key is not seen.
    """
    others = _without_each(scores)
    alone = others.isneginf()
    positive = _without_each(scores + gradient.clamp(min=0).log())
    negative = _without_each(scores + (-gradient).clamp(min=0).log())
    rest = (positive - others).exp() - (negative - others).exp()
    rest = torch.where(alone, 0.0, rest)
    odds = new - others
    after = odds.sigmoid() * gradient + (-odds).sigmoid() * rest
    before = (gradient * pattern).sum(-1, keepdim=True)
    return torch.where(scores.isneginf(), 0.0, after - before)


def _without_each(x: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch key"]:
    """Return the logsumexp of a row without each of its entries."""
    wall = torch.full_like(x[..., :1], -torch.inf)
    left = torch.cat([wall, x[..., :-1].logcumsumexp(-1)], dim=-1)
    right = torch.cat([x[..., 1:].flip(-1).logcumsumexp(-1).flip(-1), wall], dim=-1)
    return torch.logaddexp(left, right)
