"""Many small tables of queries and keys in one: a row of them for each layer, a column a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float

from neoscope.views.figures.attention.square import VEIL, edge
from neoscope.views.theme import MUTED

_FEW = 20
"""Most heads or layers that are all labelled."""


@dataclass(frozen=True)
class Tiles:
    """Panels of one size, edge to edge in one heatmap: one trace is quick where 144 are not."""

    n_rows: int
    n_columns: int
    """Cells of a panel."""
    down: int
    across: int
    """Panels."""

    def filled(self, panels: Sequence[Sequence[Any]]) -> Float[np.ndarray, "row column"]:
        """Return all panels as one table."""
        return np.block([list(line) for line in panels]).astype(np.float32)

    def named(self, what: str, which: Sequence[int], verb: str, names: Sequence[str]) -> list[str]:
        """Return the names along one axis: ``"layer 3, from 7 ·and"``, as they are shown on hover.

        Args:
            what: What a row or column of panels is.
            which: Their numbers.
            verb: What the tokens of this axis do.
            names: Of the tokens.
        """
        return [f"{what} {one}, {verb} {name}" for one in which for name in names]

    def frame(self, figure: go.Figure) -> None:
        """Draw a line around every panel."""
        height, width = self.n_rows * self.down - 0.5, self.n_columns * self.across - 0.5
        lines = [f"M -0.5,{y * self.n_rows - 0.5:g} L {width:g},{y * self.n_rows - 0.5:g}"
                 for y in range(self.down + 1)]  # fmt: skip
        lines += [f"M {x * self.n_columns - 0.5:g},-0.5 L {x * self.n_columns - 0.5:g},{height:g}"
                  for x in range(self.across + 1)]  # fmt: skip
        figure.add_shape(type="path", path=" ".join(lines), line={"color": MUTED, "width": 0.8})

    def shade(self, figure: go.Figure, row: int, hidden: Bool[np.ndarray, "query key"]) -> None:
        """Lay grey over what a row of panels cannot see.

        Args:
            figure: It is changed.
            row: Which row of panels.
            hidden: Cells of a panel.
        """
        if not hidden.any():
            return
        last = row * self.n_rows + int(np.flatnonzero(hidden.any(1))[-1]) + 0.5
        around = []
        for column in range(self.across):
            left = column * self.n_columns
            path = edge(hidden, row * self.n_rows, left)
            around.append(f"{path} L {left - 0.5:g},{last:g} Z")
        figure.add_shape(type="path", path=" ".join(around), fillcolor=VEIL, layer="below",
                         line={"width": 0})  # fmt: skip

    def label(self, figure: go.Figure, layers: Sequence[str], names: dict[str, list[str]]) -> None:
        """Label the middle of every row and column of panels.

        Args:
            figure: It is changed.
            layers: What to write at the rows.
            names: Of all cells, by axis, as they were drawn.
        """
        rows = _middles(names["y"], self.n_rows, layers)
        columns = _middles(names["x"], self.n_columns, [str(i) for i in range(self.across)])
        plain: dict[str, Any] = {"type": "category", "showgrid": False, "ticks": ""}
        figure.update_yaxes(title="layer", autorange="reversed", **plain, **rows)
        figure.update_xaxes(title="head", side="bottom", tickangle=0, **plain, **columns)


def _middles(names: Sequence[str], n: int, labels: Sequence[str]) -> dict[str, list[str]]:
    step = -(-len(labels) // _FEW)
    return {
        "tickvals": [names[i * n + n // 2] for i in range(0, len(labels), step)],
        "ticktext": list(labels[::step]),
    }
