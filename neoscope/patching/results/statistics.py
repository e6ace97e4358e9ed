"""Statistics over pairs: means, bootstrap intervals, and sign-flip tests of many cells at once.

Cells are columns of a matrix [pairs, cells]. Every draw is used for all cells, so that what varies
together stays together, and draws times cells is one matrix product, made in pieces. NaN is a pair
that a cell lacks; it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError, nearest
from neoscope.indices import whole

Array = NDArray[np.float64]
CORRECTIONS = ("max", "holm", "bh", "none")
EXACT_LIMIT = 12
"""Up to so many pairs, all sign patterns are enumerated."""
_PIECE = 2**22
"""Numbers of one piece of draws times cells."""
_TIE = 1e-9
"""Relative to a cell's mean magnitude; sums that differ by less are equal but for rounding."""


def mean(values: NDArray[Any]) -> Array:
    """Return means over pairs; NaN where a cell has no pair.

    Args:
        values: ``[pairs, ...]``.
    """
    x = np.asarray(values, np.float64)
    seen = ~np.isnan(x)
    return _ratio(np.where(seen, x, 0.0).sum(0), seen.sum(0))


def stderr(values: NDArray[Any]) -> Array:
    """Return standard errors of the means over pairs; NaN for fewer than two pairs.

    Args:
        values: ``[pairs, ...]``.
    """
    x = np.asarray(values, np.float64)
    n = (~np.isnan(x)).sum(0)
    squares = np.nansum((x - mean(x)) ** 2, axis=0)
    return np.asarray(np.where(n > 1, np.sqrt(_ratio(squares, (n - 1) * n)), np.nan))


def bootstrap(
    values: NDArray[Any],
    *,
    over: NDArray[Any] | None = None,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Array:
    """Return percentile bootstrap intervals of means over pairs, or of a ratio of means.

    Args:
        values: ``[pairs, ...]``.
        over: ``[pairs]``: the mean of each cell is divided by the mean of these, drawn with it.
        confidence: Share of resampled means inside the interval.
        draws: How many times pairs are drawn anew, with replacement.
        seed: Of the draws.

    Returns:
        ``[2, ...]``: lower and upper ends; NaN for fewer than two pairs.

    Raises:
        PatchingError: ``confidence`` or ``draws`` means nothing.
    """
    if not 0 < confidence < 1:
        raise PatchingError(f"confidence={confidence!r}; expected a share between 0 and 1")
    count = _draws(draws)
    x = np.asarray(values, np.float64)
    n, cells = len(x), x.reshape(len(x), -1)
    out = np.full((2, cells.shape[1]), np.nan)
    if n > 1:
        times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)
        weights = times.astype(np.float64)
        span = None if over is None else weights @ np.asarray(over, np.float64) / n
        tail = (1 - confidence) / 2
        for piece in _pieces(cells.shape[1], count):
            drawn = _resampled(cells[:, piece], weights)
            if span is not None:
                with np.errstate(divide="ignore", invalid="ignore"):
                    drawn = drawn / span[:, None]
            out[:, piece] = _quantiles(drawn, (tail, 1 - tail))
        out[:, (~np.isnan(cells)).sum(0) < 2] = np.nan
    return out.reshape(2, *x.shape[1:])


def _resampled(cells: Array, weights: Array) -> Array:
    seen = ~np.isnan(cells)
    if seen.all():
        return np.asarray(weights @ cells / len(cells))
    return _ratio(weights @ np.where(seen, cells, 0.0), weights @ seen)


def _quantiles(drawn: Array, levels: tuple[float, float]) -> Array:
    if not np.isnan(drawn).any():
        return np.asarray(np.quantile(drawn, levels, axis=0))
    out = np.full((2, drawn.shape[1]), np.nan)
    for i, column in enumerate(drawn.T):
        some = column[~np.isnan(column)]  # a draw may hold none of the pairs that a cell has
        if len(some):
            out[:, i] = np.quantile(some, levels)
    return out


