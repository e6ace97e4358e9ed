"""attribution: what each part of a model adds to a logit, as a waterfall up to the logit itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.views.figures.attribution.parts import CONFIDENCE, Step, question, steps, subtitle
from neoscope.views.given import expect, number
from neoscope.views.theme import MUTED, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis import Attribution

    Given = Attribution
else:
    Given = Any

UP, DOWN, TOTAL = "#2166ac", "#b35806", "#b6bdc7"
MADE_BY = {"Attribution": "analysis.direct_logit_attribution"}


def attribution(result: Given, *, k: int = 15) -> go.Figure:
    """Draw the largest parts of a logit, the sum of the others, and the logit that they make.

    Each bar begins where the one above it ended: blue adds, orange takes away. With several texts
    bars are means, with bootstrap intervals at their ends.

    Args:
        result: Of :func:`neoscope.analysis.direct_logit_attribution`.
        k: How many parts stand by themselves.

    Raises:
        ViewError: Another result, or ``k`` is below 1.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet")
        >>> parts = ns.analysis.direct_logit_attribution(cache, " are", " is")
        >>> attribution(parts, k=3).data[0].y[3]
        'the other 24 parts'
    """
    expect(result, "attribution", MADE_BY)
    most = number(k, "k", "attribution")
    bars = steps(result, most)
    several = len(result.values) > 1
    figure = new_figure(f"What makes the logit of {question(result)}", subtitle(result))
    if several:
        add_note(figure, f"Whiskers: {CONFIDENCE:.0%} bootstrap intervals of the mean over texts.")
    figure.add_trace(_bars(bars, result.values.shape[0]))
    figure.add_trace(_links(bars))
    figure.add_trace(_values(bars))
    figure.update_xaxes(title="logits", zeroline=True, range=_range(bars))
    figure.update_yaxes(
        autorange="reversed", showgrid=False, type="category",
        tickvals=[bar.label for bar in bars], ticktext=[bar.label for bar in bars],
    )  # fmt: skip
    figure.update_layout(
        height=int(figure.layout.margin.t + 70 + 25 * len(bars)), bargap=0.28, showlegend=False
    )
    return figure


def _starts(bars: Sequence[Step]) -> list[float]:
    """Where each bar begins."""
    ends = np.cumsum([bar.value for bar in bars[:-1]]).tolist()
    return [0.0, *ends[: len(bars) - 2], 0.0] if len(bars) > 1 else [0.0]


def _bars(bars: Sequence[Step], n_texts: int) -> go.Bar:
    colour = [
        TOTAL if bar.kind == "total" else UP if bar.value >= 0 else DOWN for bar in bars
    ]  # fmt: skip
    spread: dict[str, Any] = {}
    if n_texts > 1:
        spread["error_x"] = {
            "type": "data", "symmetric": False, "thickness": 1.4, "width": 3, "color": MUTED,
            "array": [bar.high - bar.value for bar in bars],
            "arrayminus": [bar.value - bar.low for bar in bars],
        }  # fmt: skip
    return go.Bar(
        orientation="h",
        base=_starts(bars),
        x=[bar.value for bar in bars],
        y=[bar.label for bar in bars],
        marker={"color": colour, "pattern": {"shape": [
            "/" if bar.kind in ("others", "gap") else "" for bar in bars
        ]}},
        hovertext=[_said(bar, n_texts) for bar in bars],
        hovertemplate="%{hovertext}<extra></extra>",
        **spread,
    )  # fmt: skip


def _links(bars: Sequence[Step]) -> go.Scatter:
    """Thin lines from the end of each bar to the beginning of the next."""
    ends = np.cumsum([bar.value for bar in bars[:-1]]).tolist()
    x: list[float | None] = []
    y: list[str | None] = []
    for end, bar, after in zip(ends, bars, bars[1:], strict=False):
        x += [end, end, None]
        y += [bar.label, after.label, None]
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": MUTED, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )


def _reach(bar: Step, start: float) -> float:
    """Where a bar ends, with its whisker."""
    if np.isnan(bar.low):
        return start + bar.value
    return start + (max(bar.high, bar.value) if bar.value >= 0 else min(bar.low, bar.value))


def _values(bars: Sequence[Step]) -> go.Scatter:
    """The numbers, beyond bars and whiskers."""
    return go.Scatter(
        x=[_reach(bar, start) for bar, start in zip(bars, _starts(bars), strict=True)],
        y=[bar.label for bar in bars],
        text=[f" {bar.value:+.3g} " for bar in bars],
        textposition=[f"middle {'right' if bar.value >= 0 else 'left'}" for bar in bars],
        mode="text",
        hoverinfo="skip",
        cliponaxis=False,
    )


def _range(bars: Sequence[Step]) -> list[float]:
    """All bars, with room for the numbers beside them."""
    ends = [(_reach(bar, at), bar.value) for bar, at in zip(bars, _starts(bars), strict=True)]
    low, high = (sign([0.0, *(end for end, _ in ends)]) for sign in (min, max))
    room = 0.09 * ((high - low) or 1.0)
    left = any(value < 0 and end < low + room for end, value in ends)
    return [low - room if left else low, high + room]


def _said(bar: Step, n_texts: int) -> str:
    lines = [bar.label, f"<b>{bar.value:+.4g} logits</b>"]
    if n_texts > 1:
        lines[1] += f", mean of {n_texts:,} texts"
        lines.append(f"{CONFIDENCE:.0%} interval {bar.low:+.3g} to {bar.high:+.3g}")
        lines.append(f"texts from {bar.smallest:+.3g} to {bar.largest:+.3g}")
    return "<br>".join(lines)
