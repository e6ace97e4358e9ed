"""LowRankProbe: a linear probe whose weights have a limited rank (Hewitt & Liang 2019)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning

from probes.estimating.arguments import check_weighted_classes, checked_in_fit, number, whole_number
from probes.estimating.base import LinearClassifierProbe
from probes.estimating.scaling import mean_and_scale

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]


class LowRankProbe(LinearClassifierProbe):
    """Softmax regression whose weights are a product ``A B`` through ``rank`` dimensions.

    A probe of lower rank can learn less of a task that the representation does not hold: rank 10
    was more selective than full rank on parts of speech (1909.03368, table 1). It minimises
    scikit-learn's objective of logistic regression on standardised features,
    ``sum of cross-entropies + ||A B||^2 / (2 C)``, over matrices of that rank, from the
    truncated least-squares solution on. With ``rank`` at least the number of classes minus one it
    is logistic regression; below, the objective is not convex and this is a local optimum.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(60, 5))
        >>> LowRankProbe(2).fit(X, X[:, :3].argmax(1)).projection_.shape
        (2, 5)
    """

    projection_: Array
    """B, [rank, features]: the subspace that it reads, in the features' own units."""
    readout_: Array
    """A, [outputs, rank]; ``coef_`` is ``readout_ @ projection_``."""
    n_iter_: int
    """Iterations of L-BFGS."""
    converged_: bool
    """It reached its optimum; a ConvergenceWarning was given otherwise."""

    @checked_in_fit
    def __init__(
        self,
        rank: int = 10,
        *,
        C: float = 1.0,
        class_weight: dict[Any, float] | str | None = None,
        tol: float = 1e-9,
        max_iter: int = 2000,
    ) -> None:
        """Store the parameters; `fit` checks them.

        Args:
            rank: Dimensions that it reads; more than there are outputs or features change nothing.
            C: Inverse strength of the penalty on the standardised coefficients, as scikit-learn's.
            class_weight: As scikit-learn's: weights by class, ``balanced`` or None.
            tol: Largest gradient, of the mean over rows, at the end.
            max_iter: Iterations of L-BFGS.
        """
        self.rank = rank
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LowRankProbe:
        """Fit the two factors together.

        Args:
            X: [rows, features].
            y: Labels [rows], or [rows, labels] of 0 and 1.
            sample_weight: [rows]; a row of weight 2 counts as two rows.

        Raises:
            ProbeError: A parameter means nothing, or there is one class only.
        """
        rank = whole_number("rank", self.rank)
        C = number("C", self.C, positive=True)
        tol = number("tol", self.tol, positive=True)
        max_iter = whole_number("max_iter", self.max_iter)
        X, targets, weights = self._read_training(X, y, sample_weight, self.class_weight)
        check_weighted_classes(targets, weights, self.classes_, self.target_kind_)
        mean, scale = mean_and_scale(X, weights)
        Z = (np.asarray(X, np.float64) - mean) / scale
        A, B = _truncated_least_squares(Z, targets, weights, C, min(rank, *targets.shape[1:]))
        objective = _Objective(Z, targets, weights, C, self.target_kind_, A.shape, B.shape)
        start = objective.pack(A, B, np.zeros(len(A)))
        found = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"gtol": tol, "ftol": 0.0, "maxiter": max_iter, "maxfun": 2 * max_iter},
        )
        A, B, intercept = objective.unpack(found.x)
        self.projection_, self.readout_ = B / scale, A
        self.coef_ = self.readout_ @ self.projection_
        self.intercept_ = intercept - self.coef_ @ mean
        self.n_iter_ = max(int(found.nit), 1)
        self.converged_ = bool(found.nit < max_iter and found.nfev < 2 * max_iter)
        if not self.converged_:
            warnings.warn(
                f"LowRankProbe(rank={rank}) has not converged after {self.n_iter_} iterations; "
                "raise max_iter, or lower C",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self


class _Objective:
    """Mean cross-entropy plus penalty, and its gradient, as a function of one flat vector."""

    def __init__(
        self,
        Z: Array,
        targets: Array,
        weights: Array,
        C: float,
        kind: str,
        readout: tuple[int, ...],
        projection: tuple[int, ...],
    ) -> None:
        self._Z, self._targets = Z, targets
        total = weights.sum()
        self._weights, self._penalty = weights / total, 1 / (C * total)
        self._loss: Callable[[Array, Array], tuple[Array, Array]]
        self._loss = _softmax_loss if kind == "multiclass" else _sigmoid_loss
        self._shapes = readout, projection

    def pack(self, A: Array, B: Array, intercept: Array) -> Array:
        return np.concatenate([A.ravel(), B.ravel(), intercept])

    def unpack(self, flat: Array) -> tuple[Array, Array, Array]:
        (outputs, rank), (_, features) = self._shapes
        A, B, intercept = np.split(flat, [outputs * rank, (outputs + features) * rank])
        return A.reshape(outputs, rank), B.reshape(rank, features), intercept

    def __call__(self, flat: Array) -> tuple[float, Array]:
        A, B, intercept = self.unpack(flat)
        hidden = self._Z @ B.T
        loss, residual = self._loss(hidden @ A.T + intercept, self._targets)
        residual = residual * self._weights[:, None]
        gram_A, gram_B = A.T @ A, B @ B.T
        value = self._weights @ loss + self._penalty / 2 * (gram_A * gram_B).sum()
        grad_A = residual.T @ hidden + self._penalty * A @ gram_B
        grad_B = (residual @ A).T @ self._Z + self._penalty * gram_A @ B
        return float(value), self.pack(grad_A, grad_B, residual.sum(0))


def _softmax_loss(scores: Array, targets: Array) -> tuple[Array, Array]:
    return -(targets * log_softmax(scores, 1)).sum(1), softmax(scores, 1) - targets


def _sigmoid_loss(scores: Array, targets: Array) -> tuple[Array, Array]:
    return (np.logaddexp(0, scores) - targets * scores).sum(1), expit(scores) - targets


def _truncated_least_squares(
    Z: Array, targets: Array, weights: Array, C: float, rank: int
) -> tuple[Array, Array]:
    """Return factors [outputs, rank] and [rank, features] of ridge regression, cut to its rank.

    The cut keeps what matters most to the predictions, not to the coefficients (reduced-rank
    regression).
    """
    gram = (Z * weights[:, None]).T @ Z
    gram[np.diag_indices_from(gram)] += 1 / C + 1e-6 * weights.sum()
    centred = targets - np.average(targets, axis=0, weights=weights)
    full = np.linalg.solve(gram, (Z * weights[:, None]).T @ centred)
    values, vectors = np.linalg.eigh(full.T @ gram @ full)
    kept = vectors[:, np.argsort(-values, kind="stable")[:rank]]
    B = (full @ kept).T
    # Both factors of one size: the product is the same and the descent better conditioned.
    sizes = np.sqrt(np.maximum(np.linalg.norm(B, axis=1), 1e-3))
    return kept * sizes, B / sizes[:, None]
