"""One position of each row of a cache: its column among the cached ones, its place in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.indices import listed, whole
from neoscope.visibility import Visibility


@dataclass(frozen=True)
class Place:
    """Where each row is read."""

    column: Int[Tensor, "row"]
    """Among the cached columns."""
    position: Int[Tensor, "row"]
    """In the text: real tokens counted from 0."""
    keys: Int[Tensor, "row key"]
    """The position of every column of the batch that ran, whether cached or not."""

    def pick(self, x: Tensor) -> Tensor:
        """Return what stands there at a site with axes ``[batch, pos, ...]``."""
        return x[torch.arange(len(x), device=x.device), self.column.to(x.device)]


def read_position(given: Any, n_rows: int, what: str) -> Any:
    """Return a position, or one for each row as a tensor [row, 1].

    Raises:
        AnalysisError: It is neither a whole number nor one for each row.
    """
    number = whole(given)
    if number is not None:
        return number
    items = None if isinstance(given, slice | str) or given is None else listed(given)
    numbers = [] if items is None else [whole(item) for item in items]
    if len(numbers) != n_rows or None in numbers:
        raise AnalysisError(
            f"{what}: position={given!r}; expected one position, or one for each of the {n_rows} "
            "rows"
        )
    return torch.tensor(numbers)[:, None]


def place(
    cache: ActivationCache, position: Any, mask: Bool[Tensor, "row column"], width: int, what: str
) -> Place:
    """Find a position in a cache.

    Args:
        cache: What was recorded.
        position: One for all rows or one for each; -1 is a row's last real token.
        mask: Which columns of the batch that ran are real.
        width: How many columns the cache holds.
        what: The function, for errors.

    Raises:
        AnalysisError: It kept other positions.
        SiteError: A row has no such token.
    """
    n_rows, n_columns = mask.shape
    seen = Visibility(n_rows, n_columns, mask.device, mask=mask)
    wanted = seen.columns(read_position(position, n_rows, what), axis="position")
    assert wanted is not None
    keys = seen.key_positions()
    positions = keys.gather(1, wanted)[:, 0]
    if cache.positions is None:
        if width != n_columns:
            raise AnalysisError(
                f"{what}: the cache holds {width} of {n_columns} columns and does not know which "
                "(pos_slice); cache with positions= instead"
            )
        return Place(wanted[:, 0], positions, keys)
    kept = seen.columns(cache.positions)
    assert kept is not None
    found = kept == wanted
    missing = (~found.any(1)).nonzero().flatten().tolist()
    if missing:
        raise AnalysisError(
            f"{what}: position {int(positions[missing[0]])} of row {missing[0]} was not cached; "
            f"this cache kept positions={cache.positions!r}"
        )
    return Place(found.int().argmax(1), positions, keys)


def real_columns(cache: ActivationCache, n_rows: int, width: int) -> Bool[Tensor, "row column"]:
    """Return which columns of the batch that ran are real; all where the cache does not know."""
    if cache.tokens is None:
        return torch.ones(n_rows, width, dtype=torch.bool)
    return cache.tokens.mask.cpu()
