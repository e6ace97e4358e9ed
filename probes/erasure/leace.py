"""LEACE: the smallest change of representations after which no linear probe finds a concept.

``r(x) = x - W^+ P W (x - mu)`` with ``W = (Sigma_xx^{1/2})^+`` and P the orthogonal projection onto
the columns of ``W Sigma_xz``. Of all affine maps that leave no covariance with z, it has the least
expected squared change, in every metric.

Reference: Belrose et al. 2023, arXiv:2306.03819, theorem 4.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.erasure.concept import Concept
from probes.erasure.eraser import Eraser
from probes.erasure.statistics import CrossMoments
from probes.progress import QUIET_SECONDS

Array = NDArray[Any]
_EPS = float(np.finfo(np.float64).eps)
_COARSE = 1e-6
"""Error of a correlation whose products were made in float32, with room."""
_PIVOT = 1e-4
"""Squared pivots above this leave float32 products good enough."""


class LeaceFitter:
    """Collects what LEACE needs from batches of rows.

    Example:
        >>> fitter = LeaceFitter(2, 2)
        >>> batch = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [2.0, 3.0]])
        >>> eraser = fitter.update(batch, [0, 1, 0, 1]).eraser()
        >>> eraser(batch).round(9).tolist()
        [[1.0, 1.0], [1.0, 1.0], [1.0, 3.0], [1.0, 3.0]]
    """

    def __init__(self, n_features: int, n_labels: int) -> None:
        """Start with no rows.

        Args:
            n_features: Length of a row.
            n_labels: Number of classes, or of numbers that are erased together.
        """
        if n_features < 1 or n_labels < 1:
            raise ProbeError(
                f"n_features={n_features}, n_labels={n_labels}; expected at least 1 of each"
            )
        self._moments = CrossMoments(n_features, n_labels)
        self._n_features, self._n_labels = n_features, n_labels

    @property
    def n_rows(self) -> int:
        """Rows seen."""
        return self._moments.n

    def update(self, X: Any, labels: Any) -> LeaceFitter:
        """Add a batch.

        Args:
            X: [rows, features]. Of float32, products of features are made in float32, which is
                several times as fast; the erasure is as complete, and its size the least there is
                to about six digits. Give float64 where features are nearly dependent.
            labels: [rows] class numbers from 0 to ``n_labels - 1``, or [rows, n_labels] numbers;
                with ``n_labels=1`` also [rows] floats.

        Raises:
            ProbeError: Shapes do not fit, or a number is not finite.
        """
        X = read_rows(X, self._n_features)
        concept = Concept.of_width(labels, self._n_labels)
        check_lengths(X, concept)
        self._moments.add(X, concept)
        return self

    def eraser(self) -> Eraser:
        """Return the eraser of all rows so far.

        Raises:
            ProbeError: There are fewer than two rows, or all have the same label.
        """
        if self.n_rows < 2:
            raise ProbeError(f"LEACE needs at least 2 rows; found {self.n_rows}")
        if not self._moments.z_variance.any():
            raise ProbeError(
                f"erasure needs rows of at least 2 classes; all {self.n_rows} rows so far have the "
                "same label"
            )
        eraser = solve(self._moments)
        assert eraser is not None
        return eraser


def fit_leace(X: Any, y: Any) -> Eraser:
    """Return the LEACE eraser of labelled rows.

    Args:
        X: [rows, features], float32 or float64; may be memory-mapped.
        y: [rows] labels: whole numbers, strings and booleans are classes, floats quantities; or
            [rows, numbers], several labels or quantities that are erased together.

    Raises:
        ProbeError: One class only, rows and labels of different number, or a feature that is not
            finite.

    Example:
        >>> X = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [2.0, 3.0]])
        >>> fit_leace(X, ["no", "yes", "no", "yes"]).rank
        1
    """
    return _fit(read_rows(X), Concept.read(y))


def fit_leace_layers(X: Any, y: Any, *, progress: bool = True) -> list[Eraser]:
    """Return one LEACE eraser for each of several layers whose rows have the same labels.

    Args:
        X: The layers' rows: [layers, rows, features], or several [rows, features].
        y: As for :func:`fit_leace`.
        progress: Show a bar from two seconds on.

    Raises:
        ProbeError: As :func:`fit_leace`, saying in which layer.
    """
    from tqdm.auto import tqdm

    concept, erasers = Concept.read(y), []
    for layer, rows in enumerate(
        tqdm(X, "LEACE", unit="layer", delay=QUIET_SECONDS, disable=not progress)
    ):
        try:
            erasers.append(_fit(read_rows(rows), concept))
        except ProbeError as error:
            raise ProbeError(f"layer {layer} of those given: {error}") from error
    return erasers


def _fit(X: Array, concept: Concept) -> Eraser:
    check_lengths(X, concept)
    if len(X) < 2:
        raise ProbeError(f"LEACE needs at least 2 rows; found {len(X)}")
    moments = CrossMoments(X.shape[1], concept.width)
    moments.add(X, concept)
    eraser = solve(moments, coarse=False)
    if eraser is None:
        # Nearly dependent features: products in float32 would be mostly rounding.
        moments = CrossMoments(X.shape[1], concept.width)
        moments.add(X, concept, exact=True)
        eraser = solve(moments)
        assert eraser is not None
    return eraser


def solve(moments: CrossMoments, *, coarse: bool = True) -> Eraser | None:
    """Return the eraser of some moments.

    All is done in units of each feature's own spread, which changes nothing in exact arithmetic:
    LEACE commutes with invertible maps. Outlier dimensions then hide no others. The guarantee rests
    on the covariance with z alone, not on how well ``Sigma_xx`` is known.

    Args:
        moments: Of at least two rows.
        coarse: Whether an ill-conditioned covariance that was summed in float32 will do; None is
            returned where it will not.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        covariance = moments.covariance
    if not np.isfinite(covariance).all():
        return None if not coarse else _overflowed()
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    spread[spread <= 1e-12 * np.abs(moments.mean)] = 0.0  # constant but for rounding
    scale = inverse_of(spread)
    correlation = covariance * scale[:, None] * scale
    np.fill_diagonal(correlation, 1.0)
    cross = moments.cross * scale[:, None] * inverse_of(np.sqrt(moments.z_variance))
    roots = _roots(correlation, cross, moments.coarse, coarse)
    if roots is None:
        return None
    unwhiten, whiten = roots
    basis = column_basis(whiten(cross), moments.degrees)
    right = whiten(basis, transposed=True).T
    return Eraser(moments.mean, unwhiten(basis) * spread[:, None], right * scale, "leace")


