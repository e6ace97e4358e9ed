"""identity: a checkpoint's figures beside the published ones of its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.views.given import expect
from neoscope.views.labels import cut, escaped, model_name
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.evaluate.identifying import Identity
else:
    Identity = Any

_FAR = 3.0
"""Allowed distances; what lies farther stands at the edge."""


def identity(result: Identity) -> go.Figure:
    """Draw how far each figure of a checkpoint is from the published one, in allowed distances.

    Within the grey band it may be the published checkpoint; outside it is not. A figure that must
    be exact stands in the middle or at the edge.

    Args:
        result: Of :func:`neoscope.evaluate.identity`, which ``neoscope verify`` shows.

    Raises:
        ViewError: Another result, or nothing is published of a model of this shape.
    """
    expect(result, "identity", {"Identity": "evaluate.identity"})
    if not result.what:
        raise ViewError(
            f"views.identity: no figures are published of a model of the shape of {result.model}"
        )
    off = result.value - result.published
    exact = np.where(off == 0, 0.0, np.copysign(np.inf, off))
    steps = np.divide(off, result.within, out=exact, where=result.within > 0)
    within = np.abs(off) <= result.within
    names = [escaped(cut(what, 44)) for what in result.what]
    figure = new_figure(
        f"{model_name(result.model)} beside gpt-neo-{result.published_as}",
        "every figure is within what is allowed" if result.ok
        else f"{int((~within).sum())} of {len(names)} figures are farther off than is allowed",
        height=200 + 36 * len(names),
    )  # fmt: skip
    figure.add_vrect(x0=-1, x1=1, fillcolor=MUTED, opacity=0.18, line_width=0)
    figure.add_vline(x=0, line={"color": MUTED, "width": 1.5})
    figure.add_trace(go.Scatter(
        x=np.clip(steps, -_FAR, _FAR).tolist(), y=names, mode="markers", showlegend=False,
        cliponaxis=False,
        marker={"size": 12, "symbol": ["circle" if one else "x" for one in within],
                "color": [CATEGORICAL[0 if one else 1] for one in within]},
        customdata=[[f"{a:,.6g}", f"{b:,.6g}", f"{c:.3g}", escaped(d)] for a, b, c, d in zip(
            result.value, result.published, result.within, result.source, strict=True)],
        hovertemplate="%{y}<br><b>%{customdata[0]}</b>, published %{customdata[1]} ± "
        "%{customdata[2]}<br>%{customdata[3]}<extra></extra>",
    ))  # fmt: skip
    figure.update_xaxes(title="distance from the published figure; 1: as far as is allowed",
                        range=[-_FAR * 1.06, _FAR * 1.06], zeroline=False)  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    beyond = int((np.abs(steps) > _FAR).sum())
    if beyond:
        add_note(figure, f"{beyond} lie farther off than {_FAR:.0f} and stand at the edge.")
    return figure
