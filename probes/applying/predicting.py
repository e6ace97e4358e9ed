"""Applying a kept probe to data and to new texts, with what it says of each row."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from neoscope.files import atomic
from probes.applying.matching import check_source
from probes.applying.text_features import Report, listed_texts, text_features
from probes.data.places import Place

if TYPE_CHECKING:
    import pandas

Array = NDArray[Any]
_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class Applied:
    """What a probe says of rows."""

    labels: Array
    """[rows] or [rows, labels]: the likeliest class, or of a regressor the value; None (or NaN)
    where a row could not be read."""
    probabilities: Array | None
    """[rows, classes], NaN where a row could not be read; None for a regressor."""
    classes: tuple[Any, ...] | None
    """What the columns of ``probabilities`` are; None for a regressor."""
    ids: Sequence[Any]
    """What the rows are called: numbers from 0 where nothing else was given."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """Number of a row that could not be read, to the reason."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Return one line: how many rows, and what they were found to be."""
        said = f"Applied({len(self)} row{'s' * (len(self) != 1)}"
        if self.classes is not None and self.labels.ndim == 1:
            read = [i not in self.problems for i in range(len(self))]
            counts = {name: int((self.labels[read] == name).sum()) for name in self.classes}
            said += f": {', '.join(f'{n} {name}' for name, n in counts.items() if n)}"
        without = f"; {len(self.problems)} could not be read" if self.problems else ""
        return f"{said}{without})"

    def records(self) -> list[dict[str, Any]]:
        """Return one mapping a row, of plain JSON values: id, label, probabilities, problem."""
        labels = self.labels.tolist()
        out = []
        for i, (name, label) in enumerate(zip(self.ids, labels, strict=True)):
            bad = i in self.problems
            row: dict[str, Any] = {"id": name, "label": None if bad else label}
            if self.probabilities is not None and self.classes is not None:
                p = self.probabilities[i].tolist()
                known = dict(zip(map(str, self.classes), p, strict=True))
                row["probabilities"] = None if bad else known
            if bad:
                row["problem"] = self.problems[i]
            out.append(row)
        return out

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a frame of a row each: ``id``, ``label``, a probability a class, ``problem``."""
        import pandas as pd

        columns: dict[str, Any] = {"id": list(self.ids)}
        if self.labels.ndim == 1:
            columns["label"] = self.labels
        else:
            columns |= {f"label_{i}": self.labels[:, i] for i in range(self.labels.shape[1])}
        if self.probabilities is not None and self.classes is not None:
            for i, name in enumerate(self.classes):
                columns[f"p_{name}"] = self.probabilities[:, i]
        columns["problem"] = [self.problems.get(i) for i in range(len(self))]
        return pd.DataFrame(columns)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one line of JSON a row.

        Args:
            path: A .jsonl file; replaced as a whole.

        Returns:
            Where it stands.

        Raises:
            OSError: It cannot be written.
        """
        lines = (json.dumps(_finite(row), ensure_ascii=False) for row in self.records())
        text = "".join(f"{line}\n" for line in lines)
        target = Path(path).expanduser()
        with atomic(target) as temporary:
            temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        return target


def apply(
    probe: Any,
    data: Any,
    *,
    place: Place | None = None,
    rows: Any = None,
    any_source: bool = False,
) -> Applied:
    """Return what a probe says of the rows of data.

    Args:
        probe: Fitted.
        data: ProbeData; its labels are not looked at.
        place: Which of its places to read; None for the one that the probe was trained on.
        rows: Numbers of the rows; None for all.
        any_source: Apply it to features of another model, site, layer, head or pooling too.

    Raises:
        ProbeError: It is no ProbeData, or the features are none that the probe was trained on, or
            hold NaN.
    """
    found = _place(probe, data, place)
    check_source(probe, found, data.source, any_source=any_source)
    wanted = np.arange(data.n_rows) if rows is None else np.asarray(rows, np.int64)
    if not len(wanted):
        raise ProbeError("there are no rows to apply the probe to")
    parts = [
        _said(probe, data.matrix(found, wanted[at : at + _ROWS_AT_ONCE]))
        for at in range(0, len(wanted), _ROWS_AT_ONCE)
    ]
    labels = np.concatenate([part[0] for part in parts])
    probabilities = None
    if parts[0][1] is not None:
        probabilities = np.concatenate([np.asarray(part[1]) for part in parts])
    return Applied(labels, probabilities, _classes(probe), wanted.tolist())


