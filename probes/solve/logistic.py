"""Logistic regressions solved together: one design matrix, many folds, strengths and classes.

Every regression minimises scikit-learn's objective, the sum of weighted losses plus
``||u||^2 / (2 C)``, by Newton's method whose steps are found by conjugate gradients. All of them
share each product with the design matrix, so that what is a thousand passes of matrix times vector
elsewhere is a few hundred products of matrices here. The eigenvectors of the features precondition
the steps; those that have converged leave the products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.solve.design import Design, design, spectrum
from probes.solve.newton import Found, Newton

# p (1 - p) is at most a quarter; of a fitted regression it is about this.
_CURVATURE = 0.1
_MAX_CONDITION = 100.0
# What float32 cannot tell apart is no reason to go on there.
_ROUGH = 1e-6
# Steps after which a problem counts as hard, and is come at from stronger penalties.
_DIRECT = 15
_LEVEL_STEPS, _LEVEL_TOL = 10, 1e-2


@dataclass(frozen=True)
class LogisticSolution:
    """Fitted regressions, in the features' own units."""

    coef: Float[Tensor, "problems outputs features"]
    intercept: Float[Tensor, "problems outputs"]
    objective: Float[Tensor, " problems"]
    """Weighted sum of losses in nats, plus the penalty."""
    gap: Float[Tensor, " problems"]
    """Estimate of how far the objective lay above its minimum before the last step."""
    converged: Bool[Tensor, " problems"]
    n_iter: Int[Tensor, " problems"]
    """Newton steps."""


