"""Splitting: the splits of some data by its groups, that every training part can be learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.data.columns import Rows
from probes.data.picking import pick_rows
from probes.data.splits import group_folds, group_split


class Splitting:
    """Mixed into ProbeData."""

    if TYPE_CHECKING:
        y: NDArray[Any]
        kind: str
        groups: NDArray[np.int64]

    def split(self, test_size: float = 0.2, seed: int = 0) -> tuple[Rows, Rows]:
        """Return the rows to train and to test on: a group is on one side, classes on both.

        Args:
            test_size: Share of the rows to test on.
            seed: Another seed gives another split.

        Raises:
            ProbeError: Fewer than 2 groups, or one class only in all or in the training part.
        """
        train, test = group_split(
            self.groups,
            self.y,
            test_size=test_size,
            seed=seed,
            regression=self.kind == "regression",
        )
        self._check_trainable(train, "the training part")
        return train, test

    def folds(self, n: int = 5, seed: int = 0, rows: Any = None) -> list[tuple[Rows, Rows]]:
        """Return the training and validation rows of each fold, by group.

        Args:
            n: How many folds.
            seed: Another seed gives other folds.
            rows: Numbers, a slice or a mask of the rows to be folded; None for all.

        Raises:
            ProbeError: Fewer groups than folds, or one class only in all or in a training part.
        """
        inside = pick_rows(rows, len(self.y))
        folds = group_folds(
            self.groups[inside],
            self.y[inside],
            n,
            seed=seed,
            regression=self.kind == "regression",
        )
        for number, (train, _) in enumerate(folds):
            self._check_trainable(inside[train], f"the training part of fold {number}")
        return [(inside[train], inside[valid]) for train, valid in folds]

    def _check_trainable(self, rows: Rows, what: str) -> None:
        if self.kind in ("binary", "multiclass") and (self.y[rows] == self.y[rows[0]]).all():
            lost = next((c for c in np.unique(self.y) if c != self.y[rows[0]]), None)
            if lost is None:
                raise ProbeError(
                    f"all {len(self.y)} rows are of class {self.y[rows[0]]!s:.40}: a probe needs "
                    "at least 2 classes"
                )
            n = len(np.unique(self.groups[self.y == lost]))
            raise ProbeError(
                f"{what} would hold class {self.y[rows[0]]!s} alone: class {lost!s} stands in "
                f"{n} group{'s' * (n != 1)}, too few to be on both sides"
            )
