"""Scores that follow from ranks: AUC and Spearman's correlation, under weights of groups.

Like the parts in `probes.judging.sums`, each maps weights [groups, resamples] to scores
[resamples]; the cost is rows times resamples, as sorting is done once.
"""

from __future__ import annotations

import numpy as np

from probes.judging.reading import Array, Outcome
from probes.judging.sums import Floats, ratio, summed


class Auc:
    """Area under the ROC curve, macro average of one class against the rest.

    Of two classes it is the area of the second. Classes that have no row, or all rows, of a
    resample are left out of the average; with none left it is NaN.
    """

    def __init__(self, outcome: Outcome, groups: Array, n_groups: int) -> None:
        """Sort the rows by each class's probability."""
        assert outcome.proba is not None
        labels = outcome.kind == "multilabel"
        second_only = not labels and len(outcome.columns) == 2 and len(outcome.classes) == 2
        columns = [1] if second_only else range(len(outcome.columns))
        self._areas = []
        for column in columns:
            code = outcome.columns[column]
            positive = outcome.true[:, code] > 0 if labels else outcome.true == code
            if 0 < positive.sum() < len(positive):
                score = outcome.proba[:, column]
                self._areas.append(Area(score, positive, groups, n_groups))
        self.cost = outcome.n_rows * max(1, len(self._areas))

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return scores [resamples]."""
        if not self._areas:
            return {"auc": np.full(weights.shape[1], np.nan)}
        areas = np.stack([area(weights) for area in self._areas])
        defined = ~np.isnan(areas)
        return {"auc": ratio(np.where(defined, areas, 0).sum(0), defined.sum(0))}


class Area:
    """How often a positive row has a higher score than a negative one; ties count half."""

    def __init__(self, score: Array, positive: Array, groups: Array, n_groups: int) -> None:
        """Place every negative row between the distinct scores of the positive ones.

        Args:
            score: [rows].
            positive: [rows] of bool.
            groups: [rows] codes.
            n_groups: How many there are.
        """
        levels, slot = np.unique(score[positive], return_inverse=True)
        self._positive = summed(slot, groups[positive], (len(levels), n_groups))
        others, where = score[~positive], groups[~positive]
        # A tie counts half at its own level and in full above it.
        sides = [np.searchsorted(levels, others, side) for side in ("left", "right")]
        self._negative = summed(
            np.concatenate(sides),
            np.concatenate([where, where]),
            (len(levels) + 1, n_groups),
            np.full(2 * len(others), 0.5),
        )

    def __call__(self, weights: Floats) -> Floats:
        """Return areas [resamples]; NaN where one side has no row."""
        positive, negative = self._positive @ weights, self._negative @ weights
        below = np.cumsum(negative, 0)
        wins = np.einsum("lr,lr->r", positive, below[:-1])
        return ratio(wins, positive.sum(0) * below[-1])


class Spearman:
    """Correlation of ranks, ties sharing their mean rank, averaged over outputs."""

    def __init__(self, outcome: Outcome, groups: Array, n_groups: int) -> None:
        """Sort the rows by what is true and by what was predicted."""
        self._groups = groups
        self._outputs = []
        for true, said in zip(outcome.true.T, outcome.predicted.T, strict=True):
            sides = []
            for values in (true, said):
                levels, slot = np.unique(values, return_inverse=True)
                sides.append((slot, summed(slot, groups, (len(levels), n_groups))))
            self._outputs.append(sides)
        self.cost = 4 * outcome.n_rows * len(self._outputs)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return scores [resamples]."""
        rows = weights[self._groups]
        n = rows.sum(0)
        found = []
        for sides in self._outputs:
            ranks, spreads = [], []
            for slot, table in sides:
                count = table @ weights
                centred = np.cumsum(count, 0) - (count + n) / 2
                spreads.append((count * centred**2).sum(0))
                ranks.append(centred[slot])
            shared = np.einsum("ir,ir,ir->r", rows, *ranks)
            found.append(ratio(shared, np.sqrt(spreads[0] * spreads[1])))
        return {"spearman": np.mean(found, 0)}
