"""Two axes for many dimensions: principal components, or UMAP."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from neoscope.errors import ViewError, missing_extra

Array = NDArray[Any]
_BLOCK = 4096
_NEIGHBOURS = 15
_FEWEST = 4
"""Rows with which UMAP can make a graph of neighbours."""
_OWNS = 0.5
"""Share of an axis from which one dimension is named as its owner."""


@dataclass(frozen=True, eq=False)
class Axes:
    """Where the rows stand."""

    points: Float[np.ndarray, "row 2"]
    names: tuple[str, str]
    """Of the axes; plain text."""
    note: str = ""
    """What a reader must know; plain text."""


def pca(values: Array, rows: Array, shown: Array, standardise: bool) -> Axes:
    """Return the first two principal components of rows, each pointing where its largest part does.

    Args:
        values: [rows, width].
        rows: Numbers of the rows that the axes are fitted on.
        shown: Numbers of those that are placed.
        standardise: Divide each dimension by its standard deviation first.

    Raises:
        ViewError: The rows do not differ.
    """
    mean, spread = _moments(values, rows)
    scale = np.where(spread > 0, spread, 1.0) if standardise else np.ones(len(spread))
    if not (spread > 1e-12 * (np.abs(mean).max() + 1e-300)).any():
        raise ViewError(
            f"views.projection: all {len(rows):,} rows are the same: there is nothing to project"
        )
    directions, shares = _components(values, rows, mean, scale)
    points = np.empty((len(shown), 2))
    for start in range(0, len(shown), _BLOCK):
        here = slice(start, start + _BLOCK)
        points[here] = (values[shown[here]].astype(np.float64) - mean) / scale @ directions
    names = [f"component {i + 1} ({share:.1%} of the variance)" for i, share in enumerate(shares)]
    note = ""
    owned = directions[:, 0] ** 2
    if not standardise and len(owned) > 2 and owned.max() > _OWNS:
        note = (
            f"Dimension {int(owned.argmax())} alone makes {owned.max():.0%} of component 1; "
            "standardise=True gives every dimension the same weight."
        )
    return Axes(points, (names[0], names[1]), note)


def _moments(values: Array, rows: Array) -> tuple[Array, Array]:
    total = np.zeros(values.shape[1])
    for start in range(0, len(rows), _BLOCK):
        total += values[rows[start : start + _BLOCK]].astype(np.float64).sum(0)
    mean = total / len(rows)
    square = np.zeros(values.shape[1])
    for start in range(0, len(rows), _BLOCK):
        square += ((values[rows[start : start + _BLOCK]].astype(np.float64) - mean) ** 2).sum(0)
    return mean, np.sqrt(square / len(rows))


def _components(values: Array, rows: Array, mean: Array, scale: Array) -> tuple[Array, Array]:
    """Return two directions [width, 2], and their shares of the variance; 0 for one that is not."""
    width = values.shape[1]
    if len(rows) < width:
        centred = (values[rows].astype(np.float64) - mean) / scale
        _, roots, right = np.linalg.svd(centred, full_matrices=False)
        found, sizes = right[:2].T, roots**2
    else:
        products = np.zeros((width, width))
        for start in range(0, len(rows), _BLOCK):
            part = (values[rows[start : start + _BLOCK]].astype(np.float64) - mean) / scale
            products += part.T @ part
        sizes, vectors = np.linalg.eigh(products)
        sizes, found = sizes[::-1].clip(0), vectors[:, ::-1][:, :2]
    directions, shares = np.zeros((width, 2)), np.zeros(2)
    directions[:, : found.shape[1]] = found
    shares[: len(sizes[:2])] = sizes[:2] / sizes.sum()
    # A component that is rounding has no direction.
    directions[:, shares < 1e-12] = 0.0
    largest = np.abs(directions).argmax(0)
    return directions * np.where(directions[largest, [0, 1]] < 0, -1.0, 1.0), shares


def umap(values: Array, rows: Array, standardise: bool, neighbours: int | None, seed: int) -> Axes:
    """Return a UMAP of rows; the same for the same seed, on the same machine.

    Args:
        values: [rows, width].
        rows: Numbers of the rows that are placed.
        standardise: Divide each dimension by its standard deviation first.
        neighbours: How many of each row are kept near it; None for 15, or fewer of few rows.
        seed: Of the layout.

    Raises:
        ViewError: There are too few rows.
        MissingExtraError: umap-learn is not installed.
    """
    if len(rows) < _FEWEST:
        raise ViewError(
            f"views.projection: UMAP of {len(rows)} rows; it needs at least {_FEWEST}: "
            "method='pca' takes 2"
        )
    near = min(_NEIGHBOURS, len(rows) - 1) if neighbours is None else neighbours
    if not 2 <= near < len(rows):
        raise ViewError(
            f"views.projection: neighbours={near}; expected 2 to {len(rows) - 1}, fewer than rows"
        )
    mean, spread = _moments(values, rows)
    scale = np.where(spread > 0, spread, 1.0) if standardise else 1.0
    with warnings.catch_warnings():
        # It warns of its own imports, of its seed, and of few rows: nobody can change that.
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module("umap")
        except ImportError:
            raise missing_extra("umap", "umap") from None
        made = module.UMAP(n_components=2, n_neighbors=near, random_state=seed, n_jobs=1,
                           init="spectral" if len(rows) > 20 else "random")  # fmt: skip
        points = made.fit_transform((values[rows].astype(np.float64) - mean) / scale)
    return Axes(
        np.asarray(points, np.float64),
        ("UMAP 1", "UMAP 2"),
        f"UMAP ({near} neighbours, seed {seed}) keeps who is near whom; distances between groups "
        "and sizes of groups mean little.",
    )
