"""Judgement: scores with their intervals; and what a probe must beat that sees no features."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ProbeError
from probes.data.labels import read_groups, read_labels
from probes.judging.bootstrap import Interval, bootstrap_scores
from probes.judging.fitting import Said, fit_and_say, read_features
from probes.judging.metrics import scores
from probes.judging.permutation import permuted_labels
from probes.judging.record import recorded
from probes.keeping.results import SavedResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judgement(SavedResult):
    """How good predictions are on rows that were not trained on."""

    scores: dict[str, float]
    """By name, see `probes.judging.metrics.scores`."""
    intervals: dict[str, Interval]
    """Bootstrap intervals over groups, by the same names."""
    n_rows: int
    n_groups: int

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a score: ``score``, ``value``, and ``low`` and ``high`` of its interval."""
        import pandas as pd

        rows = []
        for name, value in self.scores.items():
            interval = self.intervals[name]
            rows.append({"score": name, "value": value, "low": interval.low, "high": interval.high})
        return pd.DataFrame(rows)

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded(asdict(self))


def judge(
    y: Any,
    predicted: Any,
    proba: Any = None,
    groups: Any = None,
    *,
    classes: Any = None,
    kind: str | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Judgement:
    """Return scores and intervals. Arguments as `probes.judging.bootstrap.bootstrap_scores`."""
    y = np.asarray(y)
    return Judgement(
        scores(y, predicted, proba, classes, kind=kind),
        bootstrap_scores(
            y,
            predicted,
            proba,
            groups,
            classes=classes,
            kind=kind,
            n_bootstrap=n_bootstrap,
            seed=seed,
            confidence=confidence,
        ),
        len(y),
        len(read_groups(groups, len(y))[1]),
    )


def majority(
    y_train: Any, y_test: Any, groups: Any = None, *, kind: str | None = None, **options: Any
) -> Judgement:
    """Judge the constant predictor: the commonest class, with the training rows' frequencies.

    Of several labels each label's own; of numbers the mean. Of equally common classes the first.

    Args:
        y_train: Labels of the training rows.
        y_test: Labels of the test rows.
        groups: [test rows]; None: each row by itself.
        kind: Kind of label; None to go by the training rows' labels.
        **options: ``n_bootstrap``, ``seed``, ``confidence`` of `judge`.
    """
    y_train, kind = read_labels(y_train, kind, varied=False)
    y_test, _ = read_labels(y_test, kind, varied=False)
    return _judged(_constant(y_train, len(y_test), kind), y_test, groups, kind, options)


def shuffled(
    probe: Any,
    X_train: Any,
    y_train: Any,
    X_test: Any,
    y_test: Any,
    groups_train: Any = None,
    groups_test: Any = None,
    *,
    seed: int = 0,
    kind: str | None = None,
    **options: Any,
) -> Judgement:
    """Judge a probe that was trained on permuted labels and is tested on true ones.

    Args:
        probe: Any estimator; it is cloned.
        X_train: [rows, features].
        y_train: [rows], permuted as `probes.judging.permutation.permuted_labels` does.
        X_test: [test rows, features].
        y_test: [test rows].
        groups_train: [rows], or None.
        groups_test: [test rows], or None.
        seed: Of the permutation and the resamples.
        kind: Kind of label; None to go by the training rows' labels.
        **options: ``n_bootstrap``, ``confidence`` of `judge`.
    """
    y_train, kind = read_labels(y_train, kind, varied=False)
    y_test, _ = read_labels(y_test, kind, varied=False)
    features = read_features(X_train, len(y_train)), read_features(X_test, len(y_test))
    permuted, _ = permuted_labels(y_train, groups_train, seed)
    said = fit_and_say(probe, features[0], permuted, features[1], kind)
    return _judged(said, y_test, groups_test, kind, {"seed": seed, **options})


def _judged(said: Said, y: Any, groups: Any, kind: str, options: dict[str, Any]) -> Judgement:
    unknown = set(options) - {"n_bootstrap", "seed", "confidence"}
    if unknown:
        raise ProbeError(
            f"unknown options {sorted(unknown)}; expected n_bootstrap, seed, confidence"
        )
    # Test rows may hold more classes than training rows did, or one only.
    kind = "multiclass" if kind == "binary" else kind
    return judge(y, said.predicted, said.proba, groups, classes=said.classes, kind=kind, **options)


def _constant(y: Any, rows: int, kind: str) -> Said:
    if kind == "regression":
        return Said(np.repeat(y.mean(0, keepdims=True), rows, 0), None, None)
    if kind == "multilabel":
        rates = y.mean(0, keepdims=True)
        return Said(
            np.repeat(rates > 0.5, rows, 0).astype(np.int64),
            np.repeat(rates, rows, 0),
            np.arange(y.shape[1]),
        )
    classes, counts = np.unique(y, return_counts=True)
    proba = np.repeat(counts[None] / len(y), rows, 0)
    return Said(np.repeat(classes[counts.argmax()], rows), proba, classes)
