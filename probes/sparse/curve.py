"""sparse_curve: how well a class is read from the best 1, 2, 4, ... neurons, on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import f1_score, precision_recall_fscore_support

from neoscope.errors import ProbeError
from probes.data.splits import group_split
from probes.estimating.arguments import whole_number
from probes.keeping.results import SavedResult
from probes.sparse.neurons import SparseProbe

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True, repr=False)
class SparseCurve(SavedResult):
    """F1 on held-out rows against the number of neurons read."""

    ks: tuple[int, ...]
    """Numbers of neurons."""
    f1: tuple[float, ...]
    """Of the second of two classes; otherwise the mean over classes or labels."""
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    selected: tuple[tuple[int, ...], ...]
    """The neurons read at each k, the best first, chosen on the training rows."""
    f1_all_positive: float
    """F1 of calling every row the second class or the commonest class: the floor."""
    n_train: int
    """Rows trained on."""
    n_test: int
    """Rows that the figures are of."""

    def __repr__(self) -> str:
        """Return one line: the first and the last number of neurons."""
        shown = dict.fromkeys((0, len(self.ks) - 1))
        said = " to ".join(f"{self.f1[at]:.3f} of {self.ks[at]}" for at in shown)
        return (
            f"SparseCurve(f1 {said} neurons, {self.f1_all_positive:.3f} of none; {self.n_train:,} "
            f"rows to train on, {self.n_test:,} to test on)"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a k."""
        import pandas as pd

        columns = ("k", "f1", "precision", "recall", "selected")
        rows = zip(self.ks, self.f1, self.precision, self.recall, self.selected, strict=True)
        return pd.DataFrame(list(rows), columns=list(columns))


def sparse_curve(
    X: Any,
    y: Any,
    ks: Sequence[int] = (1, 2, 4, 8, 16, 32),
    *,
    probe: SparseProbe | None = None,
    groups: Any = None,
    test_size: float = 0.2,
    seed: int = 0,
) -> SparseCurve:
    """Fit sparse probes of rising k and judge each on rows that chose nothing.

    Args:
        X: [rows, features], such as the neurons (site ``post``) of one layer.
        y: Labels [rows], or [rows, labels] of 0 and 1.
        ks: Numbers of neurons, each at most the number of features.
        probe: A `SparseProbe` with the settings to use; its own k is not used.
        groups: [rows], what must not stand on both sides of the split, such as sentences; None
            takes each row by itself.
        test_size: Share of the rows held out.
        seed: Of the split.

    Raises:
        ProbeError: Nothing in ks, X and y of different lengths, or what `SparseProbe` and the
            split refuse.
    """
    X, y = np.asarray(X), np.asarray(y)
    if len(X) != len(y):
        raise ProbeError(f"X has {len(X)} rows, but y has {len(y)}")
    if not len(ks):
        raise ProbeError("ks holds no number of neurons")
    sizes = [whole_number("a number in ks", k) for k in ks]
    rows = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    train, test = group_split(rows, y, test_size=test_size, seed=seed)
    base = SparseProbe() if probe is None else probe
    figures, selected = [], []
    for k in sizes:
        fitted = clone(base).set_params(k=k).fit(X[train], y[train])
        options = _averaging(fitted)
        predicted = fitted.predict(X[test])
        figures.append(precision_recall_fscore_support(y[test], predicted, **options)[:3])
        selected.append(tuple(fitted.selected_.tolist()))
    precision, recall, f1 = ([float(x) for x in column] for column in zip(*figures, strict=True))
    return SparseCurve(
        ks=tuple(sizes),
        f1=tuple(f1),
        precision=tuple(precision),
        recall=tuple(recall),
        selected=tuple(selected),
        f1_all_positive=float(f1_score(y[test], _constant(fitted, y[train], len(test)), **options)),
        n_train=len(train),
        n_test=len(test),
    )


def _averaging(probe: SparseProbe) -> dict[str, Any]:
    if probe.target_kind_ == "binary":
        return {"average": "binary", "pos_label": probe.classes_[1], "zero_division": 0.0}
    return {"average": "macro", "zero_division": 0.0}


def _constant(probe: SparseProbe, y: Array, n_rows: int) -> Array:
    if probe.target_kind_ == "multilabel":
        return np.ones((n_rows, y.shape[1]), int)
    classes, counts = np.unique(y, return_counts=True)
    answer = classes[1] if probe.target_kind_ == "binary" else classes[counts.argmax()]
    return np.full(n_rows, answer)
