"""Which places and which rows of some data are meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from neoscope.errors import ProbeError, nearest
from probes.data.columns import Rows
from probes.data.places import Place


def pick_places(
    places: Sequence[Place], sites: Any = None, layers: Any = None, heads: Any = None
) -> list[Place]:
    """Return the places of some sites, layers and heads.

    Args:
        places: All that there are.
        sites: A name or several; None for all.
        layers: A number or several; negative ones count from the last layer that there is; None
            or ``"all"`` for all, also of sites that have no layers.
        heads: A number or several; None or ``"all"`` for all, also of places that are no heads.

    Raises:
        ProbeError: There is no such site, layer or head, or nothing of all of them.

    Example:
        >>> [str(p) for p in pick_places([Place("z", 0), Place("z", 1)], layers=-1)]
        ['z 1']
    """
    chosen = list(places)
    if sites is not None:
        known = list(dict.fromkeys(place.site for place in places))
        wanted = _several(sites)
        for site in wanted:
            if site not in known:
                raise ProbeError(
                    f"no site is called {site!r} here{nearest(str(site), known)}; there are "
                    f"{', '.join(known)}"
                )
        chosen = [place for place in chosen if place.site in wanted]
    for axis, asked in (("layer", layers), ("head", heads)):
        if asked is None or (isinstance(asked, str) and asked == "all"):
            continue
        numbers = sorted({n for p in places if (n := getattr(p, axis)) is not None})
        kept = {_number(one, numbers, axis) for one in _several(asked)}
        chosen = [place for place in chosen if getattr(place, axis) in kept]
    if not chosen:
        raise ProbeError(
            f"no place is at sites={sites!r}, layers={layers!r}, heads={heads!r}; there are "
            + listed(places)
        )
    return chosen


def pick_rows(rows: Any, n_rows: int) -> Rows:
    """Return the numbers of rows that a list, a slice or a mask means.

    Args:
        rows: None for all.
        n_rows: How many there are.

    Raises:
        ProbeError: There is no such row, or a mask is of another length.

    Example:
        >>> pick_rows([-1, 0], 3).tolist()
        [2, 0]
    """
    if rows is None:
        return np.arange(n_rows)
    if isinstance(rows, slice):
        return np.arange(n_rows)[rows]
    asked = np.asarray(rows)
    if asked.dtype == bool and asked.shape == (n_rows,):
        return np.flatnonzero(asked)
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise ProbeError(
            f"rows are whole numbers, a slice or a mask of {n_rows}; found {asked.dtype} of shape "
            f"{asked.shape}"
        )
    asked = asked.astype(np.int64)
    outside = np.flatnonzero((asked < -n_rows) | (asked >= n_rows))
    if len(outside):
        raise ProbeError(f"row {int(asked[outside[0]])} does not exist; there are {n_rows} rows")
    return np.where(asked < 0, asked + n_rows, asked)


def listed(names: Iterable[Any]) -> str:
    """Return names with commas between them: the first twelve, and how many more there are."""
    found = list(map(str, names))
    return ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")


def _several(asked: Any) -> list[Any]:
    if isinstance(asked, str) or not hasattr(asked, "__iter__"):
        return [asked]
    return list(asked)


def _number(asked: Any, numbers: list[int], axis: str) -> int:
    if not isinstance(asked, int | np.integer) or isinstance(asked, bool):
        raise ProbeError(f"{axis} {asked!r} is no whole number")
    if asked < 0 and numbers and numbers[-1] + 1 + asked in numbers:
        return int(numbers[-1] + 1 + asked)
    if asked not in numbers:
        said = ", ".join(map(str, numbers)) if numbers else "none"
        raise ProbeError(f"{axis} {asked} is not here; {axis}s that are: {said}")
    return int(asked)
