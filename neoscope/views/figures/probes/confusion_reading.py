"""What a confusion matrix is made of: true and predicted classes, read from what a user has."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoscope.errors import ViewError
from neoscope.views.given import is_a
from neoscope.views.labels import model_name


@dataclass(frozen=True, eq=False)
class Pairs:
    """True and predicted classes of the same rows."""

    truth: list[Any]
    predicted: list[Any]
    left_out: int
    """Rows in which one of them is missing."""
    what: str
    """Whose predictions, of which rows; plain text."""
    label: str = ""
    """What the classes are of, where it is known."""
    warning: str = ""
    """What the reader must know before all else."""


def read_pairs(truth: Any, predicted: Any, rows: Any) -> Pairs:
    """Return the classes of each row.

    Args:
        truth: Labels, or a ProbeData that holds them.
        predicted: Labels, what ``probes.apply`` gave, or a fitted probe.
        rows: Of a ProbeData: which; None for all.

    Raises:
        ViewError: They are no classes, or not of the same rows.
    """
    what, label, warning = "", "", ""
    if is_a(truth, "ProbeData"):
        label = " ".join(str(truth.label or "").split())[:60]
        if rows is None and hasattr(predicted, "predict"):
            warning = (
                "Warning: these are all rows of the data, also those that the probe was trained "
                "on, so that the share right is too high; give rows=data.split()[1] for the rest."
            )
        truth, predicted, what = _from_data(truth, predicted, rows)
    elif rows is not None:
        raise ViewError("views.confusion: rows= selects from a ProbeData; give those labels")
    elif hasattr(predicted, "predict"):
        raise ViewError(
            "views.confusion: a probe needs the features too: views.confusion(data, probe), with "
            "a ProbeData, or give probe.predict(X)"
        )
    if is_a(predicted, "Applied"):
        predicted = predicted.labels
    known, said = _listed(truth, "truth"), _listed(predicted, "predicted")
    if len(known) != len(said):
        raise ViewError(
            f"views.confusion: {len(known):,} true labels and {len(said):,} predicted ones; "
            "expected one of each for every row"
        )
    both = [(a, b) for a, b in zip(known, said, strict=True) if a is not None and b is not None]
    if not both:
        raise ViewError(f"views.confusion: none of {len(known):,} rows has both labels")
    _check_kinds({type(a) for a, _ in both}, {type(b) for _, b in both})
    first, second = zip(*both, strict=True)
    return Pairs(list(first), list(second), len(known) - len(both), what, label, warning)


def order_of(pairs: Pairs, classes: Any, most: int) -> tuple[list[Any], dict[Any, int], int]:
    """Return the matrix's classes in order, where each one stands, and how many are joined.

    Args:
        pairs: The labels.
        classes: Which come first, in this order; None for all, sorted.
        most: Most classes that are shown by themselves; rarer ones share the last place.

    Raises:
        ViewError: A class is named that no row has.
    """
    counts = Counter(pairs.truth) + Counter(pairs.predicted)
    if classes is None:
        kept = sorted(counts, key=sorting)
    else:
        kept = _listed(classes, "classes")
        unknown = [one for one in kept if one not in counts]
        if unknown:
            raise ViewError(f"views.confusion: no row has the class {unknown[0]!r:.60}")
        if len(set(kept)) < len(kept):
            raise ViewError("views.confusion: classes names one of them twice")
    if len(kept) > most:
        common = {one for one, _ in counts.most_common(most - 1)}
        kept = [one for one in kept if one in common]
    rest = len(counts) - len(kept)
    at = {one: i for i, one in enumerate(kept)}
    at |= dict.fromkeys(set(counts) - set(kept), len(kept))
    return kept, at, rest


def _from_data(data: Any, probe: Any, rows: Any) -> tuple[Any, Any, str]:
    import probes

    inside = np.arange(data.n_rows) if rows is None else np.arange(data.n_rows)[rows]
    truth = data.y[inside]
    if data.kind == "regression":
        raise ViewError("views.confusion: the labels are quantities; it is of classes")
    if not hasattr(probe, "predict"):
        return truth, probe, _whose(data.source)
    card = getattr(probe, "card_", None)
    where = f"{type(probe).__name__}" + (f" at {card.place}" if card is not None else "")
    return truth, probes.apply(probe, data, rows=inside), f"{_whose(data.source)} · {where}"


def _whose(source: Any) -> str:
    return model_name(source.model_name) if source.model_name else "arrays"


def _listed(labels: Any, name: str) -> list[Any]:
    """Return labels as plain values; None where one is missing."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    if isinstance(labels, str | bytes) or not hasattr(labels, "__len__"):
        raise ViewError(f"views.confusion: {name} is {type(labels).__name__}; expected labels")
    if getattr(labels, "ndim", 1) != 1:
        raise ViewError(
            f"views.confusion: {name} has shape {tuple(labels.shape)}; of several labels draw one "
            "at a time, such as y[:, 0]"
        )
    found = [plain(one) for one in labels]
    for one in found:
        if isinstance(one, float) and not one.is_integer():
            raise ViewError(
                f"views.confusion: {name} holds {one!r}, a quantity; a confusion matrix is of "
                "classes"
            )
    return found


def plain(label: Any) -> Any:
    """Return a label as Python's own value; None where it is missing (None, NaN, NA)."""
    label = label.item() if hasattr(label, "item") else label
    missing = label is None or label != label or type(label).__name__ in ("NAType", "NaTType")
    return None if missing else label


def _check_kinds(first: set[type], second: set[type]) -> None:
    text = [kind for kind in (first, second) if kind == {str}]
    if len(text) == 1:
        names = [", ".join(sorted(one.__name__ for one in kind)) for kind in (first, second)]
        raise ViewError(
            f"views.confusion: true labels are {names[0]} and predicted ones {names[1]}; expected "
            "the same classes"
        )


def sorting(label: Any) -> tuple[Any, ...]:
    """Return what to sort labels by: numbers first, and class 2 before class 10."""
    if isinstance(label, bool | int | float):
        return (0, float(label), "", "")
    parts = re.split(r"(\d+)", str(label)[:200])
    return (1, 0.0, "".join(one.zfill(12) if one.isdigit() else one for one in parts), str(label))
