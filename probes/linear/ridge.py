"""RidgeProbe: linear probes of numbers, one at a time or many of one matrix together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neoscope.errors import ProbeError
from probes.estimating.arguments import checked_in_fit, number
from probes.estimating.base import Array, RegressorProbe, linear_module
from probes.linear.joint import JointFit, fold_weights, problem_grid, read_device, tensor_of

if TYPE_CHECKING:
    from torch import nn

    from probes.solve.ridge import Moments, RidgeFolds


class RidgeProbe(RegressorProbe):
    """Least squares with an L2 penalty, for one number a row or several.

    It minimises the objective of scikit-learn's ``Ridge``, by default behind a ``StandardScaler``;
    coefficients are in the features' own units either way.

    Example:
        >>> probe = RidgeProbe(alpha=1e-6).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
        >>> probe.predict([[3.0]]).round(3).tolist()
        [7.0]
    """

    strength_name = "alpha"
    """The argument that says how strongly it is regularised."""
    strengths = (1e5, 1e4, 1e3, 1e2, 1e1, 1.0)
    """What a sweep tries, from the strongest penalty to the weakest."""
    coef_: Array
    """[features], or [outputs, features]."""
    _sums: Moments | None = None

    @checked_in_fit
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        standardize: bool = True,
        device: Any = None,
    ) -> None:
        """Remember the arguments.

        Args:
            alpha: The penalty, as in scikit-learn; 0 gives the shortest of the least-squares
                solutions.
            fit_intercept: Add an intercept, which is not penalised.
            standardize: Divide each feature by its standard deviation first.
            device: Where to compute, such as ``"cuda"``; None for the CPU.
        """
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RidgeProbe:
        """Fit it.

        Args:
            X: [rows, features].
            y: [rows] or [rows, outputs].
            sample_weight: Weight of each row's squared error.
        """
        X, y, weights = self._read_training(X, y, sample_weight)
        number("alpha", self.alpha)
        return self._set(self._prepared(X, y, weights, [np.arange(len(X))]), y.ndim)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> RidgeProbe:
        """Add rows, and fit on all rows so far: what `fit` on all of them together gives.

        Args:
            X: [rows, features].
            y: [rows] or [rows, outputs].
            sample_weight: Weight of each row's squared error.

        Raises:
            ProbeError: The probe was loaded from a folder or of a sweep: it has no sums to add to.
        """
        before = self._sums
        if before is None and hasattr(self, "coef_"):
            raise ProbeError(
                "this RidgeProbe was loaded from a folder, or comes from a sweep, and has no sums "
                "of its rows to go on from: fit a new one"
            )
        X, y, weights = self._read_training(X, y, sample_weight, reset=before is None)
        number("alpha", self.alpha)
        ready = self._prepared(X, y, weights, [np.arange(len(X))], before)
        return self._set(ready, y.ndim)

    def forget(self) -> None:
        """Drop the sums that `partial_fit` goes on from: [features, features] numbers."""
        self._sums = None

    def _set(self, ready: RidgePrepared, dimensions: int) -> RidgeProbe:
        joint = ready.fit([self.alpha])
        self._sums = ready.made.moments[0]
        self.coef_, self.intercept_ = joint.coef[0], joint.intercept[0]
        if dimensions == 1:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    def prepare_folds(
        self, X: Any, y: Any, folds: Sequence[Any], *, sample_weight: Any = None
    ) -> RidgePrepared:
        """Sum the features once, as `LogisticProbe.prepare_folds` reads them."""
        X, y, weights = self._read_training(X, y, sample_weight)
        return self._prepared(X, y, weights, folds)

    def fit_folds(
        self,
        X: Any,
        y: Any,
        folds: Sequence[Any],
        strengths: Sequence[float],
        *,
        sample_weight: Any = None,
    ) -> JointFit:
        """Fit every fold at every strength together, as `LogisticProbe.fit_folds` does."""
        return self.prepare_folds(X, y, folds, sample_weight=sample_weight).fit(strengths)

    def _prepared(
        self, X: Array, y: Array, weights: Array, folds: Sequence[Any], before: Any = None
    ) -> RidgePrepared:
        import torch

        from probes.solve.ridge import RidgeFolds

        device = read_device(self.device)
        made = RidgeFolds(
            tensor_of(X, device),
            torch.as_tensor(y.reshape(len(y), -1), device=device),
            weights=torch.as_tensor(fold_weights(folds, weights), device=device),
            standardize=self.standardize,
            fit_intercept=self.fit_intercept,
            before=before,
        )
        return RidgePrepared(made, len(folds), device)

    def predict(self, X: Any) -> Array:
        """Return what is predicted of each row, [rows] or [rows, outputs]."""
        X = self._read_features(X)
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def __sklearn_tags__(self) -> Any:
        """Say that several numbers a row are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def directions(self) -> Array:
        """Return the directions that the probe reads, [outputs, features], not normalised."""
        check_is_fitted(self)
        return np.atleast_2d(self.coef_)

    def as_torch(self) -> nn.Module:
        """Return the probe as a linear layer in float32."""
        return linear_module(self.directions(), np.atleast_1d(self.intercept_))


@dataclass(frozen=True, eq=False)
class RidgePrepared:
    """Folds of one matrix of features, ready for ridge regressions of any strengths."""

    made: RidgeFolds
    n_folds: int
    device: Any

    def fit(self, strengths: Sequence[float]) -> JointFit:
        """Fit every fold at every strength."""
        for alpha in strengths:
            number("alpha", alpha)
        fold, strength = problem_grid(self.n_folds, strengths)
        found = self.made.solve(fold.to(self.device), strength.to(self.device))
        nothing = np.zeros(len(fold), int)
        return JointFit(
            found.coef.cpu().numpy(),
            found.intercept.cpu().numpy(),
            tuple(strengths),
            nothing == 0,
            nothing,
        )
