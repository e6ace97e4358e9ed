"""What all probes share: scikit-learn's interface, class scores, cards, files and torch modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from neoscope.errors import ProbeError
from probes.keeping.card import ProbeCard
from probes.linear.joint import class_weights

if TYPE_CHECKING:
    from torch import nn

    from probes.applying.predicting import Applied

Array = NDArray[Any]


class Probe(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A scikit-learn estimator that remembers what it was trained on and can be kept on disk."""

    card_: ProbeCard | None
    """What it was trained on, where a sweep or a reader of data said so; None after another fit."""

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fitted probe: its numbers as safetensors, all else as a JSON card.

        Args:
            folder: Made if it is not there.

        Returns:
            Where it stands.

        Raises:
            ProbeError: The probe is not fitted, or something else stands in the folder.
        """
        from probes.keeping.saving import save

        return save(self, folder)

    def apply(self, data: Any, **options: Any) -> Applied:
        """Return what the probe says of data, after checking that they are its kind of data.

        Args:
            data: ProbeData.
            options: As :func:`probes.applying.predicting.apply` takes them.

        Raises:
            ProbeError: The features are of another model, site, layer, head or pooling.
        """
        from probes.applying.predicting import apply

        return apply(self, data, **options)

    def as_torch(self) -> nn.Module:
        """Return a module that maps ``[..., features]`` to scores, for use inside a forward.

        Of a classifier: ``[..., classes]`` logits (one of them where there are two classes);
        of a regressor the predicted values.
        """
        raise NotImplementedError

    def _read_features(self, X: Any) -> Array:
        """Check that the probe is fitted and X is like what it was fitted on."""
        check_is_fitted(self)
        read: Array = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return read


class ClassifierProbe(ClassifierMixin, Probe):  # type: ignore[misc]
    """A probe of classes: binary, multiclass, or several labels at once (a matrix of 0 and 1)."""

    classes_: Array
    """The classes in sorted order; of several labels their numbers."""
    target_kind_: str
    """``binary``, ``multiclass`` or ``multilabel``."""

    def _read_training(
        self, X: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> tuple[Array, Array, Array]:
        """Check what `fit` was given, and set ``classes_`` and ``target_kind_``.

        Returns:
            X [rows, features] in its own float type, targets [rows, outputs] of 0 and 1 (one
            output where there are two classes), and weights [rows] in float64.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], multi_output=True)
        self.card_ = None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        targets = self._read_targets(y)
        if class_weight is not None:
            given = (class_weight, self.classes_, self.target_kind_, targets)
            weights = class_weights(*given, weights[:, None])[:, 0]
        return X, targets, weights

    def _read_targets(self, y: Array) -> Array:
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            if not np.isin(y, (0, 1)).all():
                found = sorted(np.unique(y).tolist())[:5]
                raise ProbeError(f"several labels are a matrix of 0 and 1; y holds {found}")
            self.classes_, self.target_kind_ = np.arange(y.shape[1]), "multilabel"
            return np.asarray(y, np.float64)
        if y.ndim > 1 and y.shape[1] > 1:
            raise ProbeError(
                f"y has shape {y.shape}: give one label a row, or a matrix of 0 and 1 with one "
                "column a label"
            )
        if y.ndim > 1:
            from sklearn.utils.validation import column_or_1d

            y = column_or_1d(y, warn=True)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ProbeError(
                f"a probe needs samples of at least 2 classes; y holds one class: "
                f"{self.classes_[:1].tolist()}"
            )
        if len(self.classes_) == 2:
            self.target_kind_ = "binary"
            return codes[:, None].astype(np.float64)
        self.target_kind_ = "multiclass"
        return np.eye(len(self.classes_))[codes]

    def _scores(self, X: Array) -> Array:
        """Return logits, [rows, outputs], of features that were checked."""
        raise NotImplementedError

    def decision_function(self, X: Any) -> Array:
        """Return logits: [rows] of the second of two classes, otherwise [rows, classes]."""
        scores = self._scores(self._read_features(X))
        return scores[:, 0] if self.target_kind_ == "binary" else scores

    def predict(self, X: Any) -> Array:
        """Return the likeliest class of each row; of several labels a matrix of 0 and 1."""
        return self._labels_of(self._scores(self._read_features(X)))

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities, [rows, classes]; of several labels each label's own."""
        return self._proba_of(self._scores(self._read_features(X)))

    def _labels_of(self, scores: Array) -> Array:
        if self.target_kind_ == "multilabel":
            return (scores > 0).astype(int)
        if self.target_kind_ == "binary":
            return np.asarray(self.classes_[(scores[:, 0] > 0).astype(int)])
        return np.asarray(self.classes_[scores.argmax(1)])

    def _proba_of(self, scores: Array) -> Array:
        if self.target_kind_ == "multilabel":
            return np.asarray(expit(scores))
        if self.target_kind_ == "binary":
            return np.concatenate([expit(-scores), expit(scores)], 1)
        return np.asarray(softmax(scores, 1))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities, [rows, classes], in nats."""
        scores = self._scores(self._read_features(X))
        if self.target_kind_ == "multilabel":
            return -np.logaddexp(0, -scores)
        if self.target_kind_ == "binary":
            scores = np.concatenate([np.zeros_like(scores), scores], 1)
        return np.asarray(log_softmax(scores, 1))

    def __sklearn_tags__(self) -> Any:
        """Say that several labels at once are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class RegressorProbe(RegressorMixin, Probe):  # type: ignore[misc]
    """A probe of numbers, one or several a row."""

    def _read_training(
        self, X: Any, y: Any, sample_weight: Any = None, *, reset: bool = True
    ) -> tuple[Array, Array, Array]:
        """Check what `fit` was given; without ``reset``, that it is like what came before.

        Returns:
            X [rows, features] in its own float type, targets [rows] or [rows, outputs] and
            weights [rows] in float64.
        """
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        self.card_ = None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, np.asarray(y, np.float64), weights


class LinearClassifierProbe(ClassifierProbe):
    """A probe of classes whose logits are linear in the features."""

    coef_: Array
    """[outputs, features]: one output where there are two classes."""
    intercept_: Array
    """[outputs]."""

    def _scores(self, X: Array) -> Array:
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def directions(self) -> Array:
        """Return the directions that the probe reads, [outputs, features], not normalised."""
        check_is_fitted(self)
        return self.coef_

    def as_torch(self) -> nn.Module:
        """Return the probe as a linear layer in float32."""
        return linear_module(self.directions(), self.intercept_)


def linear_module(weight: Array, bias: Array) -> nn.Module:
    """Return a linear layer, float32 and without gradients of its own.

    Args:
        weight: [outputs, features].
        bias: [outputs].
    """
    import torch

    module = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        module.weight.copy_(torch.as_tensor(np.asarray(weight)))
        module.bias.copy_(torch.as_tensor(np.asarray(bias)))
    return module.requires_grad_(False)
