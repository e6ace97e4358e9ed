"""Scores of predictions: those of scikit-learn, from parts that resampling can use again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neoscope.errors import ProbeError, nearest
from probes.data.labels import read_kind
from probes.judging.ranks import Auc, Spearman
from probes.judging.reading import Array, Outcome, read_outcome
from probes.judging.sums import ClassCounts, Floats, LabelCounts, LogLoss, Moments

Part = Callable[[Floats], dict[str, Floats]]
"""Maps weights [groups, resamples] to scores [resamples] by name."""

LOWER_IS_BETTER = frozenset({"log_loss", "mae"})
"""Scores of which a smaller one is better; of all others a larger one is."""
_NAMES = {
    "binary": ("accuracy", "balanced_accuracy", "f1", "log_loss", "auc"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "log_loss", "auc"),
    "multilabel": ("accuracy", "f1", "auc"),
    "regression": ("r2", "mae", "spearman"),
}


def metric_names(kind: str) -> tuple[str, ...]:
    """Return the names of the scores of one kind of label.

    Args:
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``.

    Raises:
        ProbeError: It is none of them.
    """
    return _NAMES[read_kind(kind)]


def read_metric(metric: str, kind: str) -> str:
    """Return a metric that labels of this kind have.

    Raises:
        ProbeError: They have no such metric.
    """
    names = metric_names(kind)
    if metric not in names:
        raise ProbeError(
            f"metric={metric!r} for {kind} labels; expected one of {', '.join(names)}"
            f"{nearest(metric, names)}"
        )
    return metric


def default_metric(kind: str) -> str:
    """Return what is meant where nobody says: accuracy, of several labels F1, of numbers R2.

    Args:
        kind: See `metric_names`.

    Raises:
        ProbeError: It is none of the kinds.
    """
    return {"multilabel": "f1", "regression": "r2"}.get(read_kind(kind), "accuracy")


def oriented(metric: str, value: Any) -> Any:
    """Return a score such that more is better: losses and errors change their sign.

    Args:
        metric: Name of a score.
        value: Number or array.
    """
    return -value if metric in LOWER_IS_BETTER else value


def scores(
    y: Any, predicted: Any, proba: Any = None, classes: Any = None, *, kind: str | None = None
) -> dict[str, float]:
    """Score predictions as scikit-learn does.

    A label that the probe was not trained on is wrong, and has probability epsilon. AUC is the
    macro average of one against the rest over the classes that some, but not all rows have.

    Args:
        y: What is true: labels [rows], or 0 and 1 [rows, labels], or numbers [rows] or
            [rows, outputs].
        predicted: What the probe said, of the same shape.
        proba: [rows, classes] probabilities, or None: then there is no ``auc`` and no ``log_loss``.
        classes: [classes] what the columns are, ``probe.classes_``; the sorted labels if None.
        kind: ``binary``, ``multiclass``, ``multilabel`` or ``regression``; None to go by ``y``.

    Returns:
        For classes ``accuracy``, ``balanced_accuracy`` (mean recall of the classes in ``y``),
        ``f1`` (macro), ``log_loss`` (nats) and ``auc``. For several labels ``accuracy`` (all labels
        of a row right), ``f1`` and ``auc`` (macro). For regression ``r2``, ``mae`` and
        ``spearman``, averaged over outputs. NaN where a score is not defined: AUC with one class,
        R2 and correlation of a constant (where scikit-learn says 0 or 1).

    Raises:
        ProbeError: Shapes do not fit, or a number is not finite.

    Example:
        >>> scores([0, 0, 1, 1], [0, 1, 1, 1])["accuracy"]
        0.75
    """
    outcome = read_outcome(y, predicted, proba, classes, kind)
    parts = parts_of(outcome, np.zeros(outcome.n_rows, np.int64), 1)
    once = np.ones((1, 1))
    return {name: float(value[0]) for part in parts for name, value in part(once).items()}


def parts_of(outcome: Outcome, groups: Array, n_groups: int) -> list[Part]:
    """Return what computes all scores of an outcome, for any weights of its groups.

    Args:
        outcome: What was true and what was said.
        groups: [rows] codes.
        n_groups: How many groups there are.
    """
    given = (outcome, groups, n_groups)
    if outcome.kind == "regression":
        return [Moments(*given), Spearman(*given)]
    if outcome.kind == "multilabel":
        return [LabelCounts(*given), *([] if outcome.proba is None else [Auc(*given)])]
    if outcome.proba is None:
        return [ClassCounts(*given)]
    return [ClassCounts(*given), LogLoss(*given), Auc(*given)]
