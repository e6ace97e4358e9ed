"""Integrated gradients: the gradient averaged over a straight path from base to donor.

Reference: Sundararajan et al. 2017 (1703.01365). Two paths: the *inputs* (all token embeddings
together, as in Hanna et al. 2024, 2403.17806), or the *site* itself, one layer of it at a time
(Marks et al. 2024, 2403.19647), in which case the scores of a layer add up, with enough steps, to
the exact effect of putting in that whole layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.edits import replace
from neoscope.errors import PatchingError, nearest
from neoscope.indices import whole
from neoscope.patching.gradient.gradients import Trace, run, trace
from neoscope.patching.gradient.problem import Problem
from neoscope.patching.gradient.products import Scored, by_layer, change
from neoscope.patching.gradient.sums import Sums
from neoscope.patching.metrics.metric import full

RULES = ("left", "midpoint", "trapezoid")
PATHS = ("inputs", "site")


def nodes(steps: int, rule: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return where on the path from 0 (base) to 1 (donor) gradients are taken, and their weights.

    Args:
        steps: Number of equal intervals, at least 1.
        rule: ``"left"`` takes the beginning of each (the base, but not the donor: EAP-IG's
            choice), ``"midpoint"`` its middle, ``"trapezoid"`` both ends: one gradient more.

    Raises:
        PatchingError: Steps is no number of at least 1, or there is no such rule.

    Example:
        >>> nodes(2, "trapezoid")
        ((0.0, 0.5, 1.0), (0.25, 0.5, 0.25))
    """
    m = whole(steps)
    if m is None or m < 1:
        raise PatchingError(f"steps={steps!r}; expected a whole number, at least 1")
    if rule not in RULES:
        raise PatchingError(f"rule={rule!r} is none of {RULES}{nearest(str(rule), RULES)}")
    if rule == "left":
        return tuple(k / m for k in range(m)), (1 / m,) * m
    if rule == "midpoint":
        return tuple((k + 0.5) / m for k in range(m)), (1 / m,) * m
    ends = (0.5 / m,)
    return tuple(k / m for k in range(m + 1)), (*ends, *(1 / m,) * (m - 1), *ends)


def check_path(steps: int, rule: str, path: str) -> None:
    """Refuse options that mean nothing.

    Raises:
        PatchingError: There is no such rule or path, or steps is no number of at least 1.
    """
    nodes(steps, rule)
    if path not in PATHS:
        raise PatchingError(f"path={path!r} is none of {PATHS}{nearest(str(path), PATHS)}")


def integrated(
    problem: Problem,
    sums: Sums,
    pairs: Int[Tensor, "chunk"],
    donor: Trace,
    *,
    steps: int,
    rule: str,
    path: str,
    batch_tokens: int | None,
    ran: Callable[[int], None] = lambda n: None,
) -> Scored:
    """Score one chunk of pairs by integrated gradients.

    Args:
        problem: Model, prompts and metric.
        sums: The cells.
        pairs: The chunk.
        donor: The donor's run, with the site and ``embed``.
        steps: Number of intervals; they run side by side as far as the budget goes.
        rule: See :func:`nodes`.
        path: ``"inputs"`` or ``"site"``.
        batch_tokens: Tokens of one pass.
        ran: Told of each pass how many prompts it ran.

    Raises:
        PatchingError: There is no such rule or path.
    """
    check_path(steps, rule, path)
    points = nodes(steps, rule)
    layers = list(sums.layers) or None
    base = run(problem, pairs, [sums.traced, "embed", "resid_pre"], layers=layers)
    gradient = (_along_inputs if path == "inputs" else _along_site)(
        problem, sums, pairs, base, donor, points, batch_tokens, ran
    )
    scores = by_layer(
        sums, pairs, lambda layer: change(sums, pairs, base, donor, layer) * gradient(layer)
    )
    return Scored(scores, base.values, base.components)


Points = tuple[tuple[float, ...], tuple[float, ...]]
Gradient = Callable[[int | None], Tensor]


def _batches(points: Points, copies: int) -> Iterator[tuple[Tensor, Tensor]]:
    alphas, weights = (torch.tensor(x) for x in points)
    yield from zip(alphas.split(copies), weights.split(copies), strict=True)


def _mixed(base: Tensor, donor: Tensor, alphas: Tensor) -> Tensor:
    """Return points of the path, copy by copy."""
    points = [torch.lerp(base, donor, float(alpha)) for alpha in alphas]
    # Where nothing changes nothing is computed: masked scores are -inf in both runs.
    return torch.cat([torch.where(base == donor, base, point) for point in points])


def _summed(gradient: Tensor, weights: Tensor) -> Tensor:
    by_copy = full(gradient).unflatten(0, (len(weights), -1))
    total: Tensor = torch.tensordot(weights.to(by_copy), by_copy, dims=1)
    return total


def _along_inputs(
    problem: Problem,
    sums: Sums,
    pairs: Tensor,
    base: Trace,
    donor: Trace,
    points: Points,
    batch_tokens: int | None,
    ran: Callable[[int], None],
) -> Gradient:
    total: dict[str, Tensor] = {}
    for alphas, weights in _batches(points, problem.copies(pairs, batch_tokens)):
        traced = trace(
            problem,
            pairs,
            sums.traced,
            layers=list(sums.layers) or None,
            copies=len(alphas),
            edits=[replace("embed", None, _mixed(base.at("embed"), donor.at("embed"), alphas))],
        )
        for name, gradient in traced.gradients().items():
            part = _summed(gradient, weights)
            total[name] = total[name] + part if name in total else part
        ran(len(alphas) * len(pairs))
    return lambda layer: total[base.name(sums.traced, layer)]


def _along_site(
    problem: Problem,
    sums: Sums,
    pairs: Tensor,
    base: Trace,
    donor: Trace,
    points: Points,
    batch_tokens: int | None,
    ran: Callable[[int], None],
) -> Gradient:
    site = sums.traced

    def gradient(layer: int | None) -> Tensor:
        total = torch.zeros(())
        for alphas, weights in _batches(points, problem.copies(pairs, batch_tokens)):
            mixed = _mixed(base.at(site, layer), donor.at(site, layer), alphas)
            stream = None
            if layer is not None:
                stream = base.at("resid_pre", layer).repeat(len(alphas), 1, 1)
            traced = trace(
                problem,
                pairs,
                site,
                layers=layer,
                copies=len(alphas),
                edits=[replace(site, layer, mixed)],
                stream=stream,
                start_at_layer=layer,
            )
            part = _summed(traced.gradients()[base.name(site, layer)], weights)
            total = total.to(part.device) + part
            ran(len(alphas) * len(pairs))
        return total

    return gradient
