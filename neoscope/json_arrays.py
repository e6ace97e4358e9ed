"""Arrays as JSON can hold them: nested lists, null for NaN, a word for an infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPECIAL = {"Infinity": np.inf, "-Infinity": -np.inf}


def packed(x: NDArray[Any] | None) -> dict[str, Any] | None:
    """Return dtype, shape and values of an array; None stays None."""
    if x is None:
        return None
    x = np.asarray(x)
    return {"dtype": str(x.dtype), "shape": list(x.shape), "values": numbers(x)}


def unpacked(kept: dict[str, Any] | None) -> NDArray[Any] | None:
    """Read what :func:`packed` wrote."""
    if kept is None:
        return None
    found = array(kept["values"]).astype(kept["dtype"])
    return found.reshape(kept["shape"]) if "shape" in kept else found


def numbers(x: Any) -> Any:
    """Return nested lists that JSON can hold."""
    if isinstance(x, np.ndarray):
        finite = x.dtype.kind != "f" or bool(np.isfinite(x).all())
        return x.tolist() if finite else numbers(x.tolist())
    if isinstance(x, list):
        return [numbers(value) for value in x]
    if x != x:
        return None
    return x if abs(x) != np.inf else ("Infinity" if x > 0 else "-Infinity")


def array(x: Any) -> NDArray[Any]:
    """Read what :func:`numbers` wrote, as float64."""
    raw = np.array(x, object)
    flat = [np.nan if v is None else _SPECIAL[v] if isinstance(v, str) else v for v in raw.flat]
    return np.array(flat, np.float64).reshape(raw.shape)
