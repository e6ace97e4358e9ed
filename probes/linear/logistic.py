"""LogisticProbe: linear probes of classes, one at a time or many of one matrix together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from probes.estimating.arguments import check_weighted_classes, checked_in_fit, number, whole_number
from probes.estimating.base import Array, LinearClassifierProbe
from probes.linear.joint import (
    JointFit,
    class_weights,
    fold_weights,
    problem_grid,
    read_device,
    tensor_of,
)

if TYPE_CHECKING:
    from probes.solve.logistic import LogisticFolds

# On validation folds an objective within this part of its minimum scores as the minimum does.
_VALIDATED = 1e-4


class LogisticProbe(LinearClassifierProbe):
    """Logistic regression with an L2 penalty: binary, multinomial, or one for each of many labels.

    It minimises the objective of scikit-learn's ``LogisticRegression``, by default behind a
    ``StandardScaler``: hidden states have a few dimensions hundreds of times larger than the
    others, to which a penalty on raw coefficients would give away everything. Coefficients are in
    the features' own units either way.

    Example:
        >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.9, 0.3]], ["is", "are", "is", "are"]
        >>> LogisticProbe().fit(X, y).predict([[0.1, 1.0]]).tolist()
        ['is']
    """

    strength_name = "C"
    """The argument that says how strongly it is regularised."""
    strengths = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """What a sweep tries, from the strongest penalty to the weakest."""

    @checked_in_fit
    def __init__(
        self,
        C: float = 1.0,
        *,
        class_weight: Any = None,
        fit_intercept: bool = True,
        standardize: bool = True,
        tol: float = 1e-13,
        max_iter: int = 100,
        device: Any = None,
    ) -> None:
        """Remember the arguments.

        Args:
            C: 1 / penalty, as in scikit-learn.
            class_weight: ``"balanced"``, or a weight of each class.
            fit_intercept: Add an intercept, which is not penalised.
            standardize: Divide each feature by its standard deviation first.
            tol: Converged when the objective is within this part of its minimum, by the Newton
                decrement.
            max_iter: Newton steps; not converged by then is a ConvergenceWarning.
            device: Where to compute, such as ``"cuda"``; None for the CPU.
        """
        self.C = C
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticProbe:
        """Fit it.

        Args:
            X: [rows, features]. float32 stays float32 unless its condition number asks for more.
            y: Classes, or [rows, labels] of 0 and 1 for several labels at once.
            sample_weight: Weight of each row's loss.

        Raises:
            ProbeError: One class only.
            ValueError: What scikit-learn refuses: NaN, unequal lengths, ...
        """
        X, targets, weights = self._read_training(X, y, sample_weight)
        check_weighted_classes(targets, weights, self.classes_, self.target_kind_)
        number("C", self.C, positive=True)
        everything = [np.arange(len(X))]
        joint = self._prepared(X, targets, weights, everything).fit([self.C], exact=True)
        self.coef_, self.intercept_ = joint.coef[0], joint.intercept[0]
        self.n_iter_, self.converged_ = int(joint.n_iter[0]), bool(joint.converged[0])
        if not self.converged_:
            warnings.warn(
                f"LogisticProbe(C={self.C:g}) has not converged after {self.n_iter_} Newton steps; "
                "raise max_iter, or lower C",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def prepare_folds(
        self, X: Any, y: Any, folds: Sequence[Any], *, sample_weight: Any = None
    ) -> LogisticPrepared:
        """Read the features once, for all that is to be fitted on parts of them.

        Args:
            X: [rows, features].
            y: As for `fit`.
            folds: The rows that each fold is fitted on.
            sample_weight: Weight of each row's loss.
        """
        X, targets, weights = self._read_training(X, y, sample_weight)
        return self._prepared(X, targets, weights, folds)

    def fit_folds(
        self,
        X: Any,
        y: Any,
        folds: Sequence[Any],
        strengths: Sequence[float],
        *,
        sample_weight: Any = None,
        exact: bool = False,
    ) -> JointFit:
        """Fit every fold at every strength together.

        Args:
            X: [rows, features].
            y: As for `fit`.
            folds: The rows that each fold is fitted on.
            strengths: Values of ``C``.
            sample_weight: Weight of each row's loss.
            exact: Solve what is badly conditioned in float64; validation scores do not need it.

        Returns:
            The regressions, fold by fold, within a fold in the order of ``strengths``.
        """
        return self.prepare_folds(X, y, folds, sample_weight=sample_weight).fit(
            strengths, exact=exact
        )

    def _prepared(
        self, X: Array, targets: Array, weights: Array, folds: Sequence[Any]
    ) -> LogisticPrepared:
        import torch

        from probes.solve.logistic import LogisticFolds

        device = read_device(self.device)
        number("tol", self.tol, positive=True)
        whole_number("max_iter", self.max_iter)
        scaling = fold_weights(folds, weights)
        by_class = class_weights(
            self.class_weight, self.classes_, self.target_kind_, targets, scaling
        )
        made = LogisticFolds(
            tensor_of(X, device),
            torch.as_tensor(targets, device=device),
            softmax=self.target_kind_ == "multiclass",
            weights=torch.as_tensor(by_class, device=device),
            scaling=torch.as_tensor(scaling, device=device),
            standardize=self.standardize,
            fit_intercept=self.fit_intercept,
        )
        return LogisticPrepared(made, len(folds), self.tol, self.max_iter)


@dataclass(frozen=True, eq=False)
class LogisticPrepared:
    """Folds of one matrix of features, ready for logistic regressions of any strengths."""

    made: LogisticFolds
    n_folds: int
    tol: float
    max_iter: int

    def fit(self, strengths: Sequence[float], *, exact: bool = False) -> JointFit:
        """Fit every fold at every strength; see `LogisticProbe.fit_folds`."""
        for C in strengths:
            number("C", C, positive=True)
        device = self.made.X.device
        fold, strength = problem_grid(self.n_folds, strengths)
        rough = not exact and self.made.single
        found = self.made.solve(
            fold.to(device),
            1.0 / strength.to(device),
            tol=max(self.tol, _VALIDATED) if rough else self.tol,
            max_iter=self.max_iter,
            exact=exact,
        )
        return JointFit(
            found.coef.cpu().numpy(),
            found.intercept.cpu().numpy(),
            tuple(strengths),
            found.converged.cpu().numpy(),
            found.n_iter.cpu().numpy(),
            found.objective.cpu().numpy(),
        )
