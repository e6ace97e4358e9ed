"""Control tasks: labels drawn at random for each word type, which only memory can predict.

Hewitt & Liang 2019 (arXiv:1909.03368): a probe that scores well on the control task learns whatever
it is given, so its score on the real task says little about the representation. Selectivity is the
difference of the two.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neoscope.errors import ProbeError
from probes.data.labels import read_labels
from probes.judging.bootstrap import Interval, percentile_interval
from probes.judging.reading import Array, distinct
from probes.judging.record import recorded
from probes.judging.sums import Floats
from probes.keeping.results import SavedResult


@dataclass(frozen=True, eq=False)
class ControlTask:
    """A control task, or why there is none."""

    labels: Array
    """Like the real labels: one draw for each type."""
    n_types: int
    undefined: str | None
    """Why selectivity means nothing here; None where it does."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, without the labels."""
        return {"n_types": self.n_types, "undefined": self.undefined}


def control_labels(types: Any, y: Any, seed: int = 0) -> Array:
    """Draw one label for each type from the labels that there are, in their own proportions.

    What a type gets depends on the type, the seed and the proportions alone, not on the order of
    rows or on other types: a hash of type and seed is looked up in the sorted labels. Draw over all
    rows, before any split, so that training and test share one map.

    Args:
        types: [rows] word type of each row; a nuisance such as a document's first word where rows
            are sentences.
        y: [rows] labels or numbers, or [rows, labels]: then whole rows are drawn.
        seed: Another seed is another map.

    Returns:
        Labels like ``y``, equal within a type.

    Raises:
        ProbeError: Types and labels differ in number.
    """
    y, _ = read_labels(y, varied=False)
    codes, names = _read_types(types, len(y))
    ordered = np.sort(y) if y.ndim == 1 else y[np.lexsort(y.T[::-1])]
    shares = np.array([_share(name, seed) for name in names.tolist()])
    return np.asarray(ordered[(shares * len(y)).astype(np.int64)[codes]])


def control_task(types: Any, y: Any, seed: int = 0) -> ControlTask:
    """Draw control labels, and say whether they can be judged by. Arguments as `control_labels`."""
    labels = control_labels(types, y, seed)
    n_types = len(_read_types(types, len(labels))[1])
    undefined = None
    if n_types < 2:
        undefined = "all rows are of one type, so that the control labels are all the same"
    elif (labels == labels[0]).all():
        undefined = f"all {n_types} types drew the same label; try another seed"
    elif n_types == len(labels):
        undefined = "each row has a type of its own, so that no control label can be memorised"
    return ControlTask(labels, n_types, undefined)


def unseen_types(train_types: Any, test_types: Any) -> float:
    """Return the share of test rows whose type no training row has.

    On these the control task is chance for every probe, which inflates selectivity; report it.

    Args:
        train_types: [rows].
        test_types: [rows].
    """
    train, test = np.asarray(train_types), np.asarray(test_types)
    return float(np.mean(~np.isin(test, train))) if len(test) else float("nan")


@dataclass(frozen=True)
class Selectivity(SavedResult):
    """By how much the real task's score exceeds the control task's."""

    value: float
    """Task minus control; NaN where undefined."""
    task: float
    control: float
    interval: Interval | None = None
    """Paired over groups."""
    unseen: float | None = None
    """Share of test rows whose type was not in training."""
    undefined: str | None = None
    """Why it is undefined."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded(asdict(self))


def selectivity(
    task: float,
    control: float,
    *,
    drawn: tuple[Floats, Floats] | None = None,
    n_groups: int = 0,
    confidence: float = 0.95,
    unseen: float | None = None,
    undefined: str | None = None,
) -> Selectivity:
    """Return the score of the real task minus that of the control task.

    Args:
        task: Score on the real task, of which more is better.
        control: The same score of the same kind of probe, trained and tested on control labels.
        drawn: The two scores of the same resamples, see
            `probes.judging.bootstrap.resampled_scores`: gives the interval.
        n_groups: How many groups were resampled.
        confidence: Share of the resampled differences inside the interval.
        unseen: See `unseen_types`.
        undefined: Why there is no control task, see `ControlTask`; the value is NaN then.

    Example:
        >>> round(selectivity(0.972, 0.712).value, 3)
        0.26
    """
    if undefined is None and (np.isnan(task) or np.isnan(control)):
        undefined = "the score is not defined on the task or on its control"
    if undefined is not None:
        return Selectivity(float("nan"), task, control, None, unseen, undefined)
    interval = None
    if drawn is not None:
        many = min(map(len, drawn))
        interval = percentile_interval(drawn[0][:many] - drawn[1][:many], n_groups, confidence)
    return Selectivity(task - control, task, control, interval, unseen)


def _read_types(types: Any, rows: int) -> tuple[Array, Array]:
    types = np.asarray(types)
    if types.shape != (rows,):
        raise ProbeError(f"types of shape {types.shape} for {rows} labels; expected one a row")
    names = distinct(types)
    return np.searchsorted(names, types), names


def _share(name: Any, seed: int) -> float:
    """Return a number in [0, 1) that looks random but belongs to the name and the seed."""
    digest = hashlib.blake2b(str(name).encode(), digest_size=8, salt=b"%d" % (seed % 2**32))
    return (int.from_bytes(digest.digest(), "little") >> 11) / 2**53
