"""Effective rank: over how many directions the variance of vectors is spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis.numbers import Array
from neoscope.analysis.reading import GivenProgress, check_progress, undivided
from neoscope.analysis.result import Result, counted
from neoscope.analysis.similar.columns import named
from neoscope.analysis.similar.moments import Moments
from neoscope.analysis.similar.source import open_source, passes
from neoscope.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

_SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, eq=False, repr=False)
class EffectiveRank(Result):
    """Effective ranks of the centred rows, by column of vectors; dimensions."""

    names: tuple[str, ...]
    effective_rank: Float[np.ndarray, " name"]
    """Exponential of the entropy of the singular values' shares (Roy & Vetterli 2007)."""
    spectral_rank: Float[np.ndarray, " name"]
    """The same of the covariance's eigenvalues, which are the singular values squared."""
    participation_ratio: Float[np.ndarray, " name"]
    """``(sum e)^2 / sum e^2`` of the eigenvalues e."""
    components: Float[np.ndarray, "name share"]
    """How many directions hold 50 %, 90 % and 99 % of the variance."""
    width: Float[np.ndarray, " name"]
    n_rows: int
    """No rank exceeds ``n_rows - 1``."""
    what: str

    def heading(self) -> str:
        """Return what was measured, and what bounds it."""
        few = self.n_rows - 1 < self.width.max()
        bound = f"; no rank exceeds {self.n_rows - 1:,}, for want of rows" if few else ""
        rows = counted(self.n_rows, "row")
        return f"effective rank of {self.what}, centred, {rows}{bound}"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each column of vectors; layer is -1 where there is none."""
        import pandas as pd

        held = {
            f"for_{share:.0%}": self.components[:, i].astype(int) for i, share in enumerate(_SHARES)
        }
        return pd.DataFrame(
            {
                **named(self.names),
                "effective_rank": self.effective_rank,
                "spectral_rank": self.spectral_rank,
                "participation_ratio": self.participation_ratio,
                **held,
                "width": self.width.astype(int),
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return the ranks of each column of vectors, 20 of them at most."""
        names = {"participation_ratio": "participation"}
        table = (
            self.to_dataframe()
            .drop(columns=["site", "layer", "for_50%", "width"])
            .rename(columns=names)
        )
        return table.head(20)


def effective_rank(
    source: Any,
    *,
    sites: Any = None,
    layers: Any = None,
    columns: Any = None,
    progress: GivenProgress = True,
) -> EffectiveRank:
    """Return over how many directions the centred rows are spread, by site and layer.

    Args:
        source: As for :func:`similarity`.
        sites: Of a cache: which; default ``resid_post``.
        layers: Of a cache: which; default all.
        columns: Of the others: which; default all vectors.
        progress: As for :func:`anisotropy`.

    Raises:
        AnalysisError: As for :func:`anisotropy`.

    Example:
        >>> rows = np.repeat(np.vstack([np.eye(5), -np.eye(5)]), 3, axis=0)
        >>> result = effective_rank(rows)
        >>> [round(float(x[0]), 6) for x in (result.effective_rank, result.participation_ratio)]
        [5.0, 5.0]
    """
    progress = check_progress(progress, "effective_rank")
    opened = open_source(source, sites=sites, layers=layers, columns=columns)
    groups = passes([(name, 8 * width**2) for name, width in opened.widths.items()])
    spectra: dict[str, Array] = {}
    with undivided("effective_rank"), Progress(progress, len(groups) * opened.n_rows) as telling:
        for group in groups:
            moments = {name: Moments(covariance=True) for name in group}
            for block in opened.blocks(group, tell=telling.update):
                for name in group:
                    moments[name].add(block[name])
            for name in group:
                spectra[name] = _spectrum(moments[name])
    values = list(spectra.values())
    return EffectiveRank(
        names=opened.names,
        effective_rank=np.array([_entropy_rank(np.sqrt(e)) for e in values]),
        spectral_rank=np.array([_entropy_rank(e) for e in values]),
        participation_ratio=np.array([_participation(e) for e in values]),
        components=np.array([[_needed(e, share) for share in _SHARES] for e in values], np.float64),
        width=np.array(list(opened.widths.values()), np.float64),
        n_rows=opened.n_rows,
        what=opened.what,
    )


def _spectrum(moments: Moments) -> Array:
    """Eigenvalues of the covariance, largest first; what rounding left is 0."""
    values = np.linalg.eigvalsh(moments.covariance)[::-1]
    least = max(float(values[0]), 0.0) * len(values) * np.finfo(np.float64).eps
    return np.where(values > least, values, 0.0) if moments.varies.any() else np.zeros(len(values))


def _entropy_rank(x: Array) -> float:
    """Exponential of the entropy of shares; 0 where there is nothing."""
    total = x.sum()
    if not total > 0:
        return 0.0
    p = x[x > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def _participation(e: Array) -> float:
    return float(e.sum() ** 2 / (e**2).sum()) if e.sum() > 0 else 0.0


def _needed(e: Array, share: float) -> int:
    if not e.sum() > 0:
        return 0
    return int(np.searchsorted(np.cumsum(e) / e.sum(), share - 1e-12)) + 1
