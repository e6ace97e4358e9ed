"""Choosing how strongly a probe is regularised, on validation folds alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from probes.estimating.base import ClassifierProbe
from probes.estimating.grouped import fit_by_group
from probes.judging.metrics import oriented, scores
from probes.linear.joint import JointProbe

Array = NDArray[Any]
Folds = Sequence[tuple[Array, Array]]
_SCORED = 1e-3
"""Part of its minimum that the objective of a probe is within which is only scored."""
_COMPARED = 1e-2
"""The same of probes that are only compared with each other."""
_STEPS = 30
"""Newton steps that it is given; more would no longer change scores."""
_TOGETHER = 3
"""Strengths that are always tried, and fitted at once."""
NEED_PROBABILITIES = frozenset({"auc", "log_loss"})


@dataclass(frozen=True)
class Selected:
    """What validation said."""

    strength: float | None
    """The value chosen; None for a probe that has none to choose."""
    score: float
    """Mean over the folds, of the strength chosen."""
    by_fold: tuple[float, ...]
    curve: tuple[tuple[float, float], ...] = ()
    """Each strength with its mean score."""


def strengths_of(probe: Any, given: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the strengths that a sweep tries: those given, or the probe's own; () for none."""
    if not hasattr(probe, "strength_name"):
        return ()
    return tuple(float(one) for one in (probe.strengths if given is None else given))


def select(
    probe: Any,
    X: Array,
    y: Array,
    groups: Array,
    folds: Folds,
    kind: str,
    metric: str,
    strengths: Sequence[float],
) -> Selected:
    """Return the strength with the best mean validation score.

    Strengths are tried from the first on, the most strongly regularised, and no further where one
    is worse than the best so far by more than twice the standard error of their difference over
    the folds: what is regularised less costs most, and is chosen least. Of classes, equal scores
    are told apart by their log loss: what is right as often with a stronger penalty says so with
    less certainty.

    Args:
        probe: Not changed.
        X: [rows, features].
        y: Labels.
        groups: [rows] what a probe that holds rows out must keep together.
        folds: Rows to fit on and rows to be scored on.
        kind: Kind of label.
        metric: Name of a score.
        strengths: What to try; empty for none.
    """
    tables = np.array(_fold_scores(probe, X, y, groups, folds, kind, metric, strengths))
    tried = strengths[: tables.shape[1]]
    table, means = tables[..., 0], tables[..., 0].mean(0)
    best = _best(oriented(metric, means), -tables[..., 1].mean(0))
    curve = tuple(zip(map(float, tried), means.tolist(), strict=True)) if tried else ()
    return Selected(
        float(strengths[best]) if len(strengths) else None,
        float(means[best]),
        tuple(table[:, best].tolist()),
        curve,
    )


def _best(means: Array, likelihood: Array) -> int:
    """Return where the best mean is; of equal ones the likeliest, then the first."""
    if np.isnan(means).all():
        return 0
    equal = np.flatnonzero(means >= np.nanmax(means) - 1e-12)
    return int(equal[np.argmax(likelihood[equal])])


def with_strength(probe: Any, strength: float | None) -> Any:
    """Return an unfitted copy of a probe, with its strength set."""
    copy = clone(probe)
    if "progress" in copy.get_params():
        copy.set_params(progress=False)  # the sweep has a bar of its own
    return copy if strength is None else copy.set_params(**{probe.strength_name: strength})


def loosen(probe: Any) -> None:
    """Let a probe that is only scored stop where scores no longer change."""
    if isinstance(probe, JointProbe):
        _set_looser(probe, _SCORED)


def _set_looser(probe: Any, tol: float) -> None:
    known = probe.get_params()
    if "tol" in known:
        probe.set_params(tol=max(known["tol"], tol), max_iter=min(known["max_iter"], _STEPS))


def _score(
    said: Array, proba: Any, classes: Any, y: Array, kind: str, metric: str
) -> tuple[float, float]:
    """Return the score, and the log loss in nats (0 without probabilities)."""
    known = proba if metric in NEED_PROBABILITIES else None
    found = scores(y, said, known, classes, kind=kind)[metric]
    return found, 0.0 if proba is None else _log_loss(y, proba, classes, kind)


def _log_loss(y: Array, proba: Array, classes: Array, kind: str) -> float:
    if kind == "multilabel":
        chosen = np.where(y > 0, proba, 1 - proba)
    else:
        place = np.searchsorted(classes, y).clip(0, len(classes) - 1)
        chosen = np.where(classes[place] == y, proba[np.arange(len(y)), place], 0.0)
    return float(-np.log(chosen.clip(1e-12)).mean())


def _fold_scores(
    probe: Any,
    X: Array,
    y: Array,
    groups: Array,
    folds: Folds,
    kind: str,
    metric: str,
    strengths: Sequence[float],
) -> list[list[tuple[float, float]]]:
    """Scores and log losses, folds x strengths x 2."""
    if isinstance(probe, JointProbe) and len(strengths):
        return _joint_scores(probe, X, y, folds, kind, metric, strengths)
    table = []
    for train, valid in folds:
        row = []
        for strength in strengths or (None,):
            fitted = with_strength(probe, strength)
            fit_by_group(fitted, X[train], y[train], groups[train])
            asks = kind != "regression" and hasattr(fitted, "predict_proba")
            proba = fitted.predict_proba(X[valid]) if asks else None
            classes = getattr(fitted, "classes_", None)
            row.append(_score(fitted.predict(X[valid]), proba, classes, y[valid], kind, metric))
        table.append(row)
    return table


def _joint_scores(
    probe: Any, X: Array, y: Array, folds: Folds, kind: str, metric: str, strengths: Sequence[float]
) -> list[list[tuple[float, float]]]:
    shell = clone(probe)
    _set_looser(shell, _COMPARED)
    ready = shell.prepare_folds(X, y, [train for train, _ in folds])
    table: list[list[tuple[float, float]]] = [[] for _ in folds]
    for start, stop in _stages(len(strengths)):
        joint = ready.fit(strengths[start:stop])
        for number, (_, valid) in enumerate(folds):
            for logits in joint.scores(number, X[valid]):
                table[number].append(_said(shell, logits, y[valid], kind, metric))
        if _declines(oriented(metric, np.array(table)[..., 0])):
            break
    return table


def _stages(n: int) -> list[tuple[int, int]]:
    """The first strengths together, the others one by one."""
    first = min(_TOGETHER, n)
    return [(0, first), *((at, at + 1) for at in range(first, n))]


def _declines(scores_by_fold: Array) -> bool:
    """Whether the last strength is clearly worse than the best."""
    means = scores_by_fold.mean(0)
    lost = scores_by_fold[:, _best(means, np.zeros_like(means))] - scores_by_fold[:, -1]
    error = lost.std(ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else 0.0
    return bool(lost.mean() > 2 * error)


def _said(shell: Any, logits: Array, truth: Array, kind: str, metric: str) -> tuple[float, float]:
    if not isinstance(shell, ClassifierProbe):
        return _score(logits.reshape(truth.shape), None, None, truth, kind, metric)
    said, proba = shell._labels_of(logits), shell._proba_of(logits)
    return _score(said, proba, shell.classes_, truth, kind, metric)