class LogisticFolds:
    """Folds of one design matrix, ready to be fitted at any strengths."""

    def __init__(
        self,
        X: Float[Tensor, "rows features"],
        targets: Float[Tensor, "rows outputs"],
        *,
        softmax: bool,
        weights: Float[Tensor, "rows folds"],
        scaling: Float[Tensor, "rows folds"] | None = None,
        standardize: bool = True,
        fit_intercept: bool = True,
    ) -> None:
        """Centre and scale the features and find their spectrum.

        Args:
            X: Features, float32 or float64; products are computed in that type, sums in float64.
            targets: 0 and 1, or the share of each class. With ``softmax``, one column a class;
                otherwise every column is a regression of its own.
            softmax: Whether the columns are the classes of one multinomial regression.
            weights: Weight of every row's loss in every fold; 0 leaves it out.
            scaling: Row weights for the standard deviations, where they differ from ``weights``.
            standardize: Divide features by the fold's own standard deviation, which changes what
                the penalty means, as a StandardScaler before the regression would.
            fit_intercept: Add an intercept, which is not penalised. Without one, folds that are
                standardised each by itself are solved each by itself.
        """
        self.X, self.targets, self.softmax = X, targets, softmax
        self.weights, self.scaling = weights, weights if scaling is None else scaling
        self.standardize, self.fit_intercept = standardize, fit_intercept
        # Without an intercept nothing makes up for the difference between two folds' means.
        self.apart = standardize and not fit_intercept and weights.shape[1] > 1
        self._weakest: tuple[Tensor, Tensor] | None = None
        if not self.apart:
            self.made = self._design(X)
            self.modes = spectrum(self.made.X)

    def solve(
        self,
        fold: Int[Tensor, " problems"],
        penalty: Float[Tensor, " problems"],
        *,
        tol: float = 1e-13,
        max_iter: int = 100,
        exact: bool = True,
    ) -> LogisticSolution:
        """Fit one regression for each pair of fold and penalty.

        Where all penalties are weaker than those of the call before, its answers are where these
        begin.

        Args:
            fold: Which fold each problem is fitted on.
            penalty: 1 / C of each problem.
            tol: A problem has converged when the Newton decrement says that the objective is within
                this part of its minimum.
            max_iter: Newton steps before a problem counts as not converged; steps on the way to
                it from stronger penalties are not among them.
            exact: Go on in float64 from where float32 came to, for problems so conditioned that
                float32 leaves coefficients uncertain.
        """
        if self.apart:
            return self._solve_apart(fold, penalty, tol, max_iter, exact)
        found = self._run(fold, penalty, max(tol, _ROUGH) if self.single else tol, max_iter)
        hard = self._hard(fold, penalty).nonzero()[:, 0]
        if exact and self.single and tol < _ROUGH and len(hard):
            newton = self._newton(self._design(self.X.double()), fold[hard], penalty[hard])
            found = found.replaced(hard, newton.run(tol, max_iter, start=found.taken(hard)))
        self._remember(found, fold, penalty)
        return self._in_own_units(found, fold)

    @property
    def single(self) -> bool:
        """Whether products are computed in float32."""
        return self.X.dtype == torch.float32

    def _run(self, fold: Tensor, penalty: Tensor, tol: float, max_iter: int) -> Found:
        """Solve directly; come at what resists from stronger penalties.

        Far from the minimum of a weakly penalised problem, most rows are taken for certain and
        wrong, where a Newton step says nothing; from the minimum of a stronger penalty it is near.
        """
        start = None
        if self._weakest is not None and bool((penalty < self._weakest[1].min()).all()):
            start = self._weakest[0][..., fold]
        newton = self._newton(self.made, fold, penalty)
        found = newton.run(tol, min(max_iter, _DIRECT), start=start)
        slow = (~found.converged).nonzero()[:, 0]
        if max_iter <= _DIRECT or not len(slow):
            return found
        fold, penalty = fold[slow], penalty[slow]
        spread = float(self.modes.values.sum()) / self.X.shape[1]
        level, start = float(self.weights.sum(0).max()) * spread / 2, None
        while level > float(penalty.min()):
            stronger = self._newton(self.made, fold, penalty.clamp_min(level))
            near = stronger.run(_LEVEL_TOL, _LEVEL_STEPS, start=start)
            start = near.taken(torch.arange(len(slow), device=slow.device))
            level /= 10
        return found.replaced(
            slow, self._newton(self.made, fold, penalty).run(tol, max_iter, start=start)
        )

    def _remember(self, found: Found, fold: Tensor, penalty: Tensor) -> None:
        """Keep each fold's answer at the weakest penalty, if all folds have one."""
        self._weakest = None
        if len(fold.unique()) < self.weights.shape[1]:
            return
        places = [
            int(torch.where(fold == one, penalty, torch.inf).argmin())
            for one in range(self.weights.shape[1])
        ]
        at = torch.tensor(places, device=fold.device)
        self._weakest = (found.taken(at), penalty[at])

    def _design(self, X: Tensor) -> Design:
        centred = self.fit_intercept or self.standardize
        return design(X, self.scaling, standardize=self.standardize, centred=centred)

    def _newton(self, made: Design, fold: Tensor, penalty: Tensor) -> Newton:
        return Newton(
            made,
            self.modes,
            self.targets,
            self.softmax,
            self.weights,
            fold,
            penalty,
            self.fit_intercept,
        )

    def _hard(self, fold: Tensor, penalty: Tensor) -> Tensor:
        """Which problems have a Hessian whose condition float32 does not carry."""
        mass = self.weights.sum(0)[fold] * _CURVATURE
        values = self.modes.values
        least = float(values.min())
        if self.modes.rest > 0:
            least = min(least, self.modes.rest)
        return float(values.max()) * mass + penalty > _MAX_CONDITION * (least * mass + penalty)

    def _in_own_units(self, found: Found, fold: Tensor) -> LogisticSolution:
        made = self.made
        coef = found.coef / made.ratios[:, fold][:, None] / made.scale[:, None, None]
        intercept = found.intercept - torch.einsum("dkp,d->kp", coef, made.centre)
        if self.softmax:
            # A constant added to all classes changes nothing: take the one that sums to zero.
            intercept = intercept - intercept.mean(0)
        return LogisticSolution(
            coef.permute(2, 1, 0),
            intercept.T,
            found.objective,
            found.gap,
            found.converged,
            found.n_iter,
        )

    def _solve_apart(
        self, fold: Tensor, penalty: Tensor, tol: float, max_iter: int, exact: bool
    ) -> LogisticSolution:
        found: list[LogisticSolution] = []
        order: list[Tensor] = []
        for one in range(self.weights.shape[1]):
            here = (fold == one).nonzero()[:, 0]
            alone = LogisticFolds(
                self.X,
                self.targets,
                softmax=self.softmax,
                weights=self.weights[:, one : one + 1],
                scaling=self.scaling[:, one : one + 1],
                fit_intercept=False,
            )
            zeros = torch.zeros_like(here)
            found.append(alone.solve(zeros, penalty[here], tol=tol, max_iter=max_iter, exact=exact))
            order.append(here)
        back = torch.cat(order).argsort()
        names = ("coef", "intercept", "objective", "gap", "converged", "n_iter")
        return LogisticSolution(
            **{name: torch.cat([getattr(one, name) for one in found])[back] for name in names}
        )
