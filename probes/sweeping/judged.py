"""One matrix of features judged: strength chosen on folds, scores and intervals on test rows."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from probes.estimating.grouped import fit_by_group
from probes.judging.bootstrap import Interval, percentile_interval, resampled_scores
from probes.judging.metrics import scores
from probes.sweeping.selecting import Folds, Selected, loosen, select, with_strength

Array = NDArray[Any]


@dataclass(frozen=True)
class Parts:
    """Which rows are for what."""

    development: Array
    """Rows to choose and to train on."""
    test: Array
    """Rows that nothing was chosen by."""
    folds: Folds
    """Within ``development``: positions in it to fit on and to validate on."""

    def digest(self) -> str:
        """Return 32 hexadecimal digits that tell this division from any other."""
        found = hashlib.sha256()
        for rows in (self.development, self.test, *(part for fold in self.folds for part in fold)):
            found.update(f"{len(rows)} ".encode() + np.asarray(rows, np.int64).tobytes())
        return found.hexdigest()[:32]


@dataclass(frozen=True)
class Asked:
    """How every matrix is judged."""

    kind: str
    metric: str
    strengths: tuple[float, ...]
    n_bootstrap: int
    confidence: float
    seed: int
    kept: bool = True
    """Whether the probe is kept, and therefore fitted to its last digits."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What came of one matrix of features."""

    probe: Any
    """Fitted on all development rows, at the strength that was chosen."""
    selected: Selected
    scores: dict[str, float]
    """On the test rows."""
    intervals: dict[str, Interval]
    drawn: Mapping[str, NDArray[np.float64]] = field(repr=False)
    """Every score of every resample, for intervals of differences."""
    converged: bool


def judge(probe: Any, X: Array, y: Array, groups: Array, parts: Parts, asked: Asked) -> Judged:
    """Choose the strength, fit, and score on the test rows.

    Args:
        probe: Not changed.
        X: [rows, features], all rows.
        y: Labels of all rows.
        groups: [rows] codes.
        parts: Which rows are for what.
        asked: How to judge.
    """
    inside, outside = X[parts.development], X[parts.test]
    labels = y[parts.development]
    held_together = groups[parts.development]
    given_folds = (held_together, parts.folds, asked.kind, asked.metric, asked.strengths)
    chosen = select(probe, inside, labels, *given_folds)
    fitted = with_strength(probe, chosen.strength)
    if not asked.kept:
        loosen(fitted)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_by_group(fitted, inside, labels, held_together)
    converged = _passed_on(caught)
    if hasattr(fitted, "forget"):
        fitted.forget()
    truth = y[parts.test]
    said = fitted.predict(outside)
    proba = fitted.predict_proba(outside) if hasattr(fitted, "predict_proba") else None
    given: dict[str, Any] = {"classes": getattr(fitted, "classes_", None), "kind": asked.kind}
    drawn = resampled_scores(
        truth,
        said,
        proba,
        groups[parts.test],
        **given,
        n_bootstrap=asked.n_bootstrap,
        seed=asked.seed,
    )
    n_groups = len(np.unique(groups[parts.test]))
    intervals = {
        name: percentile_interval(values, n_groups, asked.confidence)
        for name, values in drawn.items()
    }
    found = scores(truth, said, proba, given["classes"], kind=asked.kind)
    return Judged(fitted, chosen, found, intervals, drawn, converged)


def _passed_on(caught: Sequence[warnings.WarningMessage]) -> bool:
    """Whether no fit failed to converge; other warnings are given again."""
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return converged
