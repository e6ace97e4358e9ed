"""Similarity: CKA between every two layers, streamed, whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.analysis.reading import GivenProgress, check_progress, undivided
from neoscope.analysis.result import Result, counted, wrapped
from neoscope.analysis.similar.cka import (
    CrossSums,
    Pair,
    check_rows,
    kernel_hsic,
    kernel_of,
    scaled,
)
from neoscope.analysis.similar.columns import named, place_of
from neoscope.analysis.similar.source import MOST_BYTES, Block, Source, open_source, passes
from neoscope.errors import AnalysisError
from neoscope.progress import Progress, Report

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Similarity(Result):
    """CKA between columns of vectors over the same rows; 1 is equal up to rotation and scale."""

    names: tuple[str, ...]
    """The columns, e.g. ``resid_post_3``; rows of the matrix."""
    other_names: tuple[str, ...]
    """Its columns: the same, or those of the other source."""
    cka: Float[np.ndarray, "name other"]
    """Linear CKA; NaN where a side does not vary, or its rows are all equally far apart."""
    n_rows: int
    """Tokens or texts that it was measured over."""
    debiased: bool
    what: str
    """What was compared."""

    def heading(self) -> str:
        """Return what was compared, over how many rows, and how."""
        kind = "debiased" if self.debiased else "biased"
        flat = (
            "; NaN: a column that does not vary, or rows all equally far apart"
            if np.isnan(self.cka).any()
            else ""
        )
        return f"linear CKA ({kind}) of {self.what}, {counted(self.n_rows, 'row')}{flat}"

    def matrix(self) -> pd.DataFrame:
        """Return the matrix with its names."""
        import pandas as pd

        return pd.DataFrame(self.cka, index=list(self.names), columns=list(self.other_names))

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each pair: names, sites, layers (-1 where there is none), CKA."""
        import pandas as pd

        n, m = self.cka.shape
        mine = {key: np.repeat(column, m) for key, column in named(self.names).items()}
        others = {
            f"other_{key}": np.tile(column, n) for key, column in named(self.other_names).items()
        }
        return pd.DataFrame({**mine, **others, "cka": self.cka.ravel()})

    def summary(self) -> pd.DataFrame:
        """Return the matrix, its names as the first column."""
        return self.matrix().rename_axis("cka").reset_index()

    def __str__(self) -> str:
        """Return the heading and the matrix, in 80 columns."""
        table = self.matrix()
        places = [place_of(name) for name in (*self.names, *self.other_names)]
        if len({site for site, _ in places}) == 1 and places[0][1] is not None:
            # One site: its layers are all that differs.
            table.index = [place_of(name)[1] for name in self.names]
            table.columns = [place_of(name)[1] for name in self.other_names]
            table = table.rename_axis(columns=places[0][0])
        options = {"na_rep": "", "line_width": 80}
        form = "%.3f" if len(self.other_names) < 10 else "%.2f"
        return f"{wrapped(self.heading())}\n{table.to_string(float_format=form, **options)}"


def similarity(
    source: Any,
    other: Any = None,
    *,
    sites: Any = None,
    layers: Any = None,
    columns: Any = None,
    debiased: bool = True,
    progress: GivenProgress = True,
) -> Similarity:
    """Return CKA between every two layers of a source, or between those of two sources.

    A store is read block by block, more than once where the sums of all pairs would not fit into
    a gibibyte.

    Args:
        source: An ActivationCache, a FeatureStore, Features of ``neoscope.export``, a mapping of
            names to arrays [rows, width], or an array [layer, rows, width].
        other: Another source of the same rows, such as another model's cache; None for the same.
        sites: Of a cache: which; default ``resid_post``.
        layers: Of a cache: which; default all.
        columns: Of the others: which; default all vectors.
        debiased: As for :func:`cka`.
        progress: True for a bar after two seconds, False for none, or a function of the rows done
            and the rows in all.

    Raises:
        AnalysisError: A source lacks what is asked for, has too few rows, or holds NaN or what is
            no real number.
        KeyboardInterrupt: Sums over some of the rows are no result.

    Example:
        >>> import neoscope as ns
        >>> text = "The keys to the cabinet are on the table."
        >>> _, cache = ns.load("organism").run_with_cache(text)
        >>> similarity(cache).cka.shape
        (4, 4)
    """
    progress = check_progress(progress, "similarity")
    opened = open_source(source, sites=sites, layers=layers, columns=columns)
    check_rows(opened.n_rows, debiased)
    if other is None:
        joined, names, others = opened, opened.names, opened.names
        pairs = list(combinations_with_replacement(names, 2))
        what = opened.what
    else:
        second = open_source(other, sites=sites, layers=layers, columns=columns)
        joined = _beside(opened, second)
        names, others = opened.names, tuple(f"other:{name}" for name in second.names)
        pairs = [(a, b) for a in names for b in others]
        what = f"{opened.what} and {second.what}"
    with undivided("similarity"):
        values = _values(joined, pairs, debiased=debiased, progress=progress)
    found = np.array([[values[_as_measured(values, a, b)] for b in others] for a in names])
    shown = tuple(name.removeprefix("other:") for name in others)
    return Similarity(names, shown, found, opened.n_rows, debiased, what)


