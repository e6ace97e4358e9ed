"""What columns of vectors are called: ``resid_post_3`` is a site and its layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_NAME = re.compile(r"(?P<site>.+?)_(?P<layer>\d+)(?:_(?:mean|weighted_mean|last|first|max|token))?")


def place_of(name: str) -> tuple[str, int | None]:
    """Return the site and layer that a column is called after; (name, None) where none is.

    Example:
        >>> place_of("resid_post_3_mean"), place_of("length")
        (('resid_post', 3), ('length', None))
    """
    match = _NAME.fullmatch(name)
    return (match["site"], int(match["layer"])) if match else (name, None)


def named(names: Sequence[str]) -> dict[str, list[Any]]:
    """Return names, sites and layers as columns of a table; layer is -1 where there is none."""
    places = [place_of(name) for name in names]
    return {
        "name": list(names),
        "site": [site for site, _ in places],
        "layer": [-1 if layer is None else layer for _, layer in places],
    }
