"""Ridge regressions solved together: Gram matrices shared by folds, spectra by strengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.solve.design import BLOCK_ROWS


@dataclass(frozen=True)
class RidgeSolution:
    """Fitted regressions, in the features' own units."""

    coef: Float[Tensor, "problems outputs features"]
    intercept: Float[Tensor, "problems outputs"]


class RidgeFolds:
    """Folds of one design matrix, ready to be fitted at any strengths.

    Minimises ``sum_i weight_i (y_i - x_i w - b)^2 + penalty ||w||^2``. Rows that stand in the same
    folds share one Gram matrix; a fold's is the sum of those it has. Everything is summed and
    solved in float64, whatever type the features have.
    """

    def __init__(
        self,
        X: Float[Tensor, "rows features"],
        targets: Float[Tensor, "rows outputs"],
        *,
        weights: Float[Tensor, "rows folds"],
        standardize: bool = True,
        fit_intercept: bool = True,
        before: Moments | None = None,
    ) -> None:
        """Sum the rows.

        Args:
            X: Features.
            targets: What to predict; all outputs share one solve.
            weights: Of every row in every fold; 0 leaves it out.
            standardize: Divide features by the fold's own standard deviation, which changes what
                the penalty means, as a StandardScaler before the regression would.
            fit_intercept: Add an intercept, which is not penalised.
            before: Sums of rows that came before, in the one fold that there is.
        """
        if before is None:
            self.moments = _moments(X, targets.double(), weights)
        else:
            rows = torch.arange(len(X), device=X.device)
            more = _sums(X, targets.double(), weights[:, 0].double(), rows, before.centre)
            self.moments = [before.plus(more)]
        self.standardize, self.fit_intercept = standardize, fit_intercept

    def solve(
        self, fold: Int[Tensor, " problems"], penalty: Float[Tensor, " problems"]
    ) -> RidgeSolution:
        """Fit one regression for each pair of fold and penalty.

        Args:
            fold: Which fold each problem is fitted on.
            penalty: Of each problem.
        """
        coef, intercept, order = [], [], []
        for one in fold.unique().tolist():
            here = (fold == one).nonzero()[:, 0]
            found = _solve_fold(
                self.moments[one], penalty[here], self.standardize, self.fit_intercept
            )
            coef.append(found[0])
            intercept.append(found[1])
            order.append(here)
        back = torch.cat(order).argsort()
        return RidgeSolution(torch.cat(coef)[back], torch.cat(intercept)[back])


@dataclass
class Moments:
    """Weighted sums over rows, about one shared centre."""

    mass: Tensor
    first: Tensor
    gram: Tensor
    cross: Tensor
    target: Tensor
    centre: Tensor

    def plus(self, other: Moments) -> Moments:
        """Return the sums of both, which are about the same centre."""
        names = ("mass", "first", "gram", "cross", "target")
        both = [getattr(self, name) + getattr(other, name) for name in names]
        return Moments(both[0], both[1], both[2], both[3], both[4], self.centre)


def _moments(X: Tensor, targets: Tensor, weights: Tensor) -> list[Moments]:
    """Return each fold's sums; rows with the same folds are summed once."""
    device = X.device
    strength = weights.amax(1).double()
    pattern = weights.double() / strength.clamp_min(1e-300)[:, None]
    kinds, kind = torch.unique(pattern, dim=0, return_inverse=True)
    if len(kinds) > 4 * weights.shape[1] + 4:
        # Weights that differ from fold to fold in no simple way: every fold on its own.
        return [
            _moments(X, targets, weights[:, one : one + 1])[0] for one in range(weights.shape[1])
        ]
    total = strength.sum()
    centre = torch.zeros(X.shape[1], dtype=torch.float64, device=device)
    for start in range(0, len(X), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        centre += strength[part] @ X[part].double()
    centre /= total
    parts = []
    for number in range(len(kinds)):
        rows = ((kind == number) & (strength > 0)).nonzero()[:, 0]
        parts.append(_sums(X, targets, strength, rows, centre))
    found = []
    for one in range(weights.shape[1]):
        sums = [
            sum(
                (kinds[i, one] * getattr(p, name) for i, p in enumerate(parts)),
                centre.new_zeros(()),
            )
            for name in ("mass", "first", "gram", "cross", "target")
        ]
        found.append(Moments(sums[0], sums[1], sums[2], sums[3], sums[4], centre))
    return found


def _sums(X: Tensor, targets: Tensor, strength: Tensor, rows: Tensor, centre: Tensor) -> Moments:
    features, outputs = X.shape[1], targets.shape[1]
    new = centre.new_zeros
    sums = Moments(
        new(()),
        new(features),
        new(features, features),
        new(features, outputs),
        new(outputs),
        centre,
    )
    for start in range(0, len(rows), BLOCK_ROWS):
        part = rows[start : start + BLOCK_ROWS]
        w = strength[part]
        shifted = X[part].double() - centre
        weighted = shifted * w[:, None]
        sums.mass += w.sum()
        sums.first += weighted.sum(0)
        sums.gram.addmm_(weighted.T, shifted)
        sums.cross.addmm_(weighted.T, targets[part])
        sums.target += w @ targets[part]
    return sums


def _solve_fold(
    found: Moments, penalty: Tensor, standardize: bool, fit_intercept: bool
) -> tuple[Tensor, Tensor]:
    """Solve one fold for all its penalties: [problems, outputs, features] and intercepts."""
    mean, target_mean = found.first / found.mass, found.target / found.mass
    gram = found.gram - torch.outer(found.first, mean)
    cross = found.cross - torch.outer(mean, found.target)
    scale = torch.ones_like(mean)
    if standardize:
        variance = gram.diagonal() / found.mass
        tiny = 1e-7 * found.centre.abs() + 1e-300
        scale = torch.where(variance.clamp_min(0).sqrt() <= tiny, 1.0, variance.clamp_min(0).sqrt())
    middle = found.centre + mean
    if not fit_intercept:
        # Standardised features are centred all the same, as a StandardScaler leaves them.
        if not standardize:
            shift = found.centre
            gram = found.gram + torch.outer(found.first, shift) + torch.outer(shift, found.first)
            gram = gram + found.mass * torch.outer(shift, shift)
            cross = found.cross + torch.outer(shift, found.target)
        target_mean = torch.zeros_like(target_mean)
    values, vectors = torch.linalg.eigh(gram / scale[:, None] / scale)
    along = vectors.T @ (cross / scale[:, None])
    values = values.clamp_min(0.0)
    floor = values.max() * len(values) * torch.finfo(values.dtype).eps
    shrunk = values + penalty[:, None]
    inverse = torch.where(shrunk > floor, 1.0 / shrunk.clamp_min(1e-300), 0.0)
    solved = torch.einsum("dr,pr,rk->pkd", vectors, inverse, along) / scale
    if not fit_intercept and not standardize:
        return solved, solved.new_zeros(len(penalty), cross.shape[1])
    return solved, target_mean - solved @ middle
