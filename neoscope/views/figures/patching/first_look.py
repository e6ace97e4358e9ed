"""patching_all: the residual stream by position and all heads, in one figure."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.patching.sweeps.first_look import Every
from neoscope.views.figures.patching.cells import read_cells
from neoscope.views.figures.patching.heatmap import check_significance
from neoscope.views.figures.patching.layout import HEAD, Layout, Panel, column_ticks
from neoscope.views.figures.patching.panels import drawn


def patching_all(
    every_result: Any, *, normalised: bool = False, significance: float | None = None
) -> go.Figure:
    """Draw what :func:`neoscope.patching.every` measured: eight panels on one scale.

    Above one another the residual stream and what is added to it, layer by position; below them
    side by side the heads' outputs, queries, keys, values and patterns, layer by head.

    Args:
        every_result: From :func:`neoscope.patching.every`.
        normalised: Show effects as shares of the mean clean minus the mean corrupted baseline.
        significance: Mark cells whose corrected p-value is below it, such as 0.05.

    Raises:
        ViewError: It is something else.
        PatchingError: The baselines hardly differ, and ``normalised``.

    Example:
        >>> import neoscope as ns
        >>> from neoscope import patching as p, views
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("ioi", 4)
        >>> metric = p.logit_diff(pairs.answer, pairs.wrong)
        >>> look = p.every(model, pairs.clean, pairs.corrupted, metric)
        >>> [note.text for note in views.patching_all(look).layout.annotations][:2]
        ['<b>resid_pre</b>', '<b>attn_out</b>']
    """
    check_significance(significance)
    if not isinstance(every_result, Every):
        raise ViewError(
            f"the result of patching.every was expected, not {type(every_result).__name__}; "
            "views.patching draws a single sweep"
        )
    for part, argument in ((every_result.stream, "positions"), (every_result.heads, "heads")):
        if len(part.axes) < 3:
            raise ViewError(
                f"this first look took {argument}='all' at once, so that its {part.site} have no "
                f"axis to draw them along; give {argument}='each', or read to_dataframe()"
            )
    stream = read_cells(every_result.stream, normalised=normalised)
    heads = read_cells(every_result.heads, normalised=normalised)
    above = [Panel(stream.at(0, i), name) for i, name in enumerate(stream.axes[0].names)]
    beside = [Panel(heads.at(0, i), name) for i, name in enumerate(heads.axes[0].names)]
    n = len(beside)
    rows = len(stream.axes[1])
    height = int(min(360, max(60, rows * min(30, max(16, 120 // rows)))))
    lower = column_ticks(heads.axes[2], n)[1] + 30
    below = (*[HEAD + 8] * (len(above) - 1), column_ticks(stream.axes[2], 1)[1] + 34 + HEAD, lower)
    layout = Layout((*[1] * len(above), n), (height,) * len(below), below)
    return drawn(
        [*above, *beside],
        layout,
        f"Patching the residual stream and heads: effect on {every_result.stream.metric}",
        " · ".join(stream.said),
        significance=significance,
        places=[*((1 + i, 1) for i in range(len(above))), *((len(below), 1 + i) for i in range(n))],
        spans=[*[[{"colspan": n}, *[None] * (n - 1)] for _ in above], [{}] * n],
    )
