"""Whether the parts of a result fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neoscope.errors import PatchingError

if TYPE_CHECKING:
    from neoscope.patching.results.result import PatchingResult


def check_result(result: PatchingResult) -> None:
    """Check shapes, names and baselines.

    Args:
        result: As its constructor left it.

    Raises:
        PatchingError: Something does not fit; the message says what was found and expected.
    """
    patched, axes = result.patched, result.axes
    if patched.ndim < 1 or not len(patched):
        raise PatchingError(f"patched has shape {patched.shape}; expected [pairs, *axes]")
    cells = tuple(len(axis) for axis in axes)
    if patched.shape[1:] != cells:
        raise PatchingError(
            f"patched has shape {patched.shape}; the axes have {[axis.name for axis in axes]} "
            f"{cells} after the pairs"
        )
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise PatchingError(f"two axes have the same name: {names}")
    if result.base_name not in ("clean", "corrupted"):
        raise PatchingError(f"base_name={result.base_name!r}; expected 'clean' or 'corrupted'")
    if getattr(result, result.base_name) is None:
        raise PatchingError(f"the {result.base_name} runs were patched, but have no baseline")
    assert result.ran is not None
    expected = {"ran": (result.ran, cells)}
    expected |= {name: (x, patched.shape) for name, x in result.components.items()}
    for side in ("clean", "corrupted"):
        baseline = getattr(result, side)
        expected |= {} if baseline is None else {side: (baseline, patched.shape[:1])}
        expected |= {
            f"{name} of the {side} runs": (sides[side], patched.shape[:1])
            for name, sides in result.base_components.items()
            if side in sides
        }
    for name, (array, shape) in expected.items():
        if np.shape(array) != shape:
            raise PatchingError(f"{name} has shape {np.shape(array)}; expected {shape}")
    if result.ran.dtype != bool:
        raise PatchingError(f"ran holds {result.ran.dtype}; expected true and false")
