"""A Gaussian posterior over the weights of a linear probe, and a bound on what it costs in nats.

The logits of a row are Gaussian then, with mean x'mu and variance (x^2)'sigma^2, so that weights
need no sampling (local reparameterisation). Nor do logits: E[log sum exp] is replaced by the tilted
bound of Knowles & Minka 2011, which is an upper bound and exact to second order. What is minimised
is deterministic, and what comes out is never below the true codelength's bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

_START_SCALE = 1.0
"""Prior standard deviation of a row's logits from which the search starts."""
_HISTORY = 20
_TOLERANCE = 1e-6
"""Nats a row, but 1e-3 in all at least; also steps in units of the posterior's width."""
OCTAVES = 20
"""Of prior scales, from 2^-10 on, in units of what gives a row's logits a variance of 1."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Independent Gaussians: one a weight, one a bias."""

    mean: Float[Tensor, "features outputs"]
    log_scale: Float[Tensor, "features outputs"]
    """Logs of standard deviations."""
    bias: Float[Tensor, " outputs"]
    bias_log_scale: Float[Tensor, " outputs"]
    converged: bool = True
    iterations: int = 0


def expected_loss(
    mean: Float[Tensor, "rows outputs"],
    variance: Float[Tensor, "rows outputs"],
    targets: Shaped[Tensor, "rows *outputs"],
) -> Float[Tensor, ""]:
    """Return an upper bound of the expected loss of all rows, in nats.

    Args:
        mean: [rows, outputs] of the logits.
        variance: [rows, outputs] of the logits.
        targets: [rows] class codes: softmax over outputs; or [rows, outputs] of 0 and 1: a
            sigmoid each.
    """
    if targets.ndim == 1:
        tilt = torch.softmax(mean, 1)
        total = torch.logsumexp(mean + (0.5 - tilt) * variance, 1)
        total = total + (tilt.square() * variance).sum(1) / 2
        losses = total - mean.gather(1, targets[:, None])[:, 0]
    else:
        tilt = torch.sigmoid(mean)
        total = F.softplus(mean + (0.5 - tilt) * variance) + tilt.square() * variance / 2
        losses = (total - targets * mean).sum(1)
    return losses.double().sum()


def learned_divergence(
    mean: Float[Tensor, "*shape"], log_scale: Float[Tensor, "*shape"], unit: float
) -> Float[Tensor, ""]:
    """Return KL(posterior || prior) in nats, of the prior scale that makes it smallest.

    Args:
        mean: Of the posterior.
        log_scale: Logs of its standard deviations.
        unit: See `prior_unit`; without a smallest prior, where features say nothing, ever narrower
            posteriors would be as good as each other.
    """
    mean, log_scale = mean.double(), log_scale.double()
    second = (mean.square() + (2 * log_scale).exp()).mean()
    prior = second.clamp(unit**2 * 2.0**-OCTAVES, unit**2 * 2.0**OCTAVES)
    return mean.numel() / 2 * (second / prior - 1 + prior.log()) - log_scale.sum()


def divergence(
    mean: Float[Tensor, "*shape"], log_scale: Float[Tensor, "*shape"], prior: float
) -> Float[Tensor, ""]:
    """Return KL(posterior || prior) in nats.

    Args:
        mean: Of the posterior.
        log_scale: Logs of its standard deviations.
        prior: Standard deviation of the prior, whose mean is 0.
    """
    mean, log_scale = mean.double(), log_scale.double()
    second = (mean.square() + (2 * log_scale).exp()) / prior**2
    return ((second - 1) / 2 + math.log(prior) - log_scale).sum()


def total_loss(
    posterior: Posterior,
    X: Float[Tensor, "rows features"],
    targets: Shaped[Tensor, "rows *outputs"],
    rows: int = 4096,
) -> float:
    """Return the bound of the expected loss of all rows in nats, computed in float64.

    Args:
        posterior: Over weights and biases.
        X: [rows, features].
        targets: See `expected_loss`.
        rows: How many at a time.
    """
    mean, bias = posterior.mean.double(), posterior.bias.double()
    spread = (2 * posterior.log_scale.double()).exp()
    bias_spread = (2 * posterior.bias_log_scale.double()).exp()
    total = 0.0
    for start in range(0, len(X), rows):
        x = X[start : start + rows].double()
        m, v = x @ mean + bias, x.square() @ spread + bias_spread
        total += float(expected_loss(m, v, targets[start : start + rows]))
    return total


def prior_unit(X: Float[Tensor, "rows features"]) -> float:
    """Return the prior scale of weights that gives the logits of a mean row a variance of 1.

    Args:
        X: [rows, features].
    """
    return float(max(float(X.square().sum(dtype=torch.float64)) / len(X), 1e-12) ** -0.5)


def fit_posterior(
    X: Float[Tensor, "rows features"],
    targets: Shaped[Tensor, "rows *outputs"],
    outputs: int,
    max_iter: int,
) -> Posterior:
    """Minimise expected loss plus divergence by L-BFGS, from zero, without randomness.

    Args:
        X: [rows, features]; best with uncorrelated columns, along which the posterior is then
            nearly independent.
        targets: See `expected_loss`.
        outputs: How many.
        max_iter: Of L-BFGS; a posterior that was stopped early is still a valid, longer code.
    """
    rows, features = X.shape
    square = X.square()
    curvature = 0.25 if targets.ndim > 1 else (outputs - 1) / outputs**2
    unit = prior_unit(X)
    prior = _START_SCALE * unit
    # Steps in units of the posterior's width: the Hessian is near the identity then.
    width = (prior**-2 + curvature * square.sum(0)).rsqrt()[:, None].to(X.dtype)
    bias_width = 1 / (1 + curvature * rows) ** 0.5
    shapes = [(features, outputs), (features, outputs), (outputs,), (outputs,)]
    free = [torch.zeros(s, dtype=X.dtype, device=X.device, requires_grad=True) for s in shapes]

    def unpacked() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            free[0] * width,
            free[1] + width.log(),
            free[2] * bias_width,
            free[3] + math.log(bias_width),
        )

    optimiser = torch.optim.LBFGS(
        free,
        max_iter=max_iter,
        max_eval=2 * max_iter,
        history_size=_HISTORY,
        tolerance_grad=1e-4,
        tolerance_change=max(1e-3, _TOLERANCE * rows),
        line_search_fn="strong_wolfe",
    )

    # A line search may end where numbers overflow.
    best: list[Any] = [math.inf, [part.detach().clone() for part in free]]

    def closure() -> Tensor:
        optimiser.zero_grad()
        mean, log_scale, bias, bias_log_scale = unpacked()
        m = X @ mean + bias
        v = square @ (2 * log_scale).exp() + (2 * bias_log_scale).exp()
        cost = learned_divergence(bias, bias_log_scale, 1.0)
        if features:
            cost = cost + learned_divergence(mean, log_scale, unit)
        cost = cost + expected_loss(m, v, targets)
        cost.backward()
        if float(cost.detach()) < best[0]:
            best[:] = [float(cost.detach()), [part.detach().clone() for part in free]]
        return cost

    optimiser.step(closure)
    with torch.no_grad():
        for part, kept in zip(free, best[1], strict=True):
            part.copy_(kept)
        found = unpacked()
    done = int(optimiser.state[free[0]].get("n_iter", 0))
    return Posterior(*found, converged=done < max_iter, iterations=done)
