"""SparseProbe: a probe that reads no more than k neurons (Gurnee et al. 2023, 2305.01610)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from neoscope.errors import ProbeError
from probes.estimating.arguments import (
    check_weighted_classes,
    checked_in_fit,
    number,
    one_of,
    whole_number,
)
from probes.estimating.base import LinearClassifierProbe
from probes.estimating.scaling import mean_and_scale
from probes.linear.logistic import LogisticProbe
from probes.sparse.selection import best, f_statistic, mean_difference

Array = NDArray[Any]

SELECTIONS = ("mean_difference", "f_statistic", "adaptive")
ADAPTIVE_START = 1024
"""Features with which adaptive thresholding begins: those with the largest mean difference."""


class SparseProbe(LinearClassifierProbe):
    """Logistic regression on the ``k`` features that tell the classes apart best.

    Meant for neurons (site ``post``), whose basis means something; in the residual stream the
    basis means little. Features are chosen on the rows given to `fit` alone:

    - ``mean_difference``: largest distance between the means of a class and of the rest, in the
      neurons' own unit, as in the paper.
    - ``f_statistic``: largest ratio of variance between classes to variance within.
    - ``adaptive``: logistic regression on all (at most 1,024) features, then on the half with the
      largest standardised coefficients, and so on until k are left.

    Example:
        >>> is_french = np.arange(60) % 2
        >>> neurons = np.random.default_rng(0).normal(size=(60, 8))
        >>> neurons[:, 5] += 6 * is_french
        >>> SparseProbe(1).fit(neurons, is_french).selected_.tolist()
        [5]
    """

    selected_: Array
    """Indices of the features that it reads, the best first."""
    n_iter_: int
    """Newton steps of the regression on the features chosen."""
    converged_: bool
    """It reached its optimum; a ConvergenceWarning was given otherwise."""

    @checked_in_fit
    def __init__(
        self,
        k: int = 1,
        *,
        selection: str = "mean_difference",
        C: float = 1.0,
        class_weight: dict[Any, float] | str | None = None,
        max_iter: int = 100,
    ) -> None:
        """Store the parameters; `fit` checks them.

        Args:
            k: Features that it may read.
            selection: ``mean_difference``, ``f_statistic`` or ``adaptive``.
            C: Inverse strength of the penalty on the standardised coefficients, as scikit-learn's.
            class_weight: As scikit-learn's: weights by class, ``balanced`` or None. It matters
                where a class is rare.
            max_iter: Newton steps of each logistic regression.
        """
        self.k = k
        self.selection = selection
        self.C = C
        self.class_weight = class_weight
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SparseProbe:
        """Choose features and fit a logistic regression on them.

        Args:
            X: [rows, features].
            y: Labels [rows], or [rows, labels] of 0 and 1.
            sample_weight: [rows]; a row of weight 2 counts as two rows.

        Raises:
            ProbeError: A parameter means nothing, k is more than there are features, or there is
                one class only.
        """
        k = whole_number("k", self.k)
        selection = one_of("selection", self.selection, SELECTIONS)
        C = number("C", self.C, positive=True)
        max_iter = whole_number("max_iter", self.max_iter)
        X, targets, weights = self._read_training(X, y, sample_weight, self.class_weight)
        check_weighted_classes(targets, weights, self.classes_, self.target_kind_)
        if k > X.shape[1]:
            raise ProbeError(f"k is {k}, but X has {X.shape[1]} feature(s)")
        kind = self.target_kind_
        if selection == "f_statistic":
            scores = f_statistic(X, targets, weights, exclusive=kind != "multilabel")
        else:
            scores = mean_difference(X, targets, weights)
        chosen = best(scores, ADAPTIVE_START if selection == "adaptive" else k)
        labels = _labels(targets, kind)
        logistic = LogisticProbe(C, tol=1e-16, max_iter=max_iter)
        if selection == "adaptive":
            chosen = _halve(X, labels, weights, chosen, k, logistic)
        logistic.fit(X[:, chosen], labels, weights)
        self.selected_ = chosen
        self.coef_ = np.zeros((targets.shape[1], X.shape[1]))
        self.coef_[:, chosen] = logistic.coef_
        self.intercept_ = logistic.intercept_
        self.n_iter_, self.converged_ = logistic.n_iter_, logistic.converged_
        return self

    def __sklearn_tags__(self) -> Any:
        """Say that so few features need not tell the classes apart."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


def _halve(X: Array, y: Array, weights: Array, kept: Array, k: int, logistic: Any) -> Array:
    """Return k features: logistic regressions on ever fewer of them, the smallest dropped."""
    while True:
        with warnings.catch_warnings():
            # A coarse optimum ranks as well.
            warnings.simplefilter("ignore", ConvergenceWarning)
            coef = logistic.fit(X[:, kept], y, weights).coef_
        _, scale = mean_and_scale(X[:, kept], weights)
        sizes = np.linalg.norm(coef * scale, axis=0)
        kept = kept[best(sizes, max(k, len(kept) // 2))]
        if len(kept) == k:
            return kept


def _labels(targets: Array, kind: str) -> Array:
    if kind == "multilabel":
        return targets.astype(int)
    return targets.argmax(1) if kind == "multiclass" else targets[:, 0].astype(int)
