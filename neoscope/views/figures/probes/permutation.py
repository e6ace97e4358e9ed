"""permutation_test: a score among the scores of labels that belong to other rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.figures.probes.sweep import METRICS
from neoscope.views.given import expect
from neoscope.views.labels import visible
from neoscope.views.theme import CATEGORICAL, MUTED, new_figure

if TYPE_CHECKING:
    from probes.judging.permutation import PermutationResult
else:
    PermutationResult = Any

_MOST_BINS = 40


def permutation_test(result: PermutationResult) -> go.Figure:
    """Draw the scores of permuted labels, and where the score of the true labels lies.

    Args:
        result: What :func:`probes.judging.permutation_test` returned.

    Raises:
        ViewError: It is something else.

    Example:
        >>> import numpy as np, probes as p
        >>> X = np.random.default_rng(0).normal(size=(40, 3))
        >>> found = p.judging.permutation_test(p.LogisticProbe(), X, X[:, 0] > 0, n_permutations=9,
        ...     progress=False)
        >>> sum(permutation_test(found).data[0].y)
        9
    """
    expect(result, "permutation_test", {"PermutationResult": "probes.judging.permutation_test"})
    title, unit = METRICS.get(result.metric, (result.metric, ""))
    n = len(result.null)
    better = "" if result.metric not in _lower() else ", less is better"
    figure = new_figure(
        "Would labels of other rows score as well?",
        f"{n:,} permutation{'s' * (n != 1)} of {result.unit}s · {title} of the true labels "
        f"{result.score:.4g}, of permuted ones {result.null.mean():.4g} on average{better} · "
        f"p = {result.p_value:.3g} (least possible {1 / (n + 1):.3g})",
        height=380,
    )
    low, high = float(result.null.min()), float(result.null.max())
    spare = max(high - low, 1e-3) * 0.02
    counts, edges = np.histogram(
        result.null, min(_MOST_BINS, max(5, n // 3)), (low - spare, high + spare)
    )
    figure.add_trace(go.Bar(
        x=((edges[:-1] + edges[1:]) / 2).tolist(), y=counts.tolist(), width=np.diff(edges).tolist(),
        marker={"color": MUTED}, name="permuted labels",
        customdata=np.stack([edges[:-1], edges[1:]], 1).tolist(),
        hovertemplate="%{customdata[0]:.4g} to %{customdata[1]:.4g}<br><b>%{y:,}</b> permutations"
        "<extra></extra>",
    ))  # fmt: skip
    top = int(counts.max())
    figure.add_trace(go.Scatter(
        x=[result.score, result.score], y=[0, top], mode="lines", name="true labels",
        line={"color": CATEGORICAL[1], "width": 3},
        hovertemplate=f"true labels<br>{visible(title)} <b>%{{x:.4g}}</b><extra></extra>",
    ))  # fmt: skip
    figure.update_xaxes(title=f"{title} ({unit})" if unit else title)
    figure.update_yaxes(title="permutations")
    return figure.update_layout(bargap=0)


def _lower() -> frozenset[str]:
    from probes.judging import LOWER_IS_BETTER

    return frozenset(LOWER_IS_BETTER)
