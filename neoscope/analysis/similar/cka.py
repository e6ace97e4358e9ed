"""CKA: how alike two representations of the same rows are, up to rotation and scale.

Linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414), biased or with the
unbiased HSIC of Song et al. (2012), from sums over rows alone, so that there may be any number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from neoscope.analysis.numbers import Array, as_array, flat_share, rounding_of
from neoscope.analysis.similar.source import Source
from neoscope.errors import AnalysisError

Pair = tuple[str, str]


class CrossSums:
    """Sums over rows from which linear HSIC between pairs of columns follow; float64."""

    def __init__(self, pairs: Iterable[Pair], rounding: Mapping[str, float] | None = None) -> None:
        """Begin with no rows.

        Args:
            pairs: Names of the columns that are compared.
            rounding: See :class:`Source`; may be told later.
        """
        self.pairs = list(pairs)
        self.rounding = dict(rounding or {})
        self.names = list(dict.fromkeys(name for pair in self.pairs for name in pair))
        self.n_rows = 0
        self._shift: dict[str, Array] = {}
        self._sum: dict[str, Array] = {}
        self._cross: dict[Pair, Array] = {}
        # Each column's vectors weighted by every column's squared norms; those norms' products.
        self._weighted: dict[str, Array] = {}
        self._norms = np.zeros((len(self.names), len(self.names)))
        self._norm = np.zeros(len(self.names))

    def add(self, block: Mapping[str, Array]) -> None:
        """Take in some rows.

        Args:
            block: [rows, width] for each column, the same rows in each.
        """
        if not self.n_rows:
            self._begin(block)
        # HSIC does not see a shift, but a float does: offsets are often larger than all else.
        x = {name: block[name] - self._shift[name] for name in self.names}
        self.n_rows += len(x[self.names[0]])
        norms = np.stack([np.einsum("ij,ij->i", x[name], x[name]) for name in self.names], axis=1)
        self._norm += norms.sum(0)
        self._norms += norms.T @ norms
        for name in self.names:
            self._sum[name] += x[name].sum(0)
            self._weighted[name] += norms.T @ x[name]
        for a, b in self.pairs:
            self._cross[a, b] += x[a].T @ x[b]

    def _begin(self, block: Mapping[str, Array]) -> None:
        for name in self.names:
            width = block[name].shape[1]
            self._shift[name] = block[name].mean(0)
            self._sum[name] = np.zeros(width)
            self._weighted[name] = np.zeros((len(self.names), width))
        for a, b in self.pairs:
            self._cross[a, b] = np.zeros((block[a].shape[1], block[b].shape[1]))

    def hsic(self, a: str, b: str, *, debiased: bool = True) -> float:
        """Return the HSIC of a pair: Song's unbiased one, or ``||Yc^T Xc||^2 / (n - 1)^2``."""
        n = self.n_rows
        i, j = self.names.index(a), self.names.index(b)
        cross, sa, sb = self._cross[a, b], self._sum[a], self._sum[b]
        if not debiased:
            return float(((cross - np.outer(sa, sb) / n) ** 2).sum() / (n - 1) ** 2)
        both = self._norms[i, j]
        inner = float((cross**2).sum() - both)
        totals = float((sa @ sa - self._norm[i]) * (sb @ sb - self._norm[j]))
        rows = sa @ cross @ sb - sa @ self._weighted[a][j] - sb @ self._weighted[b][i] + both
        return _unbiased(n, inner, totals, float(rows))

    def is_flat(self, name: str) -> bool:
        """Whether a column that is compared with itself does not vary, rounding aside."""
        own = self.hsic(name, name, debiased=False)
        scale = self._norm[self.names.index(name)] + (self._shift[name] ** 2).sum()
        return bool(own <= (flat_share(self.rounding[name]) * scale) ** 2)


