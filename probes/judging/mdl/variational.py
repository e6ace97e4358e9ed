"""The variational code: bits of a probe's weights under a prior plus bits of labels under them.

Voita & Titov 2020 (arXiv:2003.12298): the sender fits a posterior over weights; telling it costs
KL(posterior || prior) (bits back), and the labels cost the expected -log2 p. Theirs is Bayesian
compression (Louizos et al. 2017): an MLP whose neurons are pruned under a sparsity prior, trained
by sampling. Ours is a linear probe with one Gaussian prior for its weights and one for its biases,
whose scales are sent as numbers of a grid; it is minimised without sampling, so that there is no
seed, and the result is an upper bound of -log2 of the labels' evidence plus the bits of the scales.

Features are known to the receiver. They are standardised and turned into their principal axes for
free; a rotation leaves the prior as it is and makes independent weights nearly the true posterior.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ProbeError
from probes.judging.fitting import read_features
from probes.judging.mdl.codelength import Codelength, read_codable, uniform_bits
from probes.judging.reading import Array

if TYPE_CHECKING:
    from probes.judging.mdl.posterior import Posterior

_EXACT = 2 * 10**6
"""Up to so many numbers of features, the posterior is fitted in float64."""
_CHUNK = 4096


def variational_codelength(
    X: Any,
    y: Any,
    *,
    standardize: bool = True,
    max_iter: int = 100,
    device: str = "cpu",
    kind: str | None = None,
) -> Codelength:
    """Return how many bits the labels cost together with a linear probe that predicts them.

    Args:
        X: [rows, features], also memory-mapped; centred, scaled and turned copies are made in
            memory.
        y: [rows] classes, or [rows, labels] of 0 and 1.
        standardize: Whether features are centred and divided by their standard deviation.
        max_iter: Of L-BFGS; ``notes["converged"]`` says whether it was enough. Stopping early
            makes the code longer, never wrong.
        device: Torch device on which the posterior is fitted.
        kind: Kind of label; None to go by the labels.

    Returns:
        Codelength without blocks; ``model_bits`` are the divergence and the two scales, and
        ``notes`` holds ``prior_scale`` and ``bias_scale``, standard deviations for the features as
        given to the posterior, and ``scale_bits``.

    Raises:
        ProbeError: Labels are numbers or all the same, a feature is not a finite number, or shapes
            do not fit.
    """
    import torch

    from probes.judging.mdl.posterior import fit_posterior

    y, kind, classes = read_codable(y, kind)
    X = read_features(X, len(y))
    features = torch.as_tensor(_prepared(X, standardize), device=device)
    if kind == "multilabel":
        targets, outputs = torch.as_tensor(y, dtype=features.dtype), y.shape[1]
    elif kind == "binary":
        targets, outputs = torch.as_tensor(y == classes[1], dtype=features.dtype)[:, None], 1
    else:
        targets, outputs = torch.as_tensor(np.searchsorted(classes, y)), len(classes)
    targets = targets.to(device)
    # The probe of biases alone is a code too, and the better one where features say nothing.
    found = [
        _told(fit_posterior(x, targets, outputs, max_iter), x, targets, features.shape[1])
        for x in (features[:, :0], features)
    ]
    loss, cost, notes = min(found, key=lambda one: one[0] + one[1])
    whole = uniform_bits(len(y), len(classes), kind)
    notes["converged"] = found[-1][2]["converged"]
    return Codelength(
        loss + cost, whole, loss, cost, len(y), len(classes), "variational", notes=notes
    )


def _told(
    posterior: Posterior, X: Any, targets: Any, n_features: int
) -> tuple[float, float, dict[str, Any]]:
    """Return bits of the labels, bits of weights and scales, and what to note."""
    from probes.judging.mdl.posterior import divergence, prior_unit, total_loss

    outputs = len(posterior.bias)
    used = X.shape[1] > 0
    unit = prior_unit(X) if used else 1.0
    bias_scale, bias_bits = _on_grid(posterior.bias, posterior.bias_log_scale, 1.0, outputs)
    scale, scale_bits = _on_grid(
        posterior.mean, posterior.log_scale, unit, max(1, n_features * outputs)
    )
    nats = float(divergence(posterior.bias, posterior.bias_log_scale, bias_scale))
    if used:
        nats += float(divergence(posterior.mean, posterior.log_scale, scale))
    notes = {
        "prior_scale": scale if used else 0.0,
        "bias_scale": bias_scale,
        "scale_bits": scale_bits + bias_bits,
        "converged": posterior.converged,
        "iterations": posterior.iterations,
    }
    loss = total_loss(posterior, X, targets) / math.log(2)
    return loss, nats / math.log(2) + scale_bits + bias_bits, notes


def _on_grid(mean: Any, log_scale: Any, unit: float, count: int) -> tuple[float, float]:
    """Return the best prior scale of a grid, and the bits that say which one it is.

    The more weights there are, the finer the grid: rounding then costs less than a bit.
    """
    from probes.judging.mdl.posterior import OCTAVES

    size = 2 ** math.ceil(math.log2(16 * math.sqrt(count)))
    if not mean.numel():
        return 0.0, math.log2(size + 1)
    second = float((mean.double().square() + (2 * log_scale.double()).exp()).mean())
    wanted = math.log2(math.sqrt(second) / unit) / OCTAVES + 0.5
    place = min(size - 1, max(0, round(wanted * (size - 1))))
    # One more than the grid: the scale 0, of a probe without weights.
    return unit * 2 ** (OCTAVES * (place / (size - 1) - 0.5)), math.log2(size + 1)


def _prepared(X: Array, standardize: bool) -> Array:
    """Return centred and scaled features along their principal axes."""
    out: Array = np.array(X, np.float64 if X.size <= _EXACT else np.float32)
    fine = np.isfinite(out).all(1)
    if not fine.all():
        raise ProbeError(f"features of row {int(np.argmin(fine))} are not all finite numbers")
    if standardize:
        mean = out.mean(0, dtype=np.float64)
        out -= mean.astype(out.dtype)
        spread = np.sqrt(np.mean(out**2, 0, dtype=np.float64))
        varying = spread > 1e-6 * (np.abs(mean) + np.finfo(np.float64).tiny)
        out = out[:, varying] / spread[varying].astype(out.dtype)
    if not out.shape[1]:
        return out
    gram = np.zeros((out.shape[1],) * 2)
    for start in range(0, len(out), _CHUNK):
        part = out[start : start + _CHUNK].astype(np.float64)
        gram += part.T @ part
    values, axes = np.linalg.eigh(gram)
    kept = values > max(values[-1], 0.0) * 1e-10
    return np.ascontiguousarray(out @ axes[:, kept].astype(out.dtype))
