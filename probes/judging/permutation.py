"""Permutation tests: how often a probe scores as well on labels that belong to other rows.

Labels that are the same within every group (a document's label) are permuted between groups, for
rows of a group are no independent draws; other labels are permuted between all rows. A test of rows
takes the rows of a group for exchangeable: where they resemble each other, prefer the interval of
selectivity, see `probes.judging.controls`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.data.labels import read_groups, read_labels
from probes.estimating.arguments import whole_number
from probes.judging.fitting import blind_folds, fit_and_say, read_features
from probes.judging.metrics import default_metric, oriented, read_metric, scores
from probes.judging.reading import Array
from probes.judging.record import recorded
from probes.keeping.results import SavedResult
from probes.progress import Bar

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class PermutationResult(SavedResult):
    """A score, and the scores of permuted labels."""

    score: float
    null: NDArray[np.float64]
    """[permutations]."""
    p_value: float
    """(1 + permutations at least as good) / (permutations + 1)."""
    metric: str
    unit: str
    """What was permuted: ``group`` or ``row``."""

    def __repr__(self) -> str:
        """Return one line, without the scores of permuted labels."""
        n = len(self.null)
        return (
            f"PermutationResult({self.metric} {self.score:.3f}, p={self.p_value:.3g} of {n} "
            f"permutation{'s' * (n != 1)} of {self.unit}s, their mean {self.null.mean():.3f})"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a permutation, with its score; the true labels' own comes first."""
        import pandas as pd

        scored = [self.score, *self.null.tolist()]
        return pd.DataFrame({"permuted": [False] + [True] * len(self.null), self.metric: scored})

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded({name: getattr(self, name) for name in self.__dataclass_fields__})


def permuted_labels(y: Any, groups: Any = None, seed: int = 0) -> tuple[Array, str]:
    """Return labels in another order, and whether groups or rows were permuted.

    Args:
        y: [rows] or [rows, labels].
        groups: [rows], or None: each row by itself.
        seed: Of the permutation.

    Returns:
        Labels like ``y``, and ``group`` if they are the same within every group, otherwise ``row``.
    """
    y = np.asarray(y)
    rng = np.random.default_rng(seed)
    codes, names = read_groups(groups, len(y))
    first = np.unique(codes, return_index=True)[1]
    if groups is not None and bool(np.all(y == y[first][codes])):
        return y[first][rng.permutation(len(names))][codes], "group"
    return y[rng.permutation(len(y))], "row"


def permutation_test(
    probe: Any,
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    n_permutations: int = 100,
    cv: int = 5,
    seed: int = 0,
    metric: str | None = None,
    kind: str | None = None,
    progress: bool = True,
) -> PermutationResult:
    """Compare a cross-validated score with those of permuted labels.

    The folds divide groups and are drawn without regard to labels, once, so that the test is exact
    where what is permuted is exchangeable. The predictions of all folds are scored together.

    Args:
        probe: Any estimator with scikit-learn's interface.
        X: [rows, features].
        y: [rows] labels or numbers, or [rows, labels] of 0 and 1.
        groups: [rows] what stays together in a fold; None: each row by itself.
        n_permutations: The smallest p-value is 1 / (n_permutations + 1).
        cv: Folds.
        seed: Of folds and permutations.
        metric: Name of a score, such as ``accuracy``, ``log_loss`` or ``r2``; None for accuracy, of
            several labels ``f1``, of numbers ``r2``.
        kind: Kind of label; None to go by the labels.
        progress: Whether a bar is shown after two seconds.

    Raises:
        ProbeError: There are fewer groups than folds, labels of that kind have no such metric, the
            metric needs probabilities and there are none, or it is not defined on these labels.
    """
    n = whole_number("n_permutations", n_permutations)
    y, kind = read_labels(y, kind, varied=False)
    metric = read_metric(default_metric(kind) if metric is None else metric, kind)
    X = read_features(X, len(y))
    folds = blind_folds(groups, len(y), cv, seed)
    codes = None if groups is None else read_groups(groups, len(y))[0]
    seeds = np.random.SeedSequence(seed).generate_state(n).tolist()
    with Bar(progress, n + 1, "permutation") as bar:
        score = bar.after(_cross_validated(probe, X, y, codes, folds, metric, kind))
        null, unit = [], "row"
        for one in seeds:
            permuted, unit = permuted_labels(y, groups, one)
            null.append(bar.after(_cross_validated(probe, X, permuted, codes, folds, metric, kind)))
    better = sum(oriented(metric, value) >= oriented(metric, score) - 1e-12 for value in null)
    return PermutationResult(score, np.array(null), float((1 + better) / (n + 1)), metric, unit)


def _cross_validated(
    probe: Any,
    X: Array,
    y: Array,
    groups: Array | None,
    folds: list[tuple[Array, Array]],
    metric: str,
    kind: str,
) -> float:
    classes = np.unique(y) if kind in ("binary", "multiclass") else None
    predicted, proba = y.copy(), None
    for train, valid in folds:
        said = fit_and_say(
            probe, X[train], y[train], X[valid], kind, None if groups is None else groups[train]
        )
        predicted[valid] = said.predicted
        if said.proba is not None:
            if proba is None:
                proba = np.zeros((len(y), y.shape[1] if classes is None else len(classes)))
            known = np.asarray(said.classes)
            columns = known if classes is None else np.searchsorted(classes, known)
            proba[valid[:, None], columns] = said.proba
    found = scores(y, predicted, proba, classes, kind=kind).get(metric, float("nan"))
    if np.isnan(found):
        raise ProbeError(
            f"{metric} is not defined here: it needs "
            + ("a probe with predict_proba" if proba is None else "labels that vary")
        )
    return found
