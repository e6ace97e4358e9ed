"""Where the panels of a patching figure stand, and how their columns are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neoscope.views.figures.patching.cells import Cells
from neoscope.views.figures.patching.names import Names, letters

_WIDTH = 860
HEAD = 26
"""Room for a panel's title and its strip, in pixels."""


@dataclass(frozen=True)
class Panel:
    """One heatmap of a figure: cells of two axes."""

    cells: Cells
    title: str = ""
    """Escaped."""

    @property
    def rows(self) -> Names:
        """The first axis."""
        return self.cells.axes[0]

    @property
    def columns(self) -> Names:
        """The second axis."""
        return self.cells.axes[1]


@dataclass(frozen=True)
class Layout:
    """Where panels stand, in pixels."""

    across: tuple[int, ...]
    """How many panels each row of them has."""
    heights: tuple[int, ...]
    """Of each row of panels."""
    below: tuple[int, ...]
    """Room below each row, for labels and the next row's titles."""

    @property
    def n_columns(self) -> int:
        """Most panels side by side."""
        return max(self.across)

    @property
    def inner(self) -> int:
        """From the top of the first row of panels to the bottom of the last."""
        return sum(self.heights) + sum(self.below[:-1])

    def domain(self, row: int) -> list[float]:
        """Return where a row of panels stands, from the bottom, as shares of ``inner``.

        Args:
            row: Counted from 0.
        """
        top = self.inner - sum(self.heights[:row]) - sum(self.below[:row])
        return [(top - self.heights[row]) / self.inner, top / self.inner]


def arranged(panels: Sequence[Panel]) -> Layout:
    """Return a layout for panels of the same axes.

    Args:
        panels: All of one shape.
    """
    rows, columns = len(panels[0].rows), panels[0].columns
    cell = 24 if columns.textual else 22
    across = max(1, min(len(panels), 4, _WIDTH // max(170, cell * len(columns) + 40)))
    down = -(-len(panels) // across)
    most = 620 if len(panels) == 1 else 320
    height = int(min(most, max(64, rows * min(44, max(20, 200 // rows)))))
    room = column_ticks(columns, across)[1] + 34
    below = (*[HEAD + 14] * (down - 1), room)
    return Layout((across,) * down, (height,) * down, below)


def column_ticks(names: Names, across: int) -> tuple[dict[str, Any], int]:
    """Return plotly's settings of the ticks below a panel, and the pixels that they need.

    Args:
        names: Of the columns.
        across: Panels side by side.
    """
    width = max(60, (_WIDTH - 100) // across - 20)
    flat = width < 34 * len(names)
    ticks: dict[str, Any] = dict(names.ticks(names.side_by_side(width), flat=flat))
    longest = max((letters(x) * (1.15 if "<b>" in x else 1) for x in ticks["ticktext"]), default=0)
    if longest * 8 * len(ticks["ticktext"]) <= width:
        return {**ticks, "tickangle": 0}, 38 if any("<br>" in x for x in ticks["ticktext"]) else 22
    return {**ticks, "tickangle": -90}, 16 + int(7.2 * longest)
