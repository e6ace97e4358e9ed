"""Bootstrap intervals of scores: groups are drawn with replacement, never rows of a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neoscope.errors import ProbeError
from probes.data.labels import read_groups
from probes.judging.metrics import parts_of
from probes.judging.reading import read_outcome
from probes.judging.record import recorded
from probes.judging.sums import Floats

_PIECE = 2**22
"""Numbers of one piece of groups (or rows) times resamples."""
_BUDGET = 10**9
"""Rows times classes times resamples that scores by rank may cost: about two seconds."""
_FEWEST = 200


@dataclass(frozen=True)
class Interval:
    """Percentile bootstrap interval of a score."""

    low: float
    """NaN where there is one group only: nothing varies from group to group then."""
    high: float
    confidence: float = 0.95
    """Share of the resampled scores inside."""
    n_groups: int = 0
    n_resamples: int = 0
    """Resamples in which the score was defined."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values; NaN becomes None."""
        return recorded(asdict(self))


def bootstrap_scores(
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
) -> dict[str, Interval]:
    """Return percentile bootstrap intervals over groups of all that `scores` returns.

    Args:
        y: See `probes.judging.metrics.scores`, as ``predicted``, ``proba``, ``classes``, ``kind``.
        predicted: What the probe said.
        proba: Probabilities, or None.
        groups: [rows] sentence, document or whatever varies as one; None: each row by itself.
        classes: What the columns of ``proba`` are.
        kind: Kind of label.
        n_bootstrap: Resamples. Of AUC and Spearman fewer, but at least 200, where rows times
            classes times resamples is more than 1e9; the interval says how many.
        seed: Of the draws: with the same groups the same draws, so that differences are paired.
        confidence: Share of the resampled scores inside.

    Raises:
        ProbeError: Shapes do not fit, or ``n_bootstrap`` or ``confidence`` means nothing.
    """
    drawn = resampled_scores(
        y, predicted, proba, groups, classes=classes, kind=kind, n_bootstrap=n_bootstrap, seed=seed
    )
    count = len(read_groups(groups, len(np.asarray(y)))[1])
    return {name: percentile_interval(values, count, confidence) for name, values in drawn.items()}


def resampled_scores(
    y: Any,
    predicted: Any,
    proba: Any = None,
    groups: Any = None,
    *,
    classes: Any = None,
    kind: str | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Floats]:
    """Return every score of every resample, [resamples] by name.

    The draws depend on the groups and the seed alone: subtract those of one probe from those of
    another, on the same rows, for the interval of a difference. Arguments as `bootstrap_scores`.
    """
    if n_bootstrap < 1:
        raise ProbeError(f"n_bootstrap={n_bootstrap} resamples; expected at least 1")
    outcome = read_outcome(y, predicted, proba, classes, kind)
    codes, names = read_groups(groups, outcome.n_rows)
    count = len(names)
    parts = parts_of(outcome, codes, count)
    limits = [min(n_bootstrap, max(_FEWEST, _BUDGET // getattr(part, "cost", 1))) for part in parts]
    found: dict[str, list[Floats]] = {}
    done = 0
    for weights in _draws(count, outcome.n_rows, n_bootstrap, seed):
        for part, limit in zip(parts, limits, strict=True):
            if done < limit:
                for name, values in part(weights[:, : limit - done]).items():
                    found.setdefault(name, []).append(values)
        done += weights.shape[1]
    return {name: np.concatenate(values) for name, values in found.items()}


def percentile_interval(values: Floats, n_groups: int, confidence: float = 0.95) -> Interval:
    """Return the interval of resampled scores; NaN with fewer than two groups.

    Args:
        values: [resamples]; NaN where a resample had no score.
        n_groups: How many groups were drawn from.
        confidence: Share of the values inside.

    Raises:
        ProbeError: ``confidence`` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ProbeError(f"confidence={confidence}; expected a share between 0 and 1")
    defined = values[~np.isnan(values)]
    if n_groups < 2 or not len(defined):
        return Interval(float("nan"), float("nan"), confidence, n_groups, 0)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), confidence, n_groups, len(defined))


def _draws(n_groups: int, n_rows: int, n: int, seed: int) -> Iterator[Floats]:
    """Yield how often each group was drawn, [groups, some resamples]."""
    rng = np.random.default_rng(seed)
    size = max(1, min(n, _PIECE // max(n_groups, n_rows)))
    for start in range(0, n, size):
        many = min(size, n - start)
        drawn = rng.integers(n_groups, size=(many, n_groups))
        drawn += n_groups * np.arange(many)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=many * n_groups)
        yield np.ascontiguousarray(counts.reshape(many, n_groups).T, np.float64)
