"""DepthProbe and DistanceProbe: is a tree embedded in a linear projection of the features?

The structural probes of Hewitt & Manning (2019, "A Structural Probe for Finding Syntax in Word
Representations"): under a projection B, squared lengths are depths of words in a dependency tree
and squared distances are numbers of edges between words. `probes.structural.trees` makes the
targets out of heads and `probes.structural.scores` judges by the paper's figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from neoscope.errors import ProbeError
from probes.estimating.arguments import checked_in_fit
from probes.estimating.base import Probe, RegressorProbe, linear_module
from probes.estimating.scaling import mean_and_scale

if TYPE_CHECKING:
    from torch import nn

    from probes.estimating.descent import Descent

Array = NDArray[Any]


class _Structural(Probe):
    """What both probes share: a projection, and the descent that finds it."""

    projection_: Array
    """B, [rank, features]."""
    losses_: list[float]
    """Mean absolute error (edges) after each epoch: of held-out groups if any, otherwise of
    training."""
    n_epochs_: int
    """Epochs that were trained; B is that of the epoch with the lowest loss."""
    stopped_: bool
    """Training ended because the loss no longer fell; False where the epochs ran out."""

    @checked_in_fit
    def __init__(
        self,
        rank: int = 64,
        *,
        learning_rate: float = 3e-3,
        batch_size: int | None = None,
        max_epochs: int = 200,
        patience: int = 5,
        tolerance: float = 1e-4,
        seed: int = 0,
        device: str = "cpu",
        progress: bool = True,
    ) -> None:
        """Store the parameters; `fit` checks them.

        Args:
            rank: Rows of B; more than there are features change nothing.
            learning_rate: AdamW's, at first.
            batch_size: Rows a step; of distances groups (sentences) a step. None for 512 rows or
                20 groups.
            max_epochs: Passes over the rows; of few rows a pass has at least 20 steps.
            patience: Epochs without a lower loss after which the learning rate drops.
            tolerance: A loss (edges) counts as lower when it is lower by this much.
            seed: Of the first projection, the groups held out and the batches.
            device: To train on, such as ``cuda``.
            progress: Show a bar from two seconds on.
        """
        self.rank = rank
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.tolerance = tolerance
        self.seed = seed
        self.device = device
        self.progress = progress

    def _keep(self, projection: Array, descent: Descent) -> None:
        self.projection_ = projection
        self.losses_, self.n_epochs_ = descent.losses, len(descent.losses)
        self.stopped_, self.card_ = descent.stopped, None


class DepthProbe(_Structural, RegressorProbe):
    """Depths of words in a tree as squared lengths under a projection: ``||B x||^2``.

    It minimises the mean absolute error, with AdamW and a learning rate that drops three times.

    Example:
        >>> probe = DepthProbe(3, learning_rate=0.03).fit(np.eye(3), [0.0, 1.0, 2.0])
        >>> bool(np.abs(probe.predict(np.eye(3)) - [0, 1, 2]).max() < 0.2)
        True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> DepthProbe:
        """Train.

        Args:
            X: [rows, features].
            y: Depths, [rows].
            sample_weight: [rows]; a row of weight 2 counts as two rows.
            groups: The sentence of each row: every sentence then counts the same, as in the
                paper, and sentences are held out whole. None counts every row the same.

        Raises:
            ProbeError: A parameter means nothing, or groups is not one a row.
        """
        from probes.structural.fitting import ROWS, StructuralOptions, fit_depth, rows_of_groups

        options = StructuralOptions.read(self, ROWS)
        X, y, weights = self._read_training(X, y, sample_weight)
        y = column_or_1d(y, warn=True)
        parts = rows_of_groups(groups if groups is not None else np.arange(len(X)), len(X))
        if groups is not None:
            for rows in parts:
                weights[rows] /= max(weights[rows].sum(), np.finfo(np.float64).tiny)
        mean, scale = mean_and_scale(X, weights)
        # Zero must stay where it is, so that features are not centred. An offset that all rows
        # share would drown the rest: along it they are divided by its size as well.
        offset = mean / scale
        size = float(np.linalg.norm(offset))
        along = offset / (size or 1.0)
        shrink = 1 - 1 / np.hypot(1, size)
        Z = np.asarray(X, np.float64) / scale
        Z -= shrink * (Z @ along)[:, None] * along
        B, descent = fit_depth(Z, y, weights, parts, options)
        self._keep((B - shrink * (B @ along)[:, None] * along) / scale, descent)
        return self

    def predict(self, X: Any) -> Array:
        """Return squared lengths under the projection, [rows], in edges."""
        X = self._read_features(X)
        return np.asarray(np.square(X @ self.projection_.T).sum(1))

    def as_torch(self) -> nn.Module:
        """Return a module of ``[..., features]`` to depths ``[..., 1]``, in float32."""
        from torch import nn

        from probes.structural.fitting import SquaredLength

        check_is_fitted(self)
        linear = linear_module(self.projection_, np.zeros(len(self.projection_)))
        return nn.Sequential(linear, SquaredLength())

    def __sklearn_tags__(self) -> Any:
        """Say that squared lengths cannot follow just any numbers."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class DistanceProbe(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Structural):  # type: ignore[misc]
    """Distances of words in a tree as squared distances under a projection: ``||B (x - x')||^2``.

    A metric is learned from targets: the distance wanted of two rows of one group is the L1
    distance of their rows of y. With y made by `probes.root_paths` that is the number of edges
    between two words. It minimises the mean absolute error over the pairs of a sentence,
    averaged over sentences, with AdamW and a learning rate that drops three times.

    Example:
        >>> from probes import root_paths
        >>> paths = root_paths([2, 0, 2])  # two words hang on the one between them
        >>> probe = DistanceProbe(3, learning_rate=0.03).fit(np.eye(3), paths)
        >>> probe.distances(np.eye(3))[0].round().tolist()
        [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> DistanceProbe:
        """Train.

        Args:
            X: [rows, features].
            y: [rows, targets], such as root paths, padded with zeros to one width; or [rows].
            groups: The sentence of each row; None compares all rows with each other.

        Raises:
            ProbeError: A parameter means nothing, or no group holds two rows.
        """
        from probes.structural.fitting import (
            GROUPS,
            StructuralOptions,
            fit_distance,
            rows_of_groups,
        )

        options = StructuralOptions.read(self, GROUPS)
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True
        )
        parts = rows_of_groups(groups, len(X))
        if max(map(len, parts)) < 2:
            raise ProbeError(
                f"distances are between rows of one group; found n_samples={len(X)} in "
                f"{len(parts)} group(s), none of two rows"
            )
        mean, scale = mean_and_scale(X, np.ones(len(X)))
        Z = (np.asarray(X, np.float64) - mean) / scale
        B, descent = fit_distance(Z, y.reshape(len(y), -1), parts, options)
        self._keep(B / scale, descent)
        return self

    def transform(self, X: Any) -> Array:
        """Return the projections, [rows, rank], whose squared distances are those predicted."""
        return np.asarray(self._read_features(X) @ self.projection_.T)

    def distances(self, X: Any, groups: Any = None) -> list[Array]:
        """Return the predicted distances, [rows, rows] in edges, within each group.

        Args:
            X: [rows, features].
            groups: The sentence of each row; None makes all rows one group.

        Returns:
            One matrix a group, the groups by their first row.

        Raises:
            ProbeError: groups is not one a row.
        """
        from probes.structural.fitting import rows_of_groups

        points = self.transform(X)
        found = []
        for rows in rows_of_groups(groups, len(points)):
            these = points[rows] - points[rows].mean(0)
            square = np.square(these).sum(1)
            found.append(np.maximum(square[:, None] + square - 2 * these @ these.T, 0))
        return found

    def as_torch(self) -> nn.Module:
        """Return the projection as a linear layer in float32."""
        check_is_fitted(self)
        return linear_module(self.projection_, np.zeros(len(self.projection_)))

    @property
    def _n_features_out(self) -> int:
        return len(self.projection_)

    def __sklearn_tags__(self) -> Any:
        """Say that there is nothing to learn without targets, one or several a row."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
