"""Results as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as JSON has it: lists for arrays, None for NaN and infinities.

    Args:
        values: Of a result, by field.

    Example:
        >>> recorded({"auc": float("nan"), "sizes": (1, 2)})
        {'auc': None, 'sizes': [1, 2]}
    """
    return {str(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return recorded(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
