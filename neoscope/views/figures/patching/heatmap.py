"""patching: what each patch changes, as a heatmap, as small multiples or as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.views.figures.patching.bars import bars
from neoscope.views.figures.patching.cells import Cells, read_cells
from neoscope.views.figures.patching.layout import Panel, arranged
from neoscope.views.figures.patching.panels import drawn
from neoscope.views.given import Flag, flag

MOST_PANELS = 24


def patching(
    result: Any,
    *,
    rows: str | None = None,
    columns: str | None = None,
    panels: str | None = None,
    select: Mapping[str, Any] | None = None,
    normalised: Flag = False,
    significance: float | None = None,
) -> go.Figure:
    """Draw what each cell of a sweep, an ablation or a trace does to the metric.

    Two axes are a heatmap, three small multiples on one scale, one a row of bars with intervals.
    Nothing is averaged over an axis. Hovering tells the effect, its interval, the p-value and the
    logits. Cells that cannot move are grey, cells that were not measured crossed out. Above
    positions, a strip says where clean and corrupted tokens differ.

    Args:
        result: Of :func:`neoscope.patching.sweep`, ``ablate``, ``trace``, ``path_patch``,
            ``attribution``.
        rows: The axis that goes down; by default the axes go panels, rows, columns in the
            result's order.
        columns: The axis that goes to the right.
        panels: The axis whose cells become small multiples.
        select: A part to show: for each named axis a label or index, a list of them, or a slice.
            Intervals and p-values stay those of the whole result.
        normalised: Show effects as shares of the mean clean minus the mean corrupted baseline.
        significance: Mark cells whose corrected p-value is below it, such as 0.05.

    Raises:
        ViewError: It is no such result, ``normalised`` is neither True nor False, an
            axis does not exist, or there are too many axes or panels for one figure.
        PatchingError: A label does not exist, or the baselines hardly differ and ``normalised``.

    Example:
        >>> import neoscope as ns
        >>> from neoscope import patching as p, views
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("ioi", 4)
        >>> metric = p.logit_diff(pairs.answer, pairs.wrong)
        >>> result = p.sweep(model, pairs.clean, pairs.corrupted, metric, site="z", positions="all")
        >>> figure = views.patching(result, significance=0.05)
        >>> figure.data[0].z.shape
        (4, 4)
    """
    check_significance(significance)
    cells = read_cells(result, normalised=flag(normalised, "normalised", "patching")).select(select)
    return draw_cells(cells, rows=rows, columns=columns, panels=panels, significance=significance)


def draw_cells(
    cells: Cells,
    *,
    rows: str | None = None,
    columns: str | None = None,
    panels: str | None = None,
    significance: float | None = None,
) -> go.Figure:
    """Draw cells of one to three axes; see :func:`patching` for the arguments."""
    if not cells.effect.size:
        raise ViewError(f"there is nothing to draw: the axes have {cells.effect.shape} cells")
    given = {"panels": panels, "rows": rows, "columns": columns}
    wanted = {key: cells.place(name, key) for key, name in given.items() if name is not None}
    if len(set(wanted.values())) < len(wanted):
        raise ViewError(f"{given}: one axis cannot be two of rows, columns and panels")
    subtitle = " · ".join(cells.said)
    n = len(cells.axes)
    if n < 2:
        return bars(cells, cells.what, subtitle, significance=significance)
    if n > 3:
        raise ViewError(
            f"the result has {n} axes {cells.names}, and a figure shows three; take one cell of "
            f"an axis, such as select={{{cells.names[0]!r}: {cells.axes[0].axis.labels[0]!r}}}"
        )
    if n == 2 and panels is not None:
        raise ViewError(f"panels={panels!r}: two axes {cells.names} are one heatmap")
    cells = cells.ordered(_order(cells, wanted))
    if n == 2:
        parts = [Panel(cells)]
    else:
        axis = cells.axes[0]
        if len(axis) > MOST_PANELS:
            raise ViewError(
                f"axis {axis.axis.name!r} has {len(axis)} cells, and {MOST_PANELS} panels fit into "
                f"a figure; take some, such as select={{{axis.axis.name!r}: slice(0, "
                f"{MOST_PANELS})}}, or make another axis the panels"
            )
        parts = [
            Panel(cells.at(0, i), _title(axis.title, name)) for i, name in enumerate(axis.names)
        ]
    return drawn(parts, arranged(parts), cells.what, subtitle, significance=significance)


def _title(axis: str, name: str) -> str:
    return name if axis == "site" else f"{axis} {name}"


def _order(cells: Cells, wanted: Mapping[str, int]) -> list[int]:
    """Return the places of the axes as panels, rows, columns."""
    n = len(cells.axes)
    roles = ["rows", "columns"] if n == 2 else ["panels", "rows", "columns"]
    free = [i for i in range(n) if i not in wanted.values()]
    if n == 3 and "panels" not in wanted and len(cells.axes[free[0]]) > MOST_PANELS:
        # The first axis is too long for panels: the shortest takes its place.
        shortest = min(free, key=lambda i: len(cells.axes[i]))
        free = [shortest, *(i for i in free if i != shortest)]
    rest = iter(free)
    return [wanted[role] if role in wanted else next(rest) for role in roles]


def check_significance(significance: float | None) -> None:
    """Check a threshold for p-values.

    Raises:
        ViewError: It is no share between 0 and 1.
    """
    if significance is not None and not 0 < significance < 1:
        raise ViewError(f"significance={significance!r}; expected a p-value between 0 and 1: 0.05")
