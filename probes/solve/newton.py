"""Newton's method with preconditioned conjugate gradients, for many regressions at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.solve.design import Design, Spectrum
from probes.solve.losses import Rows

_MAX_CG = 60
_HALVINGS = 30


@dataclass(frozen=True)
class Found:
    """What Newton's method found, in the design's coordinates of each fold."""

    coef: Tensor
    """[features, outputs, problems]."""
    intercept: Tensor
    """[outputs, problems]."""
    objective: Tensor
    gap: Tensor
    converged: Tensor
    n_iter: Tensor

    def taken(self, problems: Tensor) -> Tensor:
        """Return coefficients and intercepts of some problems as one array."""
        return torch.cat([self.coef, self.intercept[None]])[..., problems]

    def replaced(self, problems: Tensor, by: Found) -> Found:
        """Return it with some problems' answers replaced."""
        self.coef[..., problems], self.intercept[:, problems] = by.coef, by.intercept
        for name in ("objective", "gap", "converged"):
            getattr(self, name)[problems] = getattr(by, name)
        self.n_iter[problems] += by.n_iter
        return self


class Newton:
    """Regressions on their way to the minimum; columns are outputs x problems."""

    def __init__(
        self,
        made: Design,
        modes: Spectrum,
        targets: Tensor,
        softmax: bool,
        weights: Tensor,
        fold: Tensor,
        penalty: Tensor,
        fit_intercept: bool,
    ) -> None:
        self.softmax, self.fit_intercept = softmax, fit_intercept
        self.modes = modes
        self.n_outputs = targets.shape[1]
        self.rows = Rows(made, targets, weights, fold, softmax)
        self.penalty = penalty.double()
        self.mass = weights.sum(0)[fold]

    def run(self, tol: float, max_iter: int, start: Tensor | None = None) -> Found:
        """Take steps until all have converged or ``max_iter`` were taken."""
        rows, n_problems = self.rows, len(self.penalty)
        shape = (rows.n_features + 1, self.n_outputs, n_problems)
        device = rows.made.X.device
        done = Found(
            torch.zeros(shape[0] - 1, *shape[1:], dtype=torch.float64, device=device),
            torch.zeros(shape[1:], dtype=torch.float64, device=device),
            torch.zeros(n_problems, dtype=torch.float64, device=device),
            torch.full((n_problems,), torch.inf, dtype=torch.float64, device=device),
            torch.zeros(n_problems, dtype=torch.bool, device=device),
            torch.zeros(n_problems, dtype=torch.long, device=device),
        )
        live = torch.arange(n_problems, device=device)
        u = torch.zeros(shape, dtype=torch.float64, device=device)
        if start is not None:
            u = start.clone()
        elif self.fit_intercept:
            u[-1] = rows.prior()
        objective = self._objective(u, rows.evaluate(u))
        gap = torch.full((n_problems,), torch.inf, dtype=torch.float64, device=device)
        for step in range(1, max_iter + 1):
            gradient = rows.gradient()
            gradient[:-1] += self.penalty * u[:-1]
            gradient = self._allowed(gradient)
            direction = self._direction(gradient, gap / objective.clamp_min(1e-300))
            per_column = -(gradient * direction).sum(0)
            gap = per_column.sum(0).clamp_min(0.0) / 2
            u, after, moved = self._line_search(u, direction, objective, per_column.sum(0))
            small = gap <= tol * after.abs() + 1e-18 * self.mass
            finished = small | ~moved
            done.n_iter[live] = step
            done.coef[..., live], done.intercept[:, live] = u[:-1], u[-1]
            done.objective[live], done.gap[live] = after, gap
            done.converged[live] = small | (gap <= 1e-5 * after.abs())
            keep = (~finished).nonzero()[:, 0]
            if len(keep) == 0:
                break
            objective = after
            if len(keep) < len(live):
                live, u, objective, gap = live[keep], u[..., keep], objective[keep], gap[keep]
                self.penalty, self.mass = self.penalty[keep], self.mass[keep]
                rows.keep(keep)
        return done

    def _allowed(self, u: Tensor) -> Tensor:
        """Take away what no step may hold: an intercept, or a constant added to all classes.

        The second changes no probability, so that the penalty alone holds it at zero: too weakly
        for rounded sums.
        """
        if not self.fit_intercept:
            u[-1] = 0.0
        return u - u.mean(1, keepdim=True) if self.softmax else u

    def _objective(self, u: Tensor, loss: Tensor) -> Tensor:
        return loss + self.penalty / 2 * u[:-1].square().sum((0, 1))

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Per regression: classes of a softmax are one, other columns stand alone."""
        total = torch.einsum("dkp,dkp->kp", a, b)
        return total.sum(0, keepdim=True) if self.softmax else total

    def _precondition(self, residual: Tensor, curvature: Tensor, penalty: Tensor) -> Tensor:
        """Apply the inverse of the Hessian that the mean curvature of the rows would give."""
        modes = self.modes
        shape = residual[:-1].shape
        # Single precision will do: it only steers.
        flat = residual[:-1].reshape(shape[0], -1).to(modes.vectors.dtype)
        along = (modes.vectors.T @ flat).view(-1, *shape[1:])
        values = modes.values.double()[:, None, None] * curvature + penalty
        inverse = (1.0 / values).to(along.dtype)
        if modes.vectors.shape[1] == shape[0]:
            out = modes.vectors @ (along * inverse).view(len(along), -1)
        else:
            rest = 1.0 / (modes.rest * curvature + penalty)
            change = along * (inverse - rest.to(along.dtype))
            out = modes.vectors @ change.view(len(along), -1)
            out = out + (flat.view(shape) * rest.to(flat.dtype)).view(shape[0], -1)
        last = residual[-1:] / curvature.clamp_min(1e-12)
        return self._allowed(torch.cat([out.view(shape).double(), last]))

    def _direction(self, gradient: Tensor, relative_gap: Tensor) -> Tensor:
        """Solve Hessian x direction = -gradient, as well as it is worth here."""
        curvature = self.rows.curvature()
        penalty = self.penalty
        # The nearer the minimum, the more exact a step is worth; float32 has its limits.
        least = 1e-3 if self.rows.made.X.dtype == torch.float64 else 0.02
        forcing = relative_gap.clamp(max=0.09).sqrt().clamp(min=least)
        whole = torch.zeros_like(gradient)
        live = torch.arange(gradient.shape[-1], device=gradient.device)
        product = self.rows.hessian()
        x, residual = whole.clone(), -gradient
        z = self._precondition(residual, curvature, penalty)
        p, rz = z, self._dot(residual, z)
        limit = forcing**2 * rz
        for _ in range(_MAX_CG):
            active = rz > limit.clamp_min(1e-300)
            keep = active.any(0).nonzero()[:, 0]
            if len(keep) == 0:
                break
            if len(keep) <= 0.7 * len(live):
                whole[..., live] = x
                live, curvature, penalty = live[keep], curvature[..., keep], penalty[keep]
                x, residual, p = x[..., keep], residual[..., keep], p[..., keep]
                rz, limit, active = rz[..., keep], limit[..., keep], active[..., keep]
                product = product.keep(keep)
            hp = product(p)
            hp[:-1] += penalty * p[:-1]
            hp = self._allowed(hp)
            alpha = torch.where(active, rz / self._dot(p, hp).clamp_min(1e-300), 0.0)
            x = x + alpha * p
            residual = residual - alpha * hp
            z = self._precondition(residual, curvature, penalty)
            new = self._dot(residual, z)
            p = z + torch.where(active, new / rz.clamp_min(1e-300), 0.0) * p
            rz = torch.where(active, new, rz)
        whole[..., live] = x
        return whole

    def _line_search(
        self, u: Tensor, direction: Tensor, objective: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Halve the steps of those that a whole step would not help; say which moved."""
        size = torch.ones_like(objective)
        slack = self.rows.rounding * objective.abs()
        for _ in range(_HALVINGS):
            trial = u + size * direction
            after = self._objective(trial, self.rows.evaluate(trial))
            fails = ~(after <= objective - 1e-4 * size * slope + slack)
            if not fails.any():
                break
            size = torch.where(fails, size / 2, size)
        else:
            size = torch.where(fails, 0.0, size)
            trial = u + size * direction
            after = self._objective(trial, self.rows.evaluate(trial))
        return trial, after, size > 0
