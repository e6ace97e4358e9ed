"""MassMeanProbe: the direction from one class's mean to the other's, plain or whitened (LDA).

Reference: Marks & Tegmark 2023, arXiv:2310.06824, section 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from neoscope.errors import ProbeError, nearest
from probes.estimating.arguments import check_weighted_classes, checked_in_fit, one_of
from probes.estimating.base import LinearClassifierProbe
from probes.means.moments import ClassMoments, inverse_times

Array = NDArray[Any]
PRIORS = ("equal", "empirical")


class MassMeanProbe(LinearClassifierProbe):
    """Classifies by the difference of class means.

    Of two classes the logit is ``theta . (x - b)``, with ``theta`` the difference of their means
    and ``b`` the middle between them; with ``iid`` it is ``theta . Sigma^-1 (x - b)``, Sigma the
    covariance about each class's own mean: linear discriminant analysis. Of more classes the logits
    are ``mu_k . x - |mu_k|^2 / 2``, with ``iid`` in the metric of ``Sigma^-1``. Of several labels
    at once each has its own two classes.

    Class weights would change no mean; say by ``priors`` how common classes are.

    Example:
        >>> probe = MassMeanProbe().fit([[0.0, 1.0], [2.0, 1.0]], ["no", "yes"])
        >>> probe.directions().tolist(), probe.decision_function([[3.0, 5.0]]).tolist()
        ([[2.0, 0.0]], [4.0])
    """

    means_: Array
    """Class means, [classes, features]; of several labels [labels, 2, features]."""
    totals_: Array
    """Total weight of the rows of each class, [classes]; of several labels [labels, 2]."""
    scatter_: Array | None
    """With ``iid``: sum of squares about the class means, [1 or labels, features, features]."""

    @checked_in_fit
    def __init__(
        self, iid: bool = False, *, shrinkage: float | str = 0.0, priors: str = "equal"
    ) -> None:
        """Choose the metric.

        Args:
            iid: Whiten by the covariance within classes.
            shrinkage: With ``iid``: share of the covariance that is replaced by its mean variance
                in all directions, from 0 to 1; ``"oas"`` chooses it from the data (Chen et al.
                2010). At 0 a singular covariance, as of fewer rows than features, is inverted on
                the directions that vary.
            priors: How likely classes are: ``"equal"``, as in the paper, or ``"empirical"``, as
                often as in training.
        """
        self.iid = iid
        self.shrinkage = shrinkage
        self.priors = priors

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MassMeanProbe:
        """Train on rows of features.

        Args:
            X: [rows, features].
            y: [rows] labels, or [rows, labels] of 0 and 1.
            sample_weight: [rows].

        Returns:
            The probe.

        Raises:
            ProbeError: One class only, or one whose rows all have weight 0.
        """
        self._check_options()
        X, targets, weights = self._read_training(X, y, sample_weight)
        check_weighted_classes(targets, weights, self.classes_, self.target_kind_)
        self._forget()
        return self._update(X, targets, weights)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> MassMeanProbe:
        """Add rows to what was seen before; the result is as of all rows at once.

        Args:
            X: [rows, features].
            y: [rows] labels, or [rows, labels] of 0 and 1.
            classes: All labels there are; needed in the first call, unless y is a matrix.
            sample_weight: [rows].

        Returns:
            The probe. Until every class has been seen, those that were not are never predicted.

        Raises:
            ProbeError: A label is none of the classes, or the first call did not say which there
                are.
        """
        self._check_options()
        first = not hasattr(self, "totals_")
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], multi_output=True, reset=first
        )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if first:
            self._forget()
            self._set_classes(y, classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ProbeError(
                f"classes={np.unique(classes).tolist()}, but the first call of partial_fit said "
                f"{self.classes_.tolist()}"
            )
        self.card_ = None
        return self._update(X, self._targets_of(y), weights)

    def _set_classes(self, y: Array, classes: Any) -> None:
        if y.ndim > 1:
            self.classes_, self.target_kind_ = np.arange(y.shape[1]), "multilabel"
            return
        if classes is None:
            raise ProbeError("the first call of partial_fit needs classes=, all labels there are")
        self.classes_ = np.unique(classes)
        if len(self.classes_) < 2:
            raise ProbeError(
                f"a probe needs samples of at least 2 classes; classes holds one class: "
                f"{self.classes_.tolist()}"
            )
        self.target_kind_ = "binary" if len(self.classes_) == 2 else "multiclass"

    def _targets_of(self, y: Array) -> Array:
        if self.target_kind_ == "multilabel":
            if y.shape[1:] != self.classes_.shape or not np.isin(y, (0, 1)).all():
                raise ProbeError(
                    f"y has shape {y.shape}; expected 0 and 1 in [rows, {len(self.classes_)}], one "
                    "column a label, as in the first call"
                )
            return np.asarray(y, np.float64)
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        strange = np.flatnonzero(self.classes_[codes] != y)
        if len(strange):
            raise ProbeError(
                f"row {strange[0]} has label {y[strange].tolist()[0]!r}, which is none of the "
                f"classes {self.classes_.tolist()}"
            )
        one_hot: Array = np.eye(len(self.classes_))[codes]
        return one_hot[:, 1:] if self.target_kind_ == "binary" else one_hot

    def _forget(self) -> None:
        for name in ("totals_", "means_", "scatter_"):
            self.__dict__.pop(name, None)

    def _update(self, X: Array, targets: Array, weights: Array) -> MassMeanProbe:
        """Add rows to the running moments, and set the coefficients from them."""
        parts = (
            [targets]
            if self.target_kind_ == "multiclass"
            else [np.stack([1 - column, column], 1) for column in targets.T]
        )
        found = [ClassMoments.of(X, part, weights, scatter=self.iid) for part in parts]
        if hasattr(self, "totals_"):
            found = [old.merged(new) for old, new in zip(self._moments(), found, strict=True)]
        single = self.target_kind_ != "multilabel"
        means = np.stack([moments.means for moments in found])
        counts = np.stack([moments.weights for moments in found])
        self.means_, self.totals_ = (means[0], counts[0]) if single else (means, counts)
        scatters = [m.scatter for m in found if m.scatter is not None]
        self.scatter_ = np.stack(scatters) if scatters else None
        self._solve(found)
        return self

    def _moments(self) -> list[ClassMoments]:
        many = self.target_kind_ == "multilabel"
        means = self.means_ if many else self.means_[None]
        counts = self.totals_ if many else self.totals_[None]
        none: list[Any] = [None] * len(means)
        scatters = none if self.scatter_ is None else list(self.scatter_)
        return [ClassMoments(*one) for one in zip(counts, means, scatters, strict=True)]

    def _solve(self, found: list[ClassMoments]) -> None:
        solved = [self._scores_of(moments) for moments in found]
        if self.target_kind_ == "multiclass":
            self.coef_, self.intercept_ = solved[0]
        else:
            self.coef_ = np.stack([coef[1] - coef[0] for coef, _ in solved])
            self.intercept_ = np.stack([bias[1] - bias[0] for _, bias in solved])

    def _scores_of(self, moments: ClassMoments) -> tuple[Array, Array]:
        """Return coefficients [classes, features] and intercepts of one set of classes."""
        seen = moments.weights > 0
        # About the middle of the classes, so that features far from 0 lose no digits.
        middle = moments.means[seen].mean(0)
        means = np.where(seen[:, None], moments.means - middle, 0.0)
        coef = means
        if self.iid:
            coef = inverse_times(self._shrunk(moments), means.T).T
        bias = -0.5 * (coef * means).sum(1) - coef @ middle
        if self.priors == "empirical":
            bias = bias + np.log(moments.weights / moments.weights.sum(), where=seen, out=bias * 0)
        # Below any other class, and finite: two classes' difference has to stay a number.
        return np.asarray(coef), np.where(seen, bias, -1e12)

    def _shrunk(self, moments: ClassMoments) -> Array:
        covariance = moments.covariance()
        d = len(covariance)
        scale = np.trace(covariance) / d
        share = self.shrinkage
        if isinstance(share, str):
            share = _oas_share(covariance, float(moments.weights.sum()))
        return np.asarray((1 - share) * covariance + share * scale * np.eye(d))

    def _check_options(self) -> None:
        one_of("priors", self.priors, PRIORS)
        share: Any = self.shrinkage
        if isinstance(share, str):
            good = share == "oas"
        else:
            numeric = isinstance(share, (int, float, np.integer, np.floating))
            good = numeric and not isinstance(share, bool) and bool(0 <= share <= 1)
        if not good:
            hint = nearest(share, ["oas"]) if isinstance(share, str) else ""
            raise ProbeError(
                f"shrinkage must be a share from 0 to 1, or 'oas', not {share!r}{hint}"
            )

    def directions(self) -> Array:
        """Return the directions that the probe reads, [outputs, features], not normalised.

        Without ``iid`` those of two classes are the difference of means itself, which the paper
        adds to and takes from hidden states.
        """
        check_is_fitted(self)
        return self.coef_


def _oas_share(covariance: Array, n: float) -> float:
    """Return the oracle approximating shrinkage of n Gaussian rows (Chen et al. 2010, eq. 23)."""
    d = len(covariance)
    squares, mean = float((covariance**2).mean()), float(np.trace(covariance) / d)
    below = (n + 1) * (squares - mean**2 / d)
    return 1.0 if below == 0 else min((squares + mean**2) / below, 1.0)
