"""Fitting an estimator that may hold rows out for itself, by group where it can."""

from __future__ import annotations

import inspect
from typing import Any

from numpy.typing import NDArray


def fit_by_group(probe: Any, X: NDArray[Any], y: NDArray[Any], groups: NDArray[Any] | None) -> Any:
    """Fit, and tell a probe whose `fit` takes ``groups`` what must stay together.

    Such a probe holds rows out to judge when to end, and rows of one sentence would not be unseen
    if others of it are trained on.

    Args:
        probe: Any estimator with scikit-learn's interface.
        X: [rows, features].
        y: [rows] or [rows, labels].
        groups: [rows]; None for rows by themselves.

    Returns:
        The probe.
    """
    if groups is None or "groups" not in inspect.signature(probe.fit).parameters:
        return probe.fit(X, y)
    return probe.fit(X, y, groups=groups)