def apply_texts(
    probe: Any,
    model: Any,
    texts: Any,
    *,
    ids: Sequence[Any] | None = None,
    any_source: bool = False,
    on_error: str = "fail",
    batch_tokens: int | None = None,
    progress: bool | Report = True,
) -> Applied:
    """Return what a probe says of new texts, read with the site, layer and pooling of its card.

    Args:
        probe: Fitted, with a card.
        model: The model that it was trained on.
        texts: One or several; a column of a frame, an array.
        ids: What the texts are called; None for numbers from 0.
        any_source: Take another or an edited model too.
        on_error: A text that cannot be read (null, empty, no string): ``fail`` raises, ``null``
            leaves its row without a label.
        batch_tokens: Most tokens run at once; None for what suits the device.
        progress: True for a bar after two seconds, False for none, or a function.

    Raises:
        ProbeError: The probe does not say what it reads, or was trained on another model.
        ExportError: A text cannot be read; names its row.
    """
    given = listed_texts(texts)
    names = list(range(len(given))) if ids is None else list(ids)
    if len(names) != len(given):
        s = "s" * (len(names) != 1)
        raise ProbeError(f"ids has {len(names)} value{s} for {len(given)} texts")
    if not given:
        raise ProbeError("there are no texts to apply the probe to")
    read = text_features(
        probe,
        model,
        given,
        any_source=any_source,
        on_error=on_error,
        batch_tokens=batch_tokens,
        progress=progress,
    )
    good = np.array([i not in read.problems for i in range(len(given))])
    labels, probabilities = _said(probe, read.values[good]) if good.any() else (None, None)
    if labels is None:
        raise ProbeError(f"none of the {len(given)} texts can be read: {read.problems[0]}")
    if good.all():
        return Applied(labels, probabilities, _classes(probe), names)
    if probabilities is not None:
        probabilities = _spread(probabilities, good, np.nan)
    labels = _spread(labels, good, np.nan if labels.dtype.kind == "f" else None)
    return Applied(labels, probabilities, _classes(probe), names, dict(read.problems))


def check_width(probe: Any, X: Array) -> None:
    """Check that rows are as wide as those that a probe was trained on.

    Args:
        probe: Fitted.
        X: [rows, features].

    Raises:
        ProbeError: They are not, so that they come from another model, site or layer.
    """
    wanted = getattr(probe, "n_features_in_", X.shape[1])
    if X.shape[1] != wanted:
        raise ProbeError(
            f"the probe reads {wanted} features a row and finds {X.shape[1]}: those of another "
            "model or site have another width, and no option can change that"
        )


def _said(probe: Any, X: Array) -> tuple[Array, Array | None]:
    check_width(probe, X)
    labels = np.asarray(probe.predict(X))
    proba = np.asarray(probe.predict_proba(X)) if hasattr(probe, "classes_") else None
    return labels, proba


def _classes(probe: Any) -> tuple[Any, ...] | None:
    found = getattr(probe, "classes_", None)
    return None if found is None else tuple(np.asarray(found).tolist())


def _spread(values: Array, good: NDArray[np.bool_], missing: Any) -> Array:
    dtype = object if missing is None else values.dtype
    out = np.full((len(good), *values.shape[1:]), missing, dtype)
    out[good] = values
    return out


def _place(probe: Any, data: Any, place: Place | None) -> Place:
    if not hasattr(data, "places"):
        raise ProbeError(
            f"expected ProbeData, found {type(data).__name__}; probe.predict and predict_proba "
            "take arrays, probes.apply_texts takes texts"
        )
    card = getattr(probe, "card_", None)
    places: tuple[Place, ...] = tuple(data.places)
    wanted = place if place is not None else None if card is None else card.place
    if wanted in places:
        return wanted
    # What a single place lacks is for check_source to say.
    if place is None and len(places) == 1:
        return places[0]
    said = "the probe does not say which it reads" if wanted is None else f"{wanted} is not there"
    shown = ", ".join(map(str, places[:20]))
    raise ProbeError(f"{said}; the data has {shown}: name one with place=")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