def _unbiased(n: int, inner: float, totals: float, rows: float) -> float:
    """Song's estimator from sums over different rows: of products, of each kernel, of row sums."""
    return (inner + totals / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


class StreamingCKA:
    """Linear CKA of rows that come in parts; no more than a part is ever in memory.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(1000, 8))
        >>> sums = StreamingCKA()
        >>> for start in range(0, 1000, 100):
        ...     sums.add(X[start : start + 100], 3 * X[start : start + 100, ::-1])
        >>> round(sums.value(), 12), sums.n_rows
        (1.0, 1000)
    """

    def __init__(self) -> None:
        """Begin with no rows."""
        self._sums = CrossSums([("x", "x"), ("y", "y"), ("x", "y")])
        self._widths: tuple[int, int] | None = None

    @property
    def n_rows(self) -> int:
        """How many rows there were."""
        return self._sums.n_rows

    def add(self, X: Any, Y: Any) -> None:
        """Take in some rows.

        Args:
            X: [rows, width of X], any float array or tensor.
            Y: [rows, width of Y]; the same rows.

        Raises:
            AnalysisError: Rows or widths do not fit, or a value is not finite.
        """
        source = pair_source(X, Y, least=0)
        known = self._sums.rounding
        known |= {name: max(x, known.get(name, 0.0)) for name, x in source.rounding.items()}
        for part in source.blocks():
            widths = part["x"].shape[1], part["y"].shape[1]
            if self._widths not in (None, widths):
                raise AnalysisError(f"rows of {widths} numbers after rows of {self._widths}")
            self._widths = widths
            self._sums.add(part)

    def value(self, *, debiased: bool = True) -> float:
        """Return the CKA of all rows so far; see :func:`cka`.

        Raises:
            AnalysisError: There are too few rows, or one side does not vary.
        """
        check_rows(self.n_rows, debiased)
        for name in ("x", "y"):
            if self._sums.is_flat(name):
                raise _flat(name.upper())
        return ratio(self._sums, "x", "y", debiased=debiased)


def ratio(sums: CrossSums, a: str, b: str, *, debiased: bool) -> float:
    """Return the CKA of a pair from its sums and those of each with itself."""
    own = [sums.hsic(x, x, debiased=debiased) for x in (a, b)]
    return scaled(sums.hsic(a, b, debiased=debiased), *own)


def scaled(both: float, first: float, second: float) -> float:
    """Return the HSIC of a pair over the root of those of its sides.

    NaN where one of these is not above 0, as the unbiased estimate is of rows equally far apart.
    """
    return both / math.sqrt(first * second) if first > 0 and second > 0 else math.nan


def cka(X: Any, Y: Any, *, debiased: bool = True) -> float:
    """Return linear CKA: 1 for representations that are equal up to rotation and scale.

    ``HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))`` with ``HSIC = ||Y^T X||_F^2`` of centred columns
    (Kornblith et al. 2019). With fewer rows than dimensions that is far from 0 even for unrelated
    noise, about ``d / (n + d)``: ``debiased`` takes the unbiased estimator of HSIC (Song et al.
    2012), which then is near 0, and may be slightly negative; NaN where a side's own HSIC is not
    above 0, as of rows that are all equally far apart.

    Args:
        X: [rows, width of X], any float array or tensor.
        Y: [rows, width of Y]; row i of both is the same token or text.
        debiased: Take the unbiased HSIC.

    Raises:
        AnalysisError: Rows do not fit, there are too few (4 debiased, 2 biased), one side does not
            vary beyond the rounding of its numbers, or a value is not real and finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, Y = rng.normal(size=(2, 100, 300))
        >>> round(cka(X, Y, debiased=False), 1), abs(cka(X, Y)) < 0.05
        (0.8, True)
    """
    source = pair_source(X, Y)
    check_rows(source.n_rows, debiased)
    if source.n_rows > max(source.widths.values()):
        sums = StreamingCKA()
        sums._sums.rounding |= source.rounding
        for part in source.blocks():
            sums._sums.add(part)
        return sums.value(debiased=debiased)
    parts = list(source.blocks())
    kernels = {}
    for name in ("x", "y"):
        kernel = kernel_of([part[name] for part in parts], source.rounding[name])
        if kernel is None:
            raise _flat(name.upper())
        kernels[name] = kernel
    K, L = kernels["x"], kernels["y"]
    own = [kernel_hsic(x, x, debiased=debiased) for x in (K, L)]
    return scaled(kernel_hsic(K, L, debiased=debiased), *own)


def kernel_of(parts: Sequence[Array], rounding: float) -> Array | None:
    """Return the inner products of centred rows, [rows, rows]; None if the rows do not vary."""
    full = np.concatenate(parts)
    centred = full - full.mean(0)
    if (centred**2).sum() <= flat_share(rounding) * (full**2).sum():
        return None
    return np.asarray(centred @ centred.T)


def kernel_hsic(K: Array, L: Array, *, debiased: bool) -> float:
    """Return the HSIC of two kernels of centred rows, which is the cheaper way for few rows."""
    n = len(K)
    both = float(np.vdot(K, L))
    if not debiased:
        return both / (n - 1) ** 2
    k, m = np.diagonal(K), np.diagonal(L)
    rows_k, rows_m = K.sum(0) - k, L.sum(0) - m
    totals = float(rows_k.sum() * rows_m.sum())
    return _unbiased(n, both - float(k @ m), totals, float(rows_k @ rows_m))


def pair_source(X: Any, Y: Any, *, least: int = 2) -> Source:
    """Return two arrays as columns ``x`` and ``y``.

    Raises:
        AnalysisError: They are no matrices of real numbers with as many rows each.
    """
    rounding = {name: rounding_of(x) for name, x in (("x", X), ("y", Y)) if hasattr(x, "dtype")}
    given = {"x": as_array(X, "X"), "y": as_array(Y, "Y")}
    shapes = [each.shape for each in given.values()]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise AnalysisError(
            f"X has shape {shapes[0]} and Y {shapes[1]}; expected [rows, width] with the same rows"
        )
    widths = {name: shape[1] for name, shape in zip(given, shapes, strict=True)}
    n = shapes[0][0]
    if n < least or not all(widths.values()):
        raise AnalysisError(
            f"X has shape {shapes[0]} and Y {shapes[1]}; that is nothing to compare"
        )

    def read(names: Any, rows: int) -> Any:
        for start in range(0, n, rows):
            yield {name: given[name][start : start + rows] for name in names}

    kept = {name: rounding.get(name, rounding_of(each)) for name, each in given.items()}
    return Source("X and Y", widths, n, read, kept)


def check_rows(n: int, debiased: bool) -> None:
    """Refuse too few rows.

    Raises:
        AnalysisError: There are fewer than 4 (debiased) or 2 (biased).
    """
    least = 4 if debiased else 2
    if n < least:
        hint = "; debiased=False takes 2" if debiased and n >= 2 else ""
        raise AnalysisError(
            f"CKA of {n} row{'s' * (n != 1)}: the {'debiased' if debiased else 'biased'} estimate "
            f"needs at least {least}{hint}"
        )


def _flat(name: str) -> AnalysisError:
    return AnalysisError(f"{name} is the same in every row: CKA compares how rows differ")
