"""paths: what senders tell receivers, as a heatmap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.patching.gradient.edge_scores import EdgeScores
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.result import PatchingResult
from neoscope.views.figures.patching.cells import Cells, read_cells, safe
from neoscope.views.figures.patching.detail import Detail
from neoscope.views.figures.patching.heatmap import check_significance, draw_cells
from neoscope.views.figures.patching.names import names_of
from neoscope.views.labels import model_name

NO_PATH = "no path that could carry a change: exactly 0, not run"
NO_EDGE = "no edge: the receiver reads before the sender writes"


def paths(
    result: Any,
    *,
    select: Mapping[str, Any] | None = None,
    normalised: bool = False,
    significance: float | None = None,
) -> go.Figure:
    """Draw senders by receivers: the effect of each path, or the score of each edge.

    Where positions were patched one by one, each position is a panel.

    Args:
        result: From :func:`neoscope.patching.path_patch`, ``eap`` or ``eap_ig``.
        select: A part to show: for ``sender``, ``receiver`` or ``pos`` a label, a list of them or
            a slice.
        normalised: Show effects as shares of the mean clean minus the mean corrupted baseline.
        significance: Mark cells whose corrected p-value is below it; edge scores have none.

    Raises:
        ViewError: It is something else, or ``normalised`` with edge scores.
        PatchingError: A name does not exist, or the baselines hardly differ and ``normalised``.

    Example:
        >>> import neoscope as ns
        >>> from neoscope import patching as p, views
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("ioi", 4)
        >>> metric = p.logit_diff(pairs.answer, pairs.wrong)
        >>> found = p.path_patch(
        ...     model, pairs.clean, pairs.corrupted, metric, "heads", ["a3.h2<q>", "logits"]
        ... )
        >>> views.paths(found).data[0].z.shape
        (16, 2)
    """
    check_significance(significance)
    if isinstance(result, EdgeScores):
        if normalised:
            raise ViewError("edge scores are shown in the metric's unit: leave normalised out")
        cells = _scores(result)
    elif isinstance(result, PatchingResult) and {"sender", "receiver"} <= {
        axis.name for axis in result.axes
    }:
        cells = read_cells(result, normalised=normalised)
        cells = Cells(**{**vars(cells), "still": NO_PATH})
    else:
        axes = [axis.name for axis in getattr(result, "axes", ())]
        raise ViewError(
            "a result of patching.path_patch (with senders and receivers) or edge scores were "
            f"expected, not {type(result).__name__}{f' with the axes {axes}' if axes else ''}"
        )
    cells = cells.select(select)
    panels = "pos" if len(cells.axes) == 3 and "pos" in cells.names else None
    return draw_cells(cells, panels=panels, significance=significance)


def _scores(result: EdgeScores) -> Cells:
    reach, n = result.graph.reach, result.n_pairs
    details = [Detail("a guess from gradients, not a run")]
    if n > 1:
        details.insert(0, Detail("standard error {:.2g}", lambda: (np.nan_to_num(result.stderr),)))
    means = f"clean {np.mean(result.clean):.3g}, corrupted {np.mean(result.corrupted):.3g}"
    return Cells(
        axes=(
            names_of(Axis("sender", result.graph.senders)),
            names_of(Axis("receiver", result.graph.receivers)),
        ),
        effect=np.where(reach, result.mean, 0.0),
        ran=reach,
        p=np.full(reach.shape, np.nan),
        details=tuple(details),
        unit=safe(result.unit) or "of the metric",
        what=f"Edges by {result.method}: estimated effect on {result.metric}",
        said=(
            model_name(result.model),
            f"{result.direction}, {result.steps} step{'s' * (result.steps > 1)}",
            f"{n} pair{'s' * (n > 1)}",
            f"{means} {result.unit}".rstrip(),
        ),
        n_pairs=n,
        n_tested=0,
        still=NO_EDGE,
    )
