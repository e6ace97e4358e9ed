"""Audit: how far an approximation may be trusted, by the exact effects of some of its cells.

An attribution is a linear guess. The audit computes the exact effects of the cells that it ranks
highest and of cells drawn at random, and says how well the two agree and where they differ most
(Nanda 2023, "Attribution patching"; Kramár et al. 2024, 2403.00745, section 2.3).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.errors import PatchingError
from neoscope.indices import whole
from neoscope.patching.results import json_file, saved

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
_FORMAT = "neoscope audit 1"
ExactEffects = Callable[[Sequence[int]], Float[Array, "pairs cells"]]
"""From flat indices of cells to the exact effect of each in every pair."""


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """Exact effects beside their approximation, means over pairs; the best-ranked cells first."""

    labels: tuple[str, ...]
    """What each audited cell is called."""
    index: Int[Array, "cells"]
    """Its flat index."""
    approximate: Float[Array, "cells"]
    """Mean score, in the metric's unit."""
    exact: Float[Array, "cells"]
    """Mean exact effect; of absolute effects where the scores are magnitudes."""
    top: Bool[Array, "cells"]
    """Whether the cell was among the k best; the others were drawn at random."""
    n_cells: int
    """How many cells there are to rank."""
    method: str
    """What was audited."""
    unit: str
    """Of both effects."""
    seed: int
    """Of the draw."""

    @property
    def rank_correlation(self) -> float:
        """Spearman's, over all audited cells; NaN where either side is constant."""
        return spearman(self.approximate, self.exact)

    @property
    def rank_correlation_top(self) -> float:
        """Spearman's among the best-ranked cells alone."""
        return spearman(self.approximate[self.top], self.exact[self.top])

    @property
    def rank_correlation_random(self) -> float:
        """Spearman's among the cells drawn at random."""
        return spearman(self.approximate[~self.top], self.exact[~self.top])

    @property
    def error(self) -> Float[Array, "cells"]:
        """Approximation minus exact effect."""
        return np.asarray(self.approximate - self.exact)

    @property
    def worst(self) -> int:
        """Which audited cell the approximation misses by most, as an index of ``labels``."""
        return int(np.abs(self.error).argmax())

    @property
    def worst_miss(self) -> float:
        """The largest absolute difference, in the metric's unit."""
        return float(np.abs(self.error).max())

    def to_dataframe(self) -> DataFrame:
        """Return one row a cell: cell, index, group, approximate, exact, error."""
        import pandas as pd

        return pd.DataFrame(
            {
                "cell": self.labels,
                "index": self.index,
                "group": np.where(self.top, "top", "random"),
                "approximate": self.approximate,
                "exact": self.exact,
                "error": self.error,
            }
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all.

        Args:
            path: A ``.json`` file; an older audit there is replaced, any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        return json_file.write(path, _FORMAT, json_file.from_fields(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Audit:
        """Read what :meth:`save` wrote.

        Args:
            path: A ``.json`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        with saved.reading(path, "Audit") as source:
            said = json_file.to_fields(json_file.read(source, _FORMAT))
            return cls(**said | {"labels": tuple(said["labels"])})

    def __repr__(self) -> str:
        """Return the verdict and the five worst misses."""
        n_top = int(self.top.sum())
        over_all, best, rest = (
            f"{found:.3f}"
            for found in (
                self.rank_correlation,
                self.rank_correlation_top,
                self.rank_correlation_random,
            )
        )
        lines = [
            f"Audit of {self.method}:",
            f"  {n_top} best and {len(self.top) - n_top} random of {self.n_cells} cells",
            f"  rank correlation {over_all} (best {best}, random {rest})",
            f"  worst miss {self.worst_miss:.4g} {self.unit}".rstrip(),
        ]
        for i in np.argsort(-np.abs(self.error), kind="stable")[:5]:
            group = "best" if self.top[i] else "random"
            lines.append(
                f"  {self.labels[i]}: approximate {self.approximate[i]:.4g}, exact "
                f"{self.exact[i]:.4g} ({group})"
            )
        return "\n".join(lines)


def audit(
    scores: Float[Array, "pairs *cells"],
    exact: ExactEffects,
    label: Callable[[int], str],
    *,
    k: int = 20,
    seed: int = 0,
    movable: Bool[Array, "*cells"] | None = None,
    magnitudes: bool = False,
    method: str = "attribution",
    unit: str = "",
) -> Audit:
    """Compute the exact effects of the k best-ranked cells and of k others drawn at random.

    Args:
        scores: The approximation, pair by pair; NaN where a pair has no such cell.
        exact: Computes exact effects.
        label: Names a cell by its flat index.
        k: How many of each; fewer where there are not as many cells.
        seed: Fixes the draw.
        movable: Cells that may move at all; the others are exactly 0 on both sides and would
            only flatter the agreement. None: all.
        magnitudes: Whether scores are magnitudes, to be held against absolute effects.
        method: Named in the result.
        unit: Named in the result.

    Raises:
        PatchingError: k is no number of at least 1, no cell can move, or the exact effects have
            the wrong shape.
    """
    number = whole(k)
    if number is None or number < 1:
        raise PatchingError(f"k={k!r}; expected a whole number, at least 1")
    flat = np.asarray(scores, np.float64).reshape(len(scores), -1)
    mean = _mean(flat)
    wanted = np.isfinite(mean)
    if movable is not None:
        wanted &= np.asarray(movable).reshape(-1)
    candidates = np.flatnonzero(wanted)
    if not len(candidates):
        raise PatchingError("there is nothing to audit: no cell can move")
    order = candidates[np.argsort(-np.abs(mean[candidates]), kind="stable")]
    best, rest = order[:number], np.sort(order[number:])
    drawn = np.random.default_rng(seed).permutation(rest)[:number]
    chosen = np.concatenate([best, drawn])
    found = np.asarray(exact([int(i) for i in chosen]), np.float64)
    if found.shape != (len(flat), len(chosen)):
        raise PatchingError(
            f"the exact effects have shape {found.shape}; expected {(len(flat), len(chosen))}: one "
            "row a pair, one column a cell"
        )
    top = np.arange(len(chosen)) < len(best)
    if not (done := np.isfinite(found).any(0)).all():  # an interrupt leaves out the others
        chosen, top, found = chosen[done], top[done], found[:, done]
    return Audit(
        labels=tuple(label(int(i)) for i in chosen),
        index=chosen,
        approximate=mean[chosen],
        exact=_mean(np.abs(found) if magnitudes else found),
        top=top,
        n_cells=len(candidates),
        method=method,
        unit=unit,
        seed=seed,
    )


def _mean(values: Array) -> Array:
    """Mean over pairs that have the cell; NaN where none has."""
    has = np.isfinite(values)
    count = has.sum(0)
    total = np.where(has, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def spearman(x: Float[Array, "n"], y: Float[Array, "n"]) -> float:
    """Return Spearman's rank correlation, ties sharing their average rank.

    Args:
        x: Numbers.
        y: As many.

    Returns:
        -1 to 1; NaN for fewer than two, or where either side is constant.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 9.0]))
        1.0
    """
    if len(x) < 2:
        return float("nan")
    a, b = (_ranks(values) for values in (x, y))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else float("nan")


def _ranks(values: Array) -> Array:
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[where]
