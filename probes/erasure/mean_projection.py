"""Mean projection: taking out the span of class-mean differences at a right angle.

The plain baseline of LEACE (for quantities it is the spectral attribute removal of Shao et al.
2023): it removes the concept from linear probes as completely, and more else with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.erasure.concept import Concept
from probes.erasure.eraser import Eraser
from probes.erasure.leace import check_lengths, column_basis, inverse_of, read_rows
from probes.erasure.statistics import CrossMoments

Array = NDArray[Any]


def fit_mean_projection(X: Any, y: Any) -> Eraser:
    """Return the orthogonal projection off the covariance of features with labels.

    Args:
        X: [rows, features], float32 or float64; may be memory-mapped.
        y: As for :func:`probes.erasure.fit_leace`.

    Raises:
        ProbeError: As :func:`probes.erasure.fit_leace`.

    Example:
        >>> X = np.array([[0.0, 1.0], [2.0, 2.0], [0.0, 3.0], [2.0, 4.0]])
        >>> eraser = fit_mean_projection(X, [0, 1, 0, 1])
        >>> eraser.rank, bool(np.allclose(eraser.left, eraser.right.T))
        (1, True)
    """
    rows, concept = read_rows(X), Concept.read(y)
    check_lengths(rows, concept)
    if len(rows) < 2:
        raise ProbeError(f"mean projection needs at least 2 rows; found {len(rows)}")
    moments = CrossMoments(rows.shape[1], concept.width, scatter=False)
    moments.add(rows, concept)
    cross = moments.cross * inverse_of(np.sqrt(moments.z_variance))
    size = float(np.abs(cross).max())
    basis = column_basis(cross / (size or 1.0), moments.degrees)
    return Eraser(moments.mean, basis, basis.T.copy(), "mean projection")


def project_out(directions: Any, mean: Any = None, method: str = "projection") -> Eraser:
    """Return the orthogonal projection off the span of given directions.

    Args:
        directions: [directions, features]; need be neither normalised nor independent.
        mean: [features], which stays where it is; None for 0.
        method: What the eraser says it is.

    Raises:
        ProbeError: The directions are all 0, or not finite.
    """
    rows = np.atleast_2d(np.asarray(directions, np.float64))
    if rows.ndim != 2 or not np.isfinite(rows).all() or not rows.any():
        raise ProbeError(
            f"directions have shape {rows.shape}; expected [directions, features], finite and not "
            "all 0"
        )
    _, s, v = np.linalg.svd(rows, full_matrices=False)
    basis = v[s > max(rows.shape) * np.finfo(np.float64).eps * s[0]]
    centre = np.zeros(rows.shape[1]) if mean is None else np.asarray(mean, np.float64)
    return Eraser(centre, basis.T.copy(), basis.copy(), method)
