"""Which rows a sweep trains on, validates on and tests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neoscope.errors import ProbeError
from probes.data.dataset import ProbeData
from probes.data.splits import check_leak
from probes.sweeping.judged import Parts


def read_parts(
    data: ProbeData, cv: int | Sequence[tuple[Any, Any]], test_size: float, seed: int
) -> Parts:
    """Split rows by group: a test part, and folds of the rest.

    Args:
        data: Whose rows.
        cv: How many folds; or pairs of rows to fit on and to validate on, whose rows are then the
            development part and all others the test part.
        test_size: Share of the rows in the test part.
        seed: Another seed gives another split.

    Raises:
        ProbeError: Too few groups or classes, or a group on both sides.
    """
    if isinstance(cv, int):
        if cv < 2:
            raise ProbeError(f"cv={cv} folds; expected at least 2")
        development, test = data.split(test_size, seed)
        folds = data.folds(cv, seed, development)
    else:
        folds = [(np.asarray(train), np.asarray(valid)) for train, valid in cv]
        if not folds:
            raise ProbeError("cv holds no folds")
        inside = np.zeros(data.n_rows, bool)
        for number, (train, valid) in enumerate(folds):
            try:
                check_leak(data.groups[train], data.groups[valid])
                inside[train] = inside[valid] = True
            except IndexError as error:
                raise ProbeError(f"fold {number} of cv: {error}") from None
        development, test = np.flatnonzero(inside), np.flatnonzero(~inside)
        if not len(test):
            raise ProbeError(
                "the folds of cv hold all rows: leave some out of them, to be tested on"
            )
        check_leak(data.groups[development], data.groups[test])
    tested = len(np.unique(data.groups[test]))
    if tested < 2:
        raise ProbeError(
            f"only {len(test)} of {data.n_rows} rows, in {tested} group{'s' * (tested != 1)}, "
            "can be tested on: most classes have one group only, and those are trained on; give "
            "more rows a class, or leave rare classes out"
        )
    place = np.full(data.n_rows, -1)
    place[development] = np.arange(len(development))
    return Parts(development, test, [(place[train], place[valid]) for train, valid in folds])


def untested_classes(data: ProbeData, parts: Parts) -> list[str]:
    """Return the classes of which no row is tested on, because they have too few groups."""
    if data.kind in ("regression", "multilabel"):
        return []
    return [str(one) for one in np.setdiff1d(data.y, data.y[parts.test])]
