"""Patterns and maps as bytes: what travels to a browser is what is on its screen, coarsely."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

THUMBNAIL = 24
"""Most rows and columns of a thumbnail."""


def shares(pattern: Float[np.ndarray, "*axes"]) -> UInt8[np.ndarray, "*axes"]:
    """Return shares between 0 and 1 in steps of 1/255: at most 1/510 off; 0 where there is none.

    Args:
        pattern: Attention or other shares.

    Example:
        >>> shares(np.array([0.0, 0.5, 1.0]))
        array([  0, 128, 255], dtype=uint8)
    """
    known = np.nan_to_num(pattern, nan=0.0)
    return np.asarray(np.rint(np.clip(known, 0.0, 1.0) * 255).astype(np.uint8))


def thumbnails(
    patterns: Float[np.ndarray, "head query key"], size: int = THUMBNAIL
) -> UInt8[np.ndarray, "head row column"]:
    """Return small pictures of patterns, each block of cells shown by its largest share.

    Args:
        patterns: Square patterns of one or more heads.
        size: Most rows and columns of a picture; a smaller pattern is returned as it is.
    """
    n = patterns.shape[1]
    if n > size:
        # Edges as even as they can be, so that no block is empty and none is left over.
        starts = np.arange(size) * n // size
        patterns = np.maximum.reduceat(patterns, starts, axis=1)
        patterns = np.maximum.reduceat(patterns, starts, axis=2)
    return shares(patterns)


def signed(
    values: Float[np.ndarray, "row column"],
) -> tuple[UInt8[np.ndarray, "row column"], float]:
    """Return effects about zero as bytes, and what the largest stands for.

    A byte b stands for (b - 128) / 127 times that; 0 says that there is no value. The error is at
    most 1/254 of the largest.

    Args:
        values: Of any sign; NaN where there is none.
    """
    known = np.isfinite(values)
    largest = float(np.abs(values[known]).max()) if known.any() else 0.0
    steps = np.zeros(values.shape) if largest == 0.0 else values / largest * 127
    return np.where(known, np.rint(np.where(known, steps, 0.0)) + 128, 0).astype(np.uint8), largest
