"""Names of columns of features, and the places that they mean."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from neoscope.errors import ProbeError
from probes.data.columns import Column
from probes.data.places import Place

HEAD_SITES = ("q_input", "k_input", "v_input", "attn_in", "q", "k", "v", "z", "result")
"""Sites whose numbers are those of head after head."""
_POOLS = "mean|weighted_mean|last|first|max|token|spans"
_COLUMN = re.compile(rf"(?P<site>.+?)(?:_(?P<layer>\d+))?(?:_(?P<pool>{_POOLS}))?")
# Columns are called without points, so that SQL needs no quotes.
_DOTTED = {
    f"{norm}_{part}": f"{norm}.{part}"
    for norm in ("ln1", "ln2", "ln_final")
    for part in ("scale", "normalized")
}


def read_name(name: str) -> tuple[Place, str | None]:
    """Return the place and the pooling that a column's name says.

    Example:
        >>> str(read_name("resid_post_3_weighted_mean")[0]), read_name("embed_last")[1]
        ('resid_post 3', 'last')
    """
    found = _COLUMN.fullmatch(name)
    assert found is not None  # any name is a site's
    site = _DOTTED.get(found["site"], found["site"])
    return Place(site, None if found["layer"] is None else int(found["layer"])), found["pool"]


def by_head(place: Place, column: Column, n_heads: int) -> dict[Place, Column]:
    """Return a column for every head of a site, all reading the same array; others stay whole.

    Args:
        place: The site.
        column: Its numbers: head after head, if it has heads.
        n_heads: How many heads there are.

    Raises:
        ProbeError: The numbers are not as many for each head.
    """
    if place.site not in HEAD_SITES:
        return {place: column}
    width = column.open().shape[1]
    if n_heads < 1 or width % n_heads:
        raise ProbeError(f"{place}: {width} numbers a row cannot be those of {n_heads} heads")
    size = width // n_heads
    return {
        Place(place.site, place.layer, head): dataclasses.replace(
            column, part=(head * size, (head + 1) * size)
        )
        for head in range(n_heads)
    }


def split_heads(columns: Mapping[Place, Column], n_heads: int) -> dict[Place, Column]:
    """Return a column for every head of the sites that have heads.

    Args:
        columns: By place.
        n_heads: How many heads there are.

    Raises:
        ProbeError: No site has heads, or there cannot be as many.
    """
    check_heads(place.site for place in columns)
    split: dict[Place, Column] = {}
    for place, column in columns.items():
        split |= by_head(place, column, n_heads)
    return split


def check_heads(sites: Iterable[str]) -> None:
    """See that heads are asked for where a site has them.

    Raises:
        ProbeError: None of the sites has.
    """
    sites = list(dict.fromkeys(sites))
    if not set(sites) & set(HEAD_SITES):
        raise ProbeError(
            f"heads are asked for, but {', '.join(sites)} has none; sites of heads: "
            f"{', '.join(HEAD_SITES)}"
        )
