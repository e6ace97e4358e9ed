"""Learning curves, and how many rows a probe needs to be as good as it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ProbeError
from probes.data.labels import read_groups, read_labels
from probes.data.picking import pick_rows
from probes.data.splits import group_split
from probes.judging.baselines import judge
from probes.judging.bootstrap import Interval
from probes.judging.fitting import fit_and_say, read_features
from probes.judging.metrics import default_metric, oriented, read_metric
from probes.judging.reading import Array
from probes.judging.record import recorded
from probes.keeping.results import SavedResult
from probes.progress import Bar

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class LearningCurve(SavedResult):
    """A probe's test score by the number of rows that it was trained on."""

    sizes: tuple[int, ...]
    """Rows, rising; whole groups of them."""
    scores: tuple[float, ...]
    """On the same test rows each time."""
    intervals: tuple[Interval, ...]
    """Over groups of the test rows."""
    metric: str

    def __repr__(self) -> str:
        """Return one line: the first and the last point."""
        points = [f"{self.scores[k]:.3f} of {self.sizes[k]:,}" for k in (0, -1)]
        shown = " to ".join(points if len(self.sizes) > 1 else points[:1])
        s = "s" * (len(self.sizes) != 1)
        return f"LearningCurve({self.metric} {shown} rows, {len(self.sizes)} size{s})"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a size: ``size``, the score by its name, ``low`` and ``high``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "size": self.sizes,
                self.metric: self.scores,
                "low": [one.low for one in self.intervals],
                "high": [one.high for one in self.intervals],
            }
        )

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded(asdict(self))


@dataclass(frozen=True)
class SampleComplexity(SavedResult):
    """The smallest number of training rows that was enough."""

    size: int | None
    """None where no size was enough."""
    target: float
    """The score that was enough."""
    metric: str

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded(asdict(self))


def learning_curve(
    probe: Any,
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    test: Any = None,
    sizes: Sequence[int] | None = None,
    metric: str | None = None,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    kind: str | None = None,
    progress: bool = True,
) -> LearningCurve:
    """Train a probe from a cold start on more and more rows, and test each on the same others.

    Groups are shuffled once; each size takes whole groups from the front, so that the rows of one
    size are among those of the next.

    Args:
        probe: Any estimator with scikit-learn's interface.
        X: [rows, features].
        y: [rows] labels or numbers, or [rows, labels].
        groups: [rows] what is never divided; None: each row by itself.
        test: Numbers or a mask of the test rows; None holds out a fifth of the groups.
        sizes: Training rows wanted; each is rounded up to whole groups. None: ten of them, evenly
            on a logarithmic scale, up to all.
        metric: Name of a score, such as ``accuracy``, ``log_loss`` or ``r2``; None for accuracy, of
            several labels ``f1``, of numbers ``r2``.
        seed: Of the shuffle and the resamples.
        n_bootstrap: Resamples of the intervals.
        confidence: Of the intervals.
        kind: Kind of label; None to go by the labels.
        progress: Whether a bar is shown after two seconds.

    Raises:
        ProbeError: There is no such test row, a group is on both sides, nothing is left to train
            on, a size is not a number of training rows, or labels of that kind have no such metric.
    """
    y, kind = read_labels(y, kind, varied=False)
    metric = read_metric(default_metric(kind) if metric is None else metric, kind)
    X = read_features(X, len(y))
    codes, _ = read_groups(groups, len(y))
    train, test = _sides(codes, y, kind, test, seed)
    order, ends = _shuffled(codes, train, seed)
    wanted = _wanted(sizes, int(ends[0]), len(train))
    reached = np.unique(ends[np.searchsorted(ends, wanted)]).tolist()
    found, intervals = [], []
    # Few rows may hold fewer classes than all do.
    as_kind = "multiclass" if kind == "binary" else kind
    with Bar(progress, len(reached), "size") as bar:
        for size in reached:
            rows = order[:size]
            said = fit_and_say(probe, X[rows], y[rows], X[test], kind, codes[rows])
            judged = judge(
                y[test],
                said.predicted,
                said.proba,
                codes[test],
                classes=said.classes,
                kind=as_kind,
                n_bootstrap=n_bootstrap,
                seed=seed,
                confidence=confidence,
            )
            if metric not in judged.scores:
                raise ProbeError(f"{metric} needs a probe with predict_proba")
            found.append(judged.scores[metric])
            intervals.append(bar.after(judged.intervals[metric]))
    return LearningCurve(tuple(reached), tuple(found), tuple(intervals), metric)


def sample_complexity(
    curve: LearningCurve, tolerance: float = 0.02, *, target: float | None = None
) -> SampleComplexity:
    """Return the fewest training rows whose score is good enough.

    With a ``target`` this is the epsilon-sample complexity of Whitney et al. 2020
    (arXiv:2009.07368), epsilon being that loss; without one, "good enough" is relative to the
    curve's own best, so that two representations with different best scores cannot be compared.

    Args:
        curve: Of one probe.
        tolerance: How much worse than the best score of the curve is good enough.
        target: The score that is good enough, instead.

    Raises:
        ProbeError: The tolerance is negative, or no score of the curve is defined.
    """
    if tolerance < 0:
        raise ProbeError(f"tolerance={tolerance}; expected 0 or more")
    good = oriented(curve.metric, np.array(curve.scores, np.float64))
    if np.isnan(good).all():
        raise ProbeError(f"no {curve.metric} of the curve is defined")
    enough = np.nanmax(good) - tolerance if target is None else oriented(curve.metric, target)
    reached = np.flatnonzero(good >= enough - 1e-12)
    size = curve.sizes[int(reached[0])] if len(reached) else None
    return SampleComplexity(size, float(oriented(curve.metric, enough)), curve.metric)


def _sides(codes: Array, y: Array, kind: str, test: Any, seed: int) -> tuple[Array, Array]:
    if test is None:
        return group_split(codes, y, seed=seed, regression=kind == "regression")
    held = np.zeros(len(codes), bool)
    held[pick_rows(test, len(codes))] = True
    shared = np.intersect1d(codes[held], codes[~held])
    if len(shared):
        row = int(np.flatnonzero(held & (codes == shared[0]))[0])
        raise ProbeError(
            f"{len(shared)} group{'s are' if len(shared) > 1 else ' is'} on both sides; test row "
            f"{row} is of a group that is also trained on"
        )
    if held.all() or not held.any():
        raise ProbeError(f"{held.sum()} of {len(held)} rows are test rows; both sides need rows")
    return np.flatnonzero(~held), np.flatnonzero(held)


def _shuffled(codes: Array, train: Array, seed: int) -> tuple[Array, Array]:
    """Return training rows, groups shuffled and together, and where each group ends."""
    _, inner = np.unique(codes[train], return_inverse=True)
    rank = np.random.default_rng(seed).permutation(int(inner.max()) + 1)[inner]
    order = np.argsort(rank, kind="stable")
    return train[order], np.cumsum(np.bincount(rank))


def _wanted(sizes: Sequence[int] | None, smallest: int, rows: int) -> Array:
    if sizes is None:
        return np.geomspace(max(smallest, rows / 500), rows, 10).round().astype(np.int64)
    wanted = np.asarray(sizes)
    if not len(wanted) or wanted.dtype.kind not in "iu" or wanted.min() < 1 or wanted.max() > rows:
        raise ProbeError(f"sizes={list(sizes)}; expected numbers of rows from 1 to {rows}")
    return wanted
