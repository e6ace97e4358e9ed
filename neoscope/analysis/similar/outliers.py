"""Outlier dimensions: which few dimensions own the cosine between all vectors.

Timkey & van Schijndel 2021 (arXiv:2109.04404): one to three dimensions can own the cosine between
all states; standardising takes that away. Ablating such dimensions in the model harms it: correct
the features, not the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis.numbers import Array, real_number
from neoscope.analysis.reading import GivenProgress, check_progress, undivided
from neoscope.analysis.result import Result, counted
from neoscope.analysis.similar.columns import named
from neoscope.analysis.similar.cosines import moments_of
from neoscope.analysis.similar.source import open_source
from neoscope.errors import AnalysisError
from neoscope.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

_MAD_TO_SD = 1.4826
_SAID = 3
# Beside the median, what is no spread but rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class OutlierDimensions(Result):
    """What each dimension adds to the mean cosine between different rows, and its size."""

    names: tuple[str, ...]
    """Columns of vectors, all of one width."""
    cosine: Float[np.ndarray, " name"]
    """Mean cosine of the raw vectors."""
    contribution: Float[np.ndarray, "name dim"]
    """``E[x_i y_i / (|x| |y|)]`` over different rows x and y; the dimensions sum to ``cosine``."""
    mean: Float[np.ndarray, "name dim"]
    sd: Float[np.ndarray, "name dim"]
    size: Float[np.ndarray, "name dim"]
    """Root mean square of each dimension."""
    sigmas: Float[np.ndarray, "name dim"]
    """How many robust standard deviations (median and median absolute deviation over dimensions)
    the size stands above the median; infinite where all others are alike."""
    kurtosis: Float[np.ndarray, "name dim"]
    """Excess kurtosis over rows; NaN where it does not vary."""
    threshold: float
    """Dimensions of more sigmas are outliers."""
    n_rows: int
    what: str

    @property
    def share(self) -> Float[np.ndarray, "name dim"]:
        """``contribution / cosine``: each dimension's share; they sum to 1."""
        return np.asarray(self.contribution / self.cosine[:, None])

    def dims(self, name: str | None = None) -> tuple[int, ...]:
        """Return the outlier dimensions of a column (None: the only or last one), largest first."""
        row = self.names.index(name) if name is not None else len(self.names) - 1
        beyond = np.flatnonzero(self.sigmas[row] > self.threshold)
        order = np.argsort(-self.size[row, beyond], kind="stable")
        return tuple(int(i) for i in beyond[order])

    def heading(self) -> str:
        """Return what was measured, and what the outliers of each column own."""
        said = []
        for row, name in enumerate(self.names):
            if dims := self.dims(name):
                owned = float(self.share[row, list(dims)].sum())
                mean = f"own {owned:.1%} of a mean cosine of {self.cosine[row]:.3f}"
                said.append(f"{name}: {len(dims)} {mean}")
        more = f"; and {counted(len(said) - _SAID, 'other')}" if len(said) > _SAID else ""
        where = "; ".join(said[:_SAID]) + more if said else "none"
        return (
            f"outlier dimensions of {self.what}, {counted(self.n_rows, 'row')}; beyond "
            f"{self.threshold:g} robust sigma: {where}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each dimension of each column."""
        import pandas as pd

        width = self.contribution.shape[1]
        places = {key: np.repeat(column, width) for key, column in named(self.names).items()}
        return pd.DataFrame(
            {
                **places,
                "dim": np.tile(np.arange(width), len(self.names)),
                "share": self.share.ravel(),
                "contribution": self.contribution.ravel(),
                "size": self.size.ravel(),
                "sigmas": self.sigmas.ravel(),
                "mean": self.mean.ravel(),
                "sd": self.sd.ravel(),
                "kurtosis": self.kurtosis.ravel(),
                "outlier": (self.sigmas > self.threshold).ravel(),
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return the three largest shares of each column."""
        names = ["name", "dim", "share", "size", "sigmas", "mean", "sd", "outlier"]
        table = self.to_dataframe()[names]
        largest = table.assign(_by=table["share"].abs()).sort_values("_by", ascending=False)
        chosen = largest.groupby("name", sort=False).head(3).index
        order = {name: i for i, name in enumerate(self.names)}
        return (
            largest.loc[chosen]
            .sort_values(by="name", key=lambda x: x.map(order), kind="stable")
            .drop(columns=["_by"])
            .head(30)
        )


def outlier_dimensions(
    source: Any,
    *,
    sites: Any = None,
    layers: Any = None,
    columns: Any = None,
    threshold: Any = 6.0,
    progress: GivenProgress = True,
) -> OutlierDimensions:
    """Return what each dimension adds to the mean cosine, and which ones stand out in size.

    Args:
        source: As for :func:`similarity`; all its columns must be of one width.
        sites: Of a cache: which; default ``resid_post``.
        layers: Of a cache: which; default all.
        columns: Of the others: which; default all vectors.
        threshold: Robust sigmas of root-mean-square size beyond which a dimension is an outlier.
        progress: As for :func:`anisotropy`.

    Raises:
        AnalysisError: As for :func:`anisotropy`; or columns of several widths.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("outliers")
        >>> _, cache = model.run_with_cache(ns.organism.compiled.outlier_prompts())
        >>> result = outlier_dimensions(cache, layers=3)
        >>> result.dims(), round(float(result.share[0, 5]), 3)
        ((5, 12, 27), 0.658)
    """
    progress = check_progress(progress, "outlier_dimensions")
    sigmas = real_number(threshold)
    if sigmas is None or not sigmas > 0:
        raise AnalysisError(f"threshold={threshold!r}; expected a number of sigmas above 0")
    opened = open_source(source, sites=sites, layers=layers, columns=columns)
    if len(set(opened.widths.values())) > 1:
        said = ", ".join(f"{name} [{width}]" for name, width in opened.widths.items())
        raise AnalysisError(f"columns of several widths: {said}; choose those of one")
    with undivided("outlier_dimensions"), Progress(progress, opened.n_rows) as telling:
        moments = list(moments_of(opened, telling).values())
    contribution = np.stack([m.units.contributions() for m in moments])
    size = np.stack([np.sqrt(m.mean_square) for m in moments])
    return OutlierDimensions(
        names=opened.names,
        cosine=contribution.sum(1),
        contribution=contribution,
        mean=np.stack([m.mean for m in moments]),
        sd=np.stack([np.sqrt(m.variance) for m in moments]),
        size=size,
        sigmas=np.stack([_sigmas(row) for row in size]),
        kurtosis=np.stack([m.kurtosis for m in moments]),
        threshold=sigmas,
        n_rows=opened.n_rows,
        what=opened.what,
    )


def _sigmas(size: Array) -> Array:
    apart = size - np.median(size)
    spread = _MAD_TO_SD * float(np.median(np.abs(apart)))
    rounding = _ROUNDING * max(float(np.median(size)), float(np.finfo(np.float64).tiny))
    if spread > rounding:
        return np.asarray(apart / spread)
    return np.where(np.abs(apart) <= rounding, 0.0, np.where(apart > 0, np.inf, -np.inf))