def sign_flip(
    values: NDArray[Any],
    *,
    correction: str = "max",
    statistic: str = "mean",
    tested: NDArray[np.bool_] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Array:
    """Return two-sided p-values of the hypothesis that a cell's effects are as often + as -.

    Under it every pattern of signs of the pairs is equally likely. Up to twelve pairs all patterns
    are enumerated, which is exact; beyond, ``draws`` of them are drawn, and p is
    ``(1 + count) / (1 + draws)``. One pair says nothing: p is 1.

    Args:
        values: Effects, ``[pairs, ...]``.
        correction: Over the tested cells. ``"max"``: the family-wise error is held, step down, by
            the distribution of the largest statistic of all cells (Westfall & Young 1993), which
            knows how cells vary together. ``"holm"``: family-wise without that knowledge.
            ``"bh"``: the false discovery rate (Benjamini & Hochberg 1995). ``"none"``.
        statistic: What ``"max"`` compares cells by: ``"mean"``, the size of the mean effect, or
            ``"t"``, the effect over its standard error, which gives small steady effects the same
            chance as large ones.
        tested: ``[...]``: False for a cell that cannot move: it is none of the family, and its p
            is 1. None: all are tested.
        draws: How many patterns are drawn where there are too many for all.
        seed: Of the draws.

    Returns:
        ``[...]``; NaN where a cell has no pair.

    Raises:
        PatchingError: An unknown correction or statistic.
    """
    _check_name("correction", correction, CORRECTIONS)
    _check_name("statistic", statistic, ("mean", "t"))
    x = np.asarray(values, np.float64)
    cells = x.reshape(len(x), -1)
    seen = ~np.isnan(cells)
    family = seen.any(0)
    if tested is not None:
        family = family & np.asarray(tested, bool).reshape(-1)
    out = np.where(seen.any(0), 1.0, np.nan)
    if family.any():
        signs, exact = _signs(len(x), _draws(draws), seed)
        chosen = np.where(seen, cells, 0.0)[:, family]
        scaled = _scaled(chosen, seen[:, family], statistic)
        if correction == "max":
            out[family] = _step_down(scaled, signs, exact)
        else:
            out[family] = adjusted(_alone(scaled, signs, exact), correction)
    return out.reshape(x.shape[1:])


def _scaled(cells: Array, seen: NDArray[np.bool_], statistic: str) -> Array:
    """Divide effects so that a cell's statistic is the magnitude of their signed sum.

    The sum of squares does not change with signs, so that the sum over its root orders patterns as
    Student's t does.
    """
    n = seen.sum(0).astype(np.float64)
    size = n if statistic == "mean" else np.sqrt((cells**2).sum(0))
    return np.asarray(cells / np.where(size > 0, size, 1.0))


def _signs(n: int, draws: int, seed: int) -> tuple[Array, bool]:
    if n <= EXACT_LIMIT:
        # One of each two opposite patterns, which have the same magnitude; the first is all +.
        patterns = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)[None]
        return np.asarray(1.0 - 2.0 * (patterns & 1), np.float64), True
    drawn = np.random.default_rng(seed).integers(0, 2, size=(draws, n))
    return np.asarray(1.0 - 2.0 * drawn, np.float64), False


def _alone(cells: Array, signs: Array, exact: bool) -> Array:
    observed, tie = np.abs(cells.sum(0)), _TIE * np.abs(cells).sum(0)
    count = np.zeros(cells.shape[1])
    for piece in _pieces(cells.shape[1], len(signs)):
        flipped = np.abs(signs @ cells[:, piece])
        count[piece] = (flipped >= (observed - tie)[piece]).sum(0)
    return _p(count, len(signs), exact)


def _step_down(cells: Array, signs: Array, exact: bool) -> Array:
    observed = np.abs(cells.sum(0))
    order = np.argsort(observed, kind="stable")  # the largest last
    rising, tie = cells[:, order], (_TIE * np.abs(cells).sum(0))[order]
    count = np.zeros(len(order))
    for piece in _pieces(len(signs), len(order)):
        flipped = np.abs(signs[piece] @ rising)
        # The largest statistic among the cells whose effect is no larger than this cell's.
        np.maximum.accumulate(flipped, axis=1, out=flipped)
        count += (flipped >= observed[order] - tie).sum(0)
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(_p(count, len(signs), exact)[::-1])[::-1]
    return p


def _p(count: Array, n: int, exact: bool) -> Array:
    return count / n if exact else (1 + count) / (1 + n)


def adjusted(p: Array, correction: str) -> Array:
    """Return p-values adjusted for their number.

    Args:
        p: ``[cells]``.
        correction: ``"holm"``, ``"bh"`` or ``"none"``.

    Example:
        >>> adjusted(np.array([0.01, 0.04]), "holm").tolist()
        [0.02, 0.04]
    """
    m, order = len(p), np.argsort(p, kind="stable")
    rising, out = p[order], np.empty(len(p))
    if correction == "holm":
        rising = np.maximum.accumulate(rising * (m - np.arange(m)))
    elif correction == "bh":
        rising = np.minimum.accumulate((rising * m / (np.arange(m) + 1))[::-1])[::-1]
    out[order] = np.minimum(rising, 1.0)
    return out


def _pieces(n: int, depth: int) -> Iterator[slice]:
    step = max(1, _PIECE // max(1, depth))
    for start in range(0, n, step):
        yield slice(start, start + step)


def _ratio(a: Any, b: Any) -> Array:
    """Divide; NaN where nothing was counted."""
    a = np.asarray(a, np.float64)
    return np.asarray(np.divide(a, b, out=np.full(a.shape, np.nan), where=np.asarray(b) > 0))


def _draws(draws: Any) -> int:
    number = whole(draws)
    if number is None or number < 1:
        raise PatchingError(f"draws={draws!r}; expected a whole number, one at least")
    return number


def _check_name(argument: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise PatchingError(
            f"{argument}={given!r}; expected one of {', '.join(map(repr, known))}"
            f"{nearest(str(given), known)}"
        )
