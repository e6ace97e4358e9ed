"""Reading whole numbers however they come: ints, numpy's, tensors, ranges, lists."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from torch import Tensor

    Index = SupportsIndex | Sequence[SupportsIndex] | Tensor | None
    Positions = Index | slice
else:
    # Checked where they are read, with an error that says what was found: whatever counts as a
    # whole number (numpy's, a tensor's) is welcome.
    Index = Positions = Any


def whole(value: Any) -> int | None:
    """Return a whole number as an int (numpy's and 0-d tensors' too), or None if it is none."""
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def listed(value: Any) -> list[Any]:
    """Return one index or several as a list; what stands in it is not yet checked."""
    if whole(value) is not None or isinstance(value, bool | str):
        return [value]
    to_list = getattr(value, "tolist", None)
    items = to_list() if to_list is not None else value
    try:
        return list(items)
    except TypeError:
        return [value]
