"""MLPProbe and MLPRegressorProbe: probes with one or two hidden layers.

A perceptron finds what a linear probe cannot, and it can also learn a task that the
representation does not hold: judge it beside a control task (Hewitt & Liang 2019, 1909.03368).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from probes.estimating.arguments import check_weighted_classes, checked_in_fit
from probes.estimating.base import ClassifierProbe, Probe, RegressorProbe
from probes.estimating.scaling import BLOCK_ROWS, blocks, mean_and_scale

if TYPE_CHECKING:
    from torch import nn

    from probes.mlp.fitting import FittedMLP

Array = NDArray[Any]


class _MLP(Probe):
    """What the classifier and the regressor share."""

    mean_: Array
    """Of each feature, [features]."""
    scale_: Array
    """Standard deviation of each feature, [features]."""
    coefs_: list[Array]
    """Weights of each layer, [inputs, outputs]."""
    intercepts_: list[Array]
    """Biases of each layer, [outputs]."""
    losses_: list[float]
    """After each epoch: of the held-out rows if there are any, otherwise of training."""
    n_epochs_: int
    """Epochs that were trained; the numbers kept are those of the epoch with the lowest loss."""
    stopped_: bool
    """Training ended because the loss no longer fell; False where the epochs ran out."""

    @checked_in_fit
    def __init__(
        self,
        hidden: tuple[int, ...] | int = (64,),
        *,
        weight_decay: float = 0.01,
        learning_rate: float = 1e-3,
        batch_size: int = 512,
        max_epochs: int = 200,
        patience: int = 10,
        tolerance: float = 1e-4,
        validation: float | str = "auto",
        seed: int = 0,
        device: str = "cpu",
        progress: bool = True,
    ) -> None:
        """Store the parameters; `fit` checks them.

        Args:
            hidden: Units of each hidden layer, of which there are one or two.
            weight_decay: AdamW's, of the matrices.
            learning_rate: AdamW's.
            batch_size: Rows a step.
            max_epochs: Passes over the rows; of few rows a pass has at least 20 steps.
            patience: Epochs without a lower loss after which training ends.
            tolerance: A loss (nats; of numbers the mean square of standardised errors) counts as
                lower when it is lower by this much.
            validation: Share of the rows held out to judge when to end, 0 for none, or ``auto``:
                a tenth from 1,000 rows on. Where `fit` is given groups they are held out whole.
            seed: Of the first weights, the held-out rows and the batches.
            device: To train on, such as ``cuda``.
            progress: Show a bar from two seconds on.
        """
        self.hidden = hidden
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.tolerance = tolerance
        self.validation = validation
        self.seed = seed
        self.device = device
        self.progress = progress

    def _keep(self, fitted: FittedMLP) -> None:
        self.mean_, self.scale_ = fitted.mean, fitted.scale
        self.coefs_, self.intercepts_ = fitted.coefs, fitted.intercepts
        self.losses_, self.n_epochs_ = fitted.losses, len(fitted.losses)
        self.stopped_ = fitted.stopped

    def _scores(self, X: Array) -> Array:
        parts = []
        for rows in blocks(len(X), BLOCK_ROWS):
            z = (X[rows] - self.mean_) / self.scale_
            for coef, intercept in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
                z = np.maximum(z @ coef + intercept, 0)
            parts.append(z @ self.coefs_[-1] + self.intercepts_[-1])
        return np.concatenate(parts)

    def as_torch(self) -> nn.Module:
        """Return the perceptron as a module in float32, without gradients of its own."""
        from probes.mlp.network import Network

        check_is_fitted(self)
        network = Network(self.mean_, self.scale_, self.coefs_, self.intercepts_)
        return network.float().requires_grad_(False)


class MLPProbe(_MLP, ClassifierProbe):
    """A multilayer perceptron for classes: binary, multiclass, or several labels at once.

    It minimises the mean cross-entropy with AdamW and keeps the weights of the best epoch. Up to
    ``batch_size`` rows are trained on together, in float64. The classes' names do not matter:
    naming them otherwise permutes the outputs.

    Example:
        >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
        >>> y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
        >>> probe = MLPProbe((16,), learning_rate=0.03, max_epochs=5).fit(X, y)
        >>> probe.score(X, y) > 0.9
        True
    """

    @checked_in_fit
    def __init__(
        self,
        hidden: tuple[int, ...] | int = (64,),
        *,
        class_weight: dict[Any, float] | str | None = None,
        weight_decay: float = 0.01,
        learning_rate: float = 1e-3,
        batch_size: int = 512,
        max_epochs: int = 200,
        patience: int = 10,
        tolerance: float = 1e-4,
        validation: float | str = "auto",
        seed: int = 0,
        device: str = "cpu",
        progress: bool = True,
    ) -> None:
        """Store the parameters, which are `MLPRegressorProbe`'s and one more; `fit` checks them.

        Args:
            hidden: Units of each hidden layer, of which there are one or two.
            class_weight: As scikit-learn's: weights by class, ``balanced`` or None.
            weight_decay: AdamW's, of the matrices.
            learning_rate: AdamW's.
            batch_size: Rows a step.
            max_epochs: Passes over the rows; of few rows a pass has at least 20 steps.
            patience: Epochs without a lower loss after which training ends.
            tolerance: A loss (nats) counts as lower when it is lower by this much.
            validation: Share of the rows held out to judge when to end.
            seed: Of the first weights, the held-out rows and the batches.
            device: To train on, such as ``cuda``.
            progress: Show a bar from two seconds on.
        """
        super().__init__(
            hidden,
            weight_decay=weight_decay,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            tolerance=tolerance,
            validation=validation,
            seed=seed,
            device=device,
            progress=progress,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> MLPProbe:
        """Train.

        Args:
            X: [rows, features].
            y: Labels [rows], or [rows, labels] of 0 and 1.
            sample_weight: [rows]; a row of weight 2 counts as two rows.
            groups: [rows]: what is held out together, such as the sentence of each word; None
                holds out rows by themselves.

        Raises:
            ProbeError: A parameter means nothing, there is one class only, or groups is not one a
                row.
        """
        from probes.mlp.fitting import MLPOptions, fit_mlp

        options = MLPOptions.read(self)
        X, targets, weights = self._read_training(X, y, sample_weight, self.class_weight)
        kind = self.target_kind_
        check_weighted_classes(targets, weights, self.classes_, kind)
        self._keep(fit_mlp(X, targets, weights, kind, options, groups))
        return self


class MLPRegressorProbe(_MLP, RegressorProbe):
    """A multilayer perceptron for numbers, one or several a row.

    It minimises the mean squared error of standardised targets, otherwise as `MLPProbe`.
    """

    one_target_: bool
    """y was [rows], not [rows, targets]."""

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> MLPRegressorProbe:
        """Train.

        Args:
            X: [rows, features].
            y: Numbers [rows] or [rows, targets].
            sample_weight: [rows]; a row of weight 2 counts as two rows.
            groups: [rows]: what is held out together, such as the sentence of each word; None
                holds out rows by themselves.

        Raises:
            ProbeError: A parameter means nothing, or groups is not one a row.
        """
        from probes.mlp.fitting import MLPOptions, fit_mlp

        options = MLPOptions.read(self)
        X, y, weights = self._read_training(X, y, sample_weight)
        self.one_target_ = y.ndim == 1
        targets = y.reshape(len(y), -1)
        mean, scale = mean_and_scale(targets, weights)
        targets = (targets - mean) / scale
        self._keep(fit_mlp(X, targets, weights, "regression", options, groups))
        # The scores are targets in their own units.
        self.coefs_[-1] = self.coefs_[-1] * scale
        self.intercepts_[-1] = self.intercepts_[-1] * scale + mean
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted numbers, [rows] or [rows, targets] as y was."""
        values = self._scores(self._read_features(X))
        return values[:, 0] if self.one_target_ else values

    def __sklearn_tags__(self) -> Any:
        """Say that several targets at once are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
