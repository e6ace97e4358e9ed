"""CentroidProbe: the nearest class mean, the floor under every other probe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, validate_data

from neoscope.errors import ProbeError
from probes.arguments import check_weighted_classes
from probes.base import LinearClassifierProbe
from probes.scaling import blocks

Array = NDArray[Any]


class CentroidProbe(LinearClassifierProbe):
    """The class whose mean is nearest: nothing is learned but the means.

    A class's score is ``-||x - mean||^2 / 2`` up to a term that all classes share, which leaves
    it linear in x; its probabilities are those of unit Gaussians about the means, all classes
    equally frequent. Of several labels each has a mean without it and a mean with it. The sums
    are kept, so that `partial_fit` over batches gives what `fit` on all of them gives. A class
    of which no row was seen is never predicted.

    Example:
        >>> CentroidProbe().fit([[0.0], [1.0], [9.0]], ["a", "a", "b"]).predict([[4.0], [6.0]])
        array(['a', 'b'], dtype='<U1')
    """

    centroids_: Array
    """[classes, features]; of several labels [labels, 2, features], without and with the label."""
    sums_: Array
    """Weighted sums of the rows, in the shape of ``centroids_``."""
    sum_weights_: Array
    """Total weights, [classes] or [labels, 2]."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CentroidProbe:
        """Average the rows of each class.

        Args:
            X: [rows, features].
            y: Labels [rows], or [rows, labels] of 0 and 1.
            sample_weight: [rows].

        Raises:
            ProbeError: There is one class only.
        """
        X, targets, weights = self._read_training(X, y, sample_weight)
        check_weighted_classes(targets, weights, self.classes_, self.target_kind_)
        self._forget(X.shape[1])
        return self._add(X, targets, weights)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> CentroidProbe:
        """Add rows to the means.

        Args:
            X: [rows, features].
            y: Labels [rows], or [rows, labels] of 0 and 1.
            classes: All classes that may come; needed in the first call where y is [rows].
            sample_weight: [rows].

        Raises:
            ProbeError: The first call names no classes, or y holds others than it named.
        """
        first = not hasattr(self, "sums_")
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], multi_output=True, reset=first
        )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if first:
            self._name_classes(y, classes)
            self._forget(X.shape[1])
        return self._add(X, self._targets(y), weights)

    def _name_classes(self, y: Array, classes: Any) -> None:
        if type_of_target(y).startswith("multilabel"):
            self._read_targets(y)
        elif classes is None:
            raise ProbeError(
                "the first partial_fit needs classes=, all classes that may come: a batch need "
                "not hold them all"
            )
        else:
            self._read_targets(np.asarray(classes))

    def _targets(self, y: Array) -> Array:
        """Return [rows, outputs] of 0 and 1 for classes that are known."""
        if self.target_kind_ == "multilabel":
            if y.shape[1:] != self.classes_.shape or not np.isin(y, (0, 1)).all():
                raise ProbeError(
                    f"y has shape {y.shape}; expected 0 and 1 in [rows, {len(self.classes_)}], "
                    "a column a label as in the first partial_fit"
                )
            return np.asarray(y, np.float64)
        unseen = np.setdiff1d(y, self.classes_)
        if len(unseen) or y.ndim > 1:
            raise ProbeError(
                f"y holds the classes {unseen[:5].tolist()}, which the first partial_fit did not "
                f"name; it named {self.classes_.tolist()}"
            )
        codes = np.searchsorted(self.classes_, y)
        if self.target_kind_ == "binary":
            return codes[:, None].astype(np.float64)
        return np.eye(len(self.classes_))[codes]

    def _forget(self, n_features: int) -> None:
        several = self.target_kind_ == "multilabel"
        shape = (len(self.classes_), 2) if several else (len(self.classes_),)
        self.sums_, self.sum_weights_ = np.zeros((*shape, n_features)), np.zeros(shape)

    def _add(self, X: Array, targets: Array, weights: Array) -> CentroidProbe:
        if self.target_kind_ != "multiclass":
            # Without and with the one label, or each of the labels.
            targets = np.stack([1 - targets, targets], 2)
            targets = targets if self.target_kind_ == "multilabel" else targets[:, 0]
        flat = self.sums_.reshape(-1, X.shape[1])
        for rows in blocks(len(X)):
            weighted = targets[rows].reshape(len(targets[rows]), -1) * weights[rows, None]
            flat += weighted.T @ np.asarray(X[rows], np.float64)
        self.sum_weights_ += np.tensordot(weights, targets, 1)
        self._place()
        return self

    def _place(self) -> None:
        """Work the means and the scores' coefficients out from the sums."""
        seen = self.sum_weights_ > 0
        totals = np.where(seen, self.sum_weights_, np.nan)[..., None]
        self.centroids_ = self.sums_ / totals
        # Of one label, or of each: the second mean against the first. Of many classes: each
        # against the middle of them, which keeps the scores small where all features are large.
        if self.target_kind_ == "multiclass":
            middle = np.nanmean(self.centroids_, 0)
            ends = (np.broadcast_to(middle, self.centroids_.shape), self.centroids_)
            absent = np.where(seen, 0.0, -np.inf)
            half = -np.square(self.centroids_ - middle).sum(1) / 2
            offset = half - (self.centroids_ - middle) @ middle
        else:
            pairs = self.centroids_.reshape(-1, 2, self.centroids_.shape[-1])
            ends = (pairs[:, 0], pairs[:, 1])
            both = seen.reshape(-1, 2)
            absent = np.where(both[:, 1], 0.0, -np.inf) + np.where(both[:, 0], 0.0, np.inf)
            offset = -((pairs[:, 1] - pairs[:, 0]) * pairs.mean(1)).sum(1)
        known = np.isfinite(offset)
        self.coef_ = np.where(known[:, None], ends[1] - ends[0], 0.0)
        self.intercept_ = np.where(known, offset, absent)
        self.card_ = None
