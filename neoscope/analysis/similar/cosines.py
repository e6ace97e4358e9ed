"""Anisotropy: how far all vectors point the same way, raw, centred and standardised.

Timkey & van Schijndel 2021 (arXiv:2109.04404).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis.numbers import Array
from neoscope.analysis.reading import GivenProgress, check_progress, undivided
from neoscope.analysis.result import Result, counted
from neoscope.analysis.similar.columns import named
from neoscope.analysis.similar.moments import Moments, UnitSums
from neoscope.analysis.similar.source import Source, open_source
from neoscope.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Anisotropy(Result):
    """Mean cosine between different rows, by column of vectors: raw, centred, standardised."""

    names: tuple[str, ...]
    raw: Float[np.ndarray, " name"]
    """Of the vectors as they are; 0 for directions without a preference."""
    centred: Float[np.ndarray, " name"]
    """Each dimension's mean taken away."""
    standardised: Float[np.ndarray, " name"]
    """Also divided by its standard deviation."""
    mean_norm: Float[np.ndarray, " name"]
    """Mean Euclidean norm of a row."""
    sd_norm: Float[np.ndarray, " name"]
    min_norm: Float[np.ndarray, " name"]
    max_norm: Float[np.ndarray, " name"]
    norm_of_mean: Float[np.ndarray, " name"]
    """Norm of the mean row: near ``mean_norm`` where all share one offset."""
    n_zero: Float[np.ndarray, " name"]
    """Rows of norm 0, which have no direction and are left out of the raw cosine."""
    n_rows: int
    what: str

    def heading(self) -> str:
        """Return what was measured, over how many rows."""
        rows = counted(self.n_rows, "row")
        return f"mean cosine between different rows of {self.what}, {rows}"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each column of vectors; layer is -1 where there is none."""
        import pandas as pd

        fields = ("raw", "centred", "standardised", "mean_norm", "sd_norm", "min_norm", "max_norm",
                  "norm_of_mean")  # fmt: skip
        values = {name: getattr(self, name) for name in fields}
        return pd.DataFrame({**named(self.names), **values, "n_zero": self.n_zero.astype(int)})

    def summary(self) -> pd.DataFrame:
        """Return the cosines and norms of each column of vectors, 20 of them at most."""
        names = ["name", "raw", "centred", "standardised", "mean_norm", "norm_of_mean"]
        return self.to_dataframe()[names].head(20)


def anisotropy(
    source: Any,
    *,
    sites: Any = None,
    layers: Any = None,
    columns: Any = None,
    progress: GivenProgress = True,
) -> Anisotropy:
    """Return how alike the directions of all rows are, by site and layer.

    The mean cosine over all pairs of different rows, exactly, from the sum of the unit vectors:
    ``(||sum u||^2 - n) / (n (n - 1))``. The rows are read twice.

    Args:
        source: As for :func:`similarity`.
        sites: Of a cache: which; default ``resid_post``.
        layers: Of a cache: which; default all.
        columns: Of the others: which; default all vectors.
        progress: True for a bar after two seconds, False for none, or a function of the rows done
            and the rows in all.

    Raises:
        AnalysisError: The source lacks what is asked for, has fewer than two rows, or holds NaN or
            what is no real number.
        KeyboardInterrupt: Sums over some of the rows are no result.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("outliers")
        >>> _, cache = model.run_with_cache(ns.organism.compiled.outlier_prompts())
        >>> result = anisotropy(cache)
        >>> [round(float(x), 4) for x in (result.raw[3], result.centred[3], result.standardised[3])]
        [0.9979, -0.0159, -0.0159]
    """
    progress = check_progress(progress, "anisotropy")
    opened = open_source(source, sites=sites, layers=layers, columns=columns)
    with undivided("anisotropy"), Progress(progress, 2 * opened.n_rows) as telling:
        moments = moments_of(opened, telling)
        centred = {name: UnitSums(m.mean, np.ones(len(m.mean))) for name, m in moments.items()}
        scaled = {name: UnitSums(m.mean, _spread(m)) for name, m in moments.items()}
        for block in opened.blocks(tell=telling.update):
            for name, x in block.items():
                centred[name].add(x)
                scaled[name].add(x)
    norms = np.array([m.norms for m in moments.values()]).T
    return Anisotropy(
        names=opened.names,
        raw=np.array([m.units.cosine() for m in moments.values()]),
        centred=np.array([sums.cosine() for sums in centred.values()]),
        standardised=np.array([sums.cosine() for sums in scaled.values()]),
        mean_norm=norms[0],
        sd_norm=norms[1],
        min_norm=norms[2],
        max_norm=norms[3],
        norm_of_mean=np.array([np.linalg.norm(m.mean) for m in moments.values()]),
        n_zero=np.array([m.units.n_zero for m in moments.values()], np.float64),
        n_rows=opened.n_rows,
        what=opened.what,
    )


def moments_of(source: Source, telling: Progress) -> dict[str, Moments]:
    """Return the moments of each column of vectors, from one pass over the rows."""
    moments = {name: Moments() for name in source.names}
    for block in source.blocks(tell=telling.update):
        for name, x in block.items():
            moments[name].add(x)
    return moments


def _spread(moments: Moments) -> Array:
    """Standard deviations; 1 for a dimension that does not vary, which centring makes 0."""
    return np.where(moments.varies, np.sqrt(moments.variance), 1.0)
