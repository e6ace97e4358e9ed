"""Scores that follow from sums over groups: a resample of groups is then one small matrix product.

Every part maps weights [groups, resamples], how often each group was drawn, to scores [resamples];
drawing each group once gives the plain score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from probes.judging.reading import Array, Outcome

Floats = NDArray[np.float64]


def ratio(top: Array, bottom: Array) -> Floats:
    """Return a quotient that is NaN where the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(bottom == 0, np.nan, top / bottom), np.float64)


def summed(slots: Array, groups: Array, shape: tuple[int, int], values: Array | None = None) -> Any:
    """Return a sparse matrix [slots, groups] that holds the sum of each slot's rows of each group.

    Args:
        slots: [rows] where a row is counted.
        groups: [rows] codes.
        shape: Numbers of slots and of groups.
        values: [rows] what is summed; ones if None.
    """
    values = np.ones(len(slots)) if values is None else values
    return sparse.csr_array((values, (slots, groups)), shape=shape)


class ClassCounts:
    """Accuracy, balanced accuracy and macro F1 from three counts a class."""

    def __init__(self, outcome: Outcome, groups: Array, n_groups: int) -> None:
        """Count each class in each group: right, true, predicted."""
        shape = (len(outcome.classes), n_groups)
        right = outcome.true == outcome.predicted
        self._right = summed(outcome.true[right], groups[right], shape)
        self._true = summed(outcome.true, groups, shape)
        self._said = summed(outcome.predicted, groups, shape)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return scores [resamples]."""
        right, true, said = (part @ weights for part in (self._right, self._true, self._said))
        recall = ratio(right, true)
        seen = true + said > 0
        f1 = np.where(seen, ratio(2 * right, true + said), 0.0).sum(0)
        return {
            "accuracy": ratio(right.sum(0), true.sum(0)),
            "balanced_accuracy": ratio(np.nansum(recall, 0), (true > 0).sum(0)),
            "f1": ratio(f1, seen.sum(0)),
        }


class LabelCounts:
    """Subset accuracy and macro F1 of several labels at once."""

    def __init__(self, outcome: Outcome, groups: Array, n_groups: int) -> None:
        """Count each label in each group: right, true, predicted."""

        def counted(which: Array) -> Any:
            rows, labels = np.nonzero(which)
            return summed(labels, groups[rows], (which.shape[1], n_groups))

        true, said = outcome.true > 0, outcome.predicted > 0
        self._right, self._all = counted(true & said), counted(true) + counted(said)
        exact = (true == said).all(1).astype(np.float64)
        self._exact = np.bincount(groups, exact, n_groups)
        self._rows = np.bincount(groups, minlength=n_groups)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return scores [resamples]."""
        right, both = self._right @ weights, self._all @ weights
        f1 = np.where(both > 0, ratio(2 * right, both), 0.0)
        return {
            "accuracy": ratio(self._exact @ weights, self._rows @ weights),
            "f1": f1.mean(0),
        }


class LogLoss:
    """Mean of minus the log of the probability of the true class, in nats.

    As in scikit-learn, probabilities are kept above their float type's epsilon; a class that has no
    column, for it was not seen in training, has that probability.
    """

    def __init__(self, outcome: Outcome, groups: Array, n_groups: int) -> None:
        """Sum losses by group."""
        assert outcome.proba is not None
        p = outcome.proba if outcome.proba.dtype.kind == "f" else outcome.proba.astype(np.float64)
        column = np.full(len(outcome.classes), -1)
        column[outcome.columns] = np.arange(len(outcome.columns))
        place = column[outcome.true]
        chosen = np.where(place >= 0, p[np.arange(len(p)), place], 0.0)
        eps = np.finfo(p.dtype).eps
        losses = -np.log(np.clip(chosen.astype(np.float64), eps, 1 - eps))
        self._losses = np.bincount(groups, losses, n_groups)
        self._rows = np.bincount(groups, minlength=n_groups)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return scores [resamples]."""
        return {"log_loss": ratio(self._losses @ weights, self._rows @ weights)}


class Moments:
    """R2 and mean absolute error, averaged over outputs."""

    def __init__(self, outcome: Outcome, groups: Array, n_groups: int) -> None:
        """Sum squares by group and output, of labels that are centred so that nothing cancels."""
        y = outcome.true - outcome.true.mean(0)
        error = outcome.true - outcome.predicted
        parts = [y, y**2, error**2, np.abs(error)]
        self._constant = np.ptp(outcome.true, 0) == 0
        self._sums = np.stack(
            [[np.bincount(groups, c, n_groups) for c in part.T] for part in parts]
        )
        self._rows = np.bincount(groups, minlength=n_groups)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return scores [resamples]."""
        n = self._rows @ weights
        first, second, squared, absolute = self._sums @ weights / n
        spread = second - first**2
        # A resample of one value has spread 0 but for rounding.
        spread[spread < 1e-12 * second] = 0
        spread[self._constant] = 0
        return {"r2": (1 - ratio(squared, spread)).mean(0), "mae": absolute.mean(0)}
