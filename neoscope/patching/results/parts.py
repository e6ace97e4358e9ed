"""Parts of a result's grid, chosen by the labels of its axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError, nearest
from neoscope.indices import whole
from neoscope.patching.results.axes import Axis

if TYPE_CHECKING:
    from neoscope.patching.results.result import PatchingResult


def selected(result: PatchingResult, where: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a result that change when a part of its grid is taken.

    Args:
        result: What was measured.
        where: For each named axis a label or index (the axis goes), a list of them or a slice of
            places (it stays).

    Raises:
        PatchingError: There is no such axis or label.
    """
    names = [axis.name for axis in result.axes]
    for name in where:
        if name not in names:
            raise PatchingError(
                f"there is no axis {name!r}{nearest(name, names)}; the axes are {names}"
            )
    picks = [_picked(axis, where.get(axis.name, slice(None))) for axis in result.axes]
    kept = [(axis, p) for axis, p in zip(result.axes, picks, strict=True) if isinstance(p, list)]

    def part(x: NDArray[Any], skip: int) -> NDArray[Any]:
        for i in reversed(range(len(picks))):
            x = np.take(x, picks[i], axis=i + skip)
        return np.asarray(x)

    assert result.ran is not None
    return {
        "axes": tuple(axis.take(pick) for axis, pick in kept),
        "patched": part(result.patched, 1),
        "components": {name: part(x, 1) for name, x in result.components.items()},
        "ran": part(result.ran, 0),
    }


def _picked(axis: Axis, wanted: Any) -> Any:
    if isinstance(wanted, slice):
        return list(range(len(axis))[wanted])
    if isinstance(wanted, str) or whole(wanted) is not None:
        return axis.index(wanted)
    return [axis.index(one) for one in wanted]
