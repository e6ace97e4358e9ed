"""das: how well a searched subspace carries its variable, beside its controls."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.errors import ViewError
from neoscope.patching.subspace.result import DasResult
from neoscope.views.labels import model_name
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, template, titled

_OWN, _CONTROL = CATEGORICAL[0], CATEGORICAL[6]


def das(result: Any) -> go.Figure:
    """Draw the accuracies of a distributed alignment search, its controls and its losses.

    Whiskers are 95 % Wilson intervals over pairs.

    Args:
        result: From :func:`neoscope.patching.das`.

    Raises:
        ViewError: It is something else.
    """
    if not isinstance(result, DasResult):
        raise ViewError(f"the result of patching.das was expected, not {type(result).__name__}")
    n, held = result.n_train, result.n_held_out or result.n_train
    named = "held-out pairs" if result.n_held_out else "all pairs (none was held out)"
    rows = [
        ("the subspace, held-out pairs" if result.n_held_out else "the subspace, all pairs",
         result.accuracy, held, True),
        ("the subspace, pairs it was searched on", result.train_accuracy, n, True),
    ]  # fmt: skip
    if not result.n_held_out:
        rows = rows[:1]
    if (c := result.controls) is not None:
        rows += [
            ("nothing patched", c.nothing, held, False),
            ("the whole site", c.whole, held, False),
            ("a random subspace", c.random, held, False),
            ("placebo: moved as far, elsewhere", c.placebo, held, False),
            ("searched for arbitrary targets", c.arbitrary, n, False),
        ]
    figure = make_subplots(rows=1, cols=2, column_widths=[0.66, 0.34], horizontal_spacing=0.1)
    figure.update_layout(template=template(), height=150 + 34 * len(rows) + 90, showlegend=False)
    layer = "" if result.layer is None else f" of layer {result.layer}"
    titled(
        figure,
        f"A subspace of {result.dim} of {len(result.basis)} dimensions at {result.site}{layer}",
        f"{model_name(result.model)} · position {result.position} · {result.direction} · "
        f"searched on {n} pairs, controls on {held} {named}",
    )
    names = [name for name, *_ in rows]
    shares = [share for _, share, _, _ in rows]
    ends = [wilson(share, pairs) for _, share, pairs, _ in rows]
    figure.add_trace(go.Bar(
        x=shares, y=names, orientation="h", width=0.66,
        marker={"color": [_OWN if own else _CONTROL for *_, own in rows]},
        error_x={"type": "data", "symmetric": False, "color": MUTED, "thickness": 1.4,
                 "array": [high - x for x, (_, high) in zip(shares, ends, strict=True)],
                 "arrayminus": [x - low for x, (low, _) in zip(shares, ends, strict=True)]},
        customdata=[[*end, pairs] for end, (_, _, pairs, _) in zip(ends, rows, strict=True)],
        hovertemplate="%{y}<br><b>%{x:.3f}</b> of %{customdata[2]} pairs<br>95 % interval "
                      "%{customdata[0]:.3f} to %{customdata[1]:.3f}<extra></extra>",
    ), row=1, col=1)  # fmt: skip
    figure.add_trace(go.Scatter(
        y=list(result.losses), x=list(range(1, len(result.losses) + 1)), mode="lines+markers",
        line={"color": _OWN}, hovertemplate="epoch %{x}<br>%{y:.4g} nats<extra></extra>",
    ), row=1, col=2)  # fmt: skip
    figure.update_xaxes(title="interchange accuracy", range=[0, 1.04], row=1, col=1)
    figure.update_yaxes(autorange="reversed", showgrid=False, row=1, col=1)
    figure.update_xaxes(title="epoch", row=1, col=2)
    figure.update_yaxes(title="loss, nats", rangemode="tozero", row=1, col=2)
    if result.controls is None:
        add_note(figure, "No controls were measured: das(..., controls=True) does.")
    else:
        add_note(figure, "Compare the last bar, which is on the pairs of the search, with the "
                         "subspace on those pairs. Whiskers: 95 % Wilson intervals.")  # fmt: skip
    return figure


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share.

    Args:
        share: Of successes, 0 to 1.
        n: Trials, one at least.

    Example:
        >>> [round(end, 3) for end in wilson(0.5, 100)]
        [0.404, 0.596]
    """
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return min(middle - half, share), max(middle + half, share)
