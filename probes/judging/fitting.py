"""Fitting a probe anew and asking what it says, also where training rows hold one class only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone, is_regressor

from neoscope.errors import ProbeError
from probes.data.columns import as_array
from probes.data.labels import read_groups
from probes.estimating.grouped import fit_by_group
from probes.judging.reading import Array, distinct


@dataclass(frozen=True, eq=False)
class Said:
    """What a probe said of some rows."""

    predicted: Array
    proba: Array | None
    """[rows, classes], or [rows, labels]; None of a probe without probabilities."""
    classes: Array | None
    """What the columns are; None of a regression."""


def fit_and_say(
    probe: Any, X: Array, y: Array, asked: Array, kind: str, groups: Array | None = None
) -> Said:
    """Fit a copy of a probe from a cold start and return what it says of other rows.

    Where the training rows hold one class only, that class is predicted with probability 1; of
    several labels at once, those that never vary are predicted so and the others are fitted.

    Args:
        probe: Any estimator with scikit-learn's interface; it is not changed.
        X: [rows, features] to train on.
        y: [rows] or [rows, labels] to train on.
        asked: [other rows, features].
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``.
        groups: [rows] what a probe that holds rows out for itself must keep together, or None.

    Raises:
        ProbeError: Labels are classes, and the probe predicts numbers.
    """
    if kind == "regression":
        return Said(np.asarray(fit_by_group(clone(probe), X, y, groups).predict(asked)), None, None)
    if isinstance(probe, BaseEstimator) and is_regressor(probe):
        raise ProbeError(
            f"{type(probe).__name__} predicts numbers, and labels are {kind}: take a probe of "
            "classes, or say kind='regression' if labels are numbers"
        )
    if kind == "multilabel":
        return _say_labels(probe, X, y, asked, groups)
    classes = distinct(y)
    if len(classes) == 1:
        return Said(np.repeat(classes, len(asked)), np.ones((len(asked), 1)), classes)
    fitted = fit_by_group(clone(probe), X, y, groups)
    said = np.asarray(fitted.predict(asked))
    known = np.asarray(getattr(fitted, "classes_", classes))
    if not hasattr(fitted, "predict_proba"):
        return Said(said, None, known)
    return Said(said, np.asarray(fitted.predict_proba(asked)), known)


def _say_labels(probe: Any, X: Array, y: Array, asked: Array, groups: Array | None) -> Said:
    varying = np.flatnonzero(np.ptp(y, 0) > 0)
    proba = np.repeat(y[:1].astype(np.float64), len(asked), 0)
    said = np.repeat(y[:1].astype(np.int64), len(asked), 0)
    known = True
    if len(varying):
        single = len(varying) == 1
        given = y[:, varying[0]] if single else y[:, varying]
        fitted = fit_by_group(clone(probe), X, given, groups)
        said[:, varying] = np.asarray(fitted.predict(asked)).reshape(len(asked), -1)
        known = hasattr(fitted, "predict_proba")
        if known:
            found = fitted.predict_proba(asked)
            # Forests return one matrix [rows, 2] a label.
            p = (
                np.stack([np.asarray(one)[:, 1] for one in found], 1)
                if isinstance(found, list)
                else np.asarray(found)
            )
            proba[:, varying] = p[:, 1:] if single else p
    return Said(said, proba if known else None, np.arange(y.shape[1]))


def read_features(X: Any, rows: int) -> Array:
    """Return features as an array, still on disk if memory-mapped.

    Args:
        X: [rows, features].
        rows: How many labels there are.

    Raises:
        ProbeError: It is no matrix, or features and labels differ in number.
    """
    read = as_array(X)
    if read.ndim != 2:
        raise ProbeError(f"features of shape {read.shape}; expected [rows, features]")
    if len(read) != rows:
        raise ProbeError(f"{len(read)} rows of features for {rows} labels")
    return read


def blind_folds(groups: Any, rows: int, n: int, seed: int) -> list[tuple[Array, Array]]:
    """Return training and validation rows of each fold; no group is on both sides.

    Groups are shuffled, then each goes to the fold with the fewest rows, largest groups first.
    Labels are not looked at, so that folds stay the same when labels are permuted.

    Args:
        groups: [rows], or None: each row by itself.
        rows: How many rows there are.
        n: How many folds.
        seed: Of the shuffle.

    Raises:
        ProbeError: There are fewer groups than folds, or fewer than two folds.
    """
    codes, names = read_groups(groups, rows)
    count = len(names)
    if not 2 <= n <= count:
        s = "s" * (count != 1)
        raise ProbeError(f"{n} folds of {count} group{s}; expected 2 folds or more, a group each")
    shuffled = np.random.default_rng(seed).permutation(count)
    sizes = np.bincount(codes, minlength=count)[shuffled]
    fold_of = np.empty(count, np.int64)
    filled = np.zeros(n, np.int64)
    for place in np.argsort(-sizes, kind="stable"):
        fold = int(filled.argmin())
        fold_of[shuffled[place]] = fold
        filled[fold] += sizes[place]
    fold_of_row = fold_of[codes]
    return [(np.flatnonzero(fold_of_row != i), np.flatnonzero(fold_of_row == i)) for i in range(n)]