def column_basis(columns: Array, degrees: int) -> Array:
    """Return an orthonormal basis of the columns of a matrix of correlations, [features, rank].

    Args:
        columns: [features, width].
        degrees: The highest rank there can be.
    """
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    # Less than this is rounding; what it would leave behind is as small.
    rank = int((s > 64 * max(columns.shape) * _EPS * max(1.0, float(s.max()))).sum())
    return np.ascontiguousarray(u[:, : min(rank, degrees)])


def inverse_of(spread: Array) -> Array:
    """Return 1 over each spread; 0 where there is none."""
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)


def _roots(correlation: Array, cross: Array, rounded: bool, coarse: bool) -> Any:
    """Return products with a root L of a correlation, ``L L^T``, and with its inverse.

    None where the correlation is ill-conditioned and was rounded, if that will not do.
    """
    from scipy.linalg import solve_triangular

    try:
        lower = np.linalg.cholesky(correlation)
        if (np.diagonal(lower) ** 2).min() > (_PIVOT if rounded else 1e-10):

            def solve_lower(x: Array, transposed: bool = False) -> Array:
                return np.asarray(solve_triangular(lower, x, lower=True, trans=int(transposed)))

            return lambda x: lower @ x, solve_lower
    except np.linalg.LinAlgError:
        pass
    if rounded and not coarse:
        return None
    values, vectors = np.linalg.eigh(correlation)
    floor = (_COARSE if rounded else len(values) * _EPS) * max(float(values[-1]), 0.0)
    # A direction in which nothing varies is left alone; but if z can be told from it, it varies,
    # by less than the rounding of the rest.
    told = np.linalg.norm(vectors.T @ cross, axis=1) > 64 * len(values) * _EPS
    kept = (values > floor) | told
    vectors, root = vectors[:, kept], np.sqrt(np.maximum(values[kept], floor))[:, None]

    def inverse(x: Array, transposed: bool = False) -> Array:
        return np.asarray(vectors @ (x / root) if transposed else (vectors.T @ x) / root)

    return lambda x: vectors @ (root * x), inverse


def _overflowed() -> Eraser:
    raise ProbeError(
        "products of features overflow float32; give float64, or scale the features down"
    )


def read_rows(X: Any, n_features: int | None = None) -> Array:
    """Return [rows, features] in float32 or float64, without a copy where it is that already.

    Raises:
        ProbeError: It is something else.
    """
    rows = np.asarray(X)
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "fiub":
        raise ProbeError(
            f"features have shape {rows.shape} of {rows.dtype}; expected numbers [rows, features]"
        )
    if n_features not in (None, rows.shape[1]):
        raise ProbeError(f"features have shape {rows.shape}; expected [rows, {n_features}]")
    if rows.dtype == np.float16:
        return rows.astype(np.float32)
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def check_lengths(X: Array, concept: Concept) -> None:
    """Check that there is a label for every row.

    Raises:
        ProbeError: There is not.
    """
    if len(X) != concept.n_rows:
        raise ProbeError(f"there are {len(X)} rows of features but {concept.n_rows} labels")
