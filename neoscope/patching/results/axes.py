"""Axis: one swept dimension of a result, with a name for each of its cells."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from neoscope.errors import PatchingError, nearest
from neoscope.indices import whole


@dataclass(frozen=True)
class Axis:
    """A dimension that was swept: layers, heads, positions, neurons."""

    name: str
    """``"layer"``, ``"head"``, ``"pos"``, ``"key"``, ``"neuron"``, ``"site"``, ``"sender"``..."""
    labels: tuple[str | int, ...]
    """One for each cell along it."""
    agree: tuple[bool, ...] | None = None
    """For positions: whether clean and corrupted have the same token there in every pair."""

    def __post_init__(self) -> None:
        """Make labels plain, and check that marks are as many."""
        plain = tuple(
            str(label) if isinstance(label, str) else operator.index(label) for label in self.labels
        )
        object.__setattr__(self, "labels", plain)
        if self.agree is not None and len(self.agree) != len(self.labels):
            raise PatchingError(
                f"axis {self.name!r} has {len(self.labels)} labels, but agree has {len(self.agree)}"
            )

    def __len__(self) -> int:
        """Return the number of cells along it."""
        return len(self.labels)

    def index(self, wanted: Any) -> int:
        """Return the place of a label, or of a number that is none: an index, -1 the last.

        Args:
            wanted: A label, or a whole number.

        Raises:
            PatchingError: There is neither; the message names the nearest label.
        """
        number = whole(wanted)
        wanted = (
            str(wanted) if isinstance(wanted, str) else number if number is not None else wanted
        )
        if wanted in self.labels:
            return self.labels.index(wanted)
        by_number = not isinstance(self.labels[0], int) if self.labels else False
        if number is not None and (by_number or number < 0) and -len(self) <= number < len(self):
            return number % len(self)
        hint = nearest(str(wanted), map(str, self.labels))
        shown = ", ".join(map(repr, self.labels[:6])) + (", ..." if self.labels[6:] else "")
        raise PatchingError(f"axis {self.name!r} has no {wanted!r}{hint}; it has {shown}")

    def take(self, picked: list[int]) -> Axis:
        """Return the axis with some of its cells.

        Args:
            picked: Places along it.
        """
        return Axis(
            self.name,
            tuple(self.labels[i] for i in picked),
            None if self.agree is None else tuple(self.agree[i] for i in picked),
        )
