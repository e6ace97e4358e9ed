"""What a projection is made of: rows of features, their labels and texts, from what a user has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import AnalysisError, ViewError, nearest
from neoscope.views.given import is_a

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Cloud:
    """Rows to be projected."""

    values: Array
    """[rows, width]; may be mapped from disk."""
    labels: Array | None
    """[rows], of objects or numbers."""
    label_name: str
    """What labels say; plain text."""
    texts: Array | None
    """[rows]."""
    what: str
    """What the features are; plain text."""


def read_cloud(features: Any, column: Any, labels: Any, texts: Any) -> Cloud:
    """Return the rows of a matrix, of exported features, of a store or of a probe's data.

    Args:
        features: See :func:`neoscope.views.projection`.
        column: Which column or place; None for the only one.
        labels: One a row, or the name of a column of the store.
        texts: One a row, or the name of a column of the store.

    Raises:
        ViewError: There is no such column, or numbers of rows differ.
    """
    values, name, what = _values(features, column)
    if values.ndim != 2 or not values.size:
        raise ViewError(
            f"views.projection: {what} has shape {values.shape}; expected [rows, width]"
        )
    if values.dtype.kind not in "fiub":
        raise ViewError(f"views.projection: {what} holds {values.dtype}; expected numbers")
    said = getattr(features, "label", None)
    if is_a(features, "ProbeData"):
        labels = features.y if labels is None and features.y.ndim == 1 else labels
        texts = features.words if texts is None else texts
    elif is_a(features, "FeatureStore"):
        said = labels if isinstance(labels, str) else None
        texts = "text" if texts is None and "text" in features.columns else texts
        labels, texts = (_stored(features, one) for one in (labels, texts))
    n = len(values)
    read = None if labels is None else _listed(labels, n, "labels")
    told = None if texts is None else _listed(texts, n, "texts")
    return Cloud(values, read, str(said or name or "label"), told, what)


def _values(features: Any, column: Any) -> tuple[Array, str, str]:
    from neoscope.analysis.numbers import as_array

    if is_a(features, "ProbeData"):
        known = [str(place) for place in features.places]
        place = _one(column, known, "place")
        return features.matrix(place), "", f"{place} of {features.source.model_name or 'arrays'}"
    if is_a(features, "FeatureStore"):
        name = _one(column, list(features.features), "column")
        return np.asarray(features.to_numpy(name)), "", name
    if is_a(features, "Features"):
        name = _one(column, list(features.names), "column")
        return np.asarray(features[name]), "", name
    if column is not None:
        raise ViewError(
            f"views.projection: column= selects from a store, features or a ProbeData; this is "
            f"{type(features).__name__}"
        )
    if is_a(features, "ActivationCache"):
        raise ViewError(
            "views.projection: a cache holds no rows; give cache.last('resid_post', -1), or "
            "extract(...) with a pooling"
        )
    if is_a(features, "DataFrame"):
        features = features.select_dtypes("number").to_numpy()
    try:
        return as_array(features, "features"), "", "features"
    except AnalysisError as problem:
        raise ViewError(f"views.projection: {problem}") from problem


def _one(wanted: Any, known: list[str], what: str) -> str:
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        shown = ", ".join(known[:8]) + (" ..." if len(known) > 8 else "")
        raise ViewError(f"views.projection: name one {what} with column=; there are {shown}")
    if str(wanted) not in known:
        raise ViewError(
            f"views.projection: there is no {what} {str(wanted)!r:.60}"
            f"{nearest(str(wanted), known)}; there are {', '.join(known[:8])}"
        )
    return str(wanted)


def _stored(store: Any, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if given not in store.columns:
        raise ViewError(
            f"views.projection: the store has no column {given!r:.60}"
            f"{nearest(given, store.columns)}"
        )
    return store.to_numpy(given)


def _listed(given: Any, n: int, what: str) -> Array:
    """Return one value a row, numbers as numbers and all else as objects."""
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        raise ViewError(f"views.projection: {what} is {type(given).__name__}; expected one a row")
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if len(given) != n:
        raise ViewError(f"views.projection: {len(given):,} {what} for {n:,} rows")
    array = given if isinstance(given, np.ndarray) else None
    if array is None or array.dtype.kind not in "fiub":
        array = np.empty(n, object)
        array[:] = list(given)
    if array.ndim != 1:
        raise ViewError(
            f"views.projection: {what} has shape {array.shape}; expected one value a row"
        )
    return array
