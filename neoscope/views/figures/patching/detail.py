"""Detail: one line of a cell's hover box, whose numbers are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, eq=False)
class Detail:
    """One line of the hover box."""

    template: str
    """Escaped, with ``{}`` or ``{:.3g}`` where numbers go."""
    make: Callable[[], Sequence[Any]] = tuple
    """Returns the numbers: intervals of many cells take long, and a figure of many shows none."""

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """One number a cell, for each place of the template, ``[*axes]``."""
        return tuple(self.make())

    def each(self, change: Callable[[Any], Any]) -> Detail:
        """Return the same of other cells.

        Args:
            change: Makes an array of those cells from one of these.
        """
        return Detail(self.template, lambda: [change(one) for one in self.arrays])