def _as_measured(values: dict[Pair, float], a: str, b: str) -> Pair:
    """Return a pair in the order in which it was measured."""
    return (a, b) if (a, b) in values else (b, a)


def _values(
    source: Source, pairs: Sequence[Pair], *, debiased: bool, progress: bool | Report
) -> dict[Pair, float]:
    own = [(name, name) for name in source.names]
    pairs = [*own, *(pair for pair in pairs if pair[0] != pair[1])]
    measure = _from_kernels if _few_rows(source) else _from_sums
    values = measure(source, pairs, debiased=debiased, progress=progress)
    scales = {name: values[name, name] for name in source.names}
    for (a, b), found in values.items():
        values[a, b] = scaled(found, scales[a], scales[b])
    return values


def _few_rows(source: Source) -> bool:
    """Whether products of rows are the cheaper way than products of dimensions, and fit."""
    n, widths = source.n_rows, source.widths.values()
    held = 8 * n * (n * len(widths) + sum(widths))
    return 4 * n <= sum(widths) and held <= MOST_BYTES


def _from_kernels(
    source: Source, pairs: Sequence[Pair], *, debiased: bool, progress: bool | Report
) -> dict[Pair, float]:
    """HSIC of pairs from the inner products of all rows; 0 of a column that does not vary."""
    with Progress(progress, source.n_rows) as telling:
        parts = list(source.blocks(tell=telling.update))
    kernels = {
        name: kernel_of([part[name] for part in parts], source.rounding[name])
        for name in source.names
    }
    found = {}
    for a, b in pairs:
        K, L = kernels[a], kernels[b]
        flat = K is None or L is None
        found[a, b] = 0.0 if flat else kernel_hsic(K, L, debiased=debiased)  # type: ignore[arg-type]
    return found


def _from_sums(
    source: Source, pairs: Sequence[Pair], *, debiased: bool, progress: bool | Report
) -> dict[Pair, float]:
    """HSIC of pairs from sums over rows, of which a block is in memory; 0 as above."""
    groups = passes([((a, b), 8 * source.widths[a] * source.widths[b]) for a, b in pairs])
    values: dict[Pair, float] = {}
    with Progress(progress, source.n_rows * len(groups)) as telling:
        for group in groups:
            sums = CrossSums(group, source.rounding)
            for block in source.blocks(sums.names, tell=telling.update):
                sums.add(block)
            for a, b in group:
                flat = a == b and sums.is_flat(a)
                values[a, b] = 0.0 if flat else sums.hsic(a, b, debiased=debiased)
    return values


def _beside(first: Source, second: Source) -> Source:
    """Return the columns of two sources of the same rows as one source."""
    if first.n_rows != second.n_rows:
        raise AnalysisError(
            f"{first.what} has {first.n_rows:,} rows and {second.what} {second.n_rows:,}; CKA "
            "compares two views of the same rows"
        )
    theirs = {f"other:{name}": width for name, width in second.widths.items()}

    def read(names: Sequence[str], n: int) -> Iterator[Block]:
        mine = [name for name in names if name not in theirs]
        its = [name.removeprefix("other:") for name in names if name in theirs]
        if not its or not mine:
            one = second.read(its, n) if its else first.read(mine, n)
            for block in one:
                yield {f"other:{name}" if its else name: x for name, x in block.items()}
            return
        for ours, other in zip(first.read(mine, n), second.read(its, n), strict=True):
            yield {**ours, **{f"other:{name}": x for name, x in other.items()}}

    rounding = {**first.rounding, **{f"other:{name}": x for name, x in second.rounding.items()}}
    return Source(first.what, {**first.widths, **theirs}, first.n_rows, read, rounding)
