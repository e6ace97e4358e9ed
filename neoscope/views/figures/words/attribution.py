"""input_attribution: a text whose tokens are coloured by how they move a logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.views.figures.words.text import words
from neoscope.views.given import expect, row_of
from neoscope.views.labels import model_name, spoken, visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import InputAttribution

    Given = InputAttribution
else:
    Given = Any


def input_attribution(result: Given, *, text: int = 0) -> go.Figure:
    """Draw one text, its tokens blue where they raise the logit and orange where they lower it.

    The scale is the same for every text of the result.

    Args:
        result: Of :func:`neoscope.analysis.input_attribution`.
        text: Which text, from 0.

    Raises:
        ViewError: Another result, or no such text.
    """
    expect(result, "input_attribution", {"InputAttribution": "analysis.input_attribution"})
    row = row_of(text, len(result.values), "input_attribution")
    tokens = list(result.strings[row])
    values = np.full(len(tokens), np.nan)
    given = result.values[row][: len(tokens)]
    values[: len(given)] = given
    at = result.positions[row]
    sides = [spoken(side[row]) for side in (result.answers, result.wrongs) if side]
    gap = float(result.convergence_delta[row])
    delta = "" if np.isnan(gap) else f" · convergence delta {gap:.2g}"
    against = f" against {spoken(result.baseline)}" if result.baseline else ""
    return words(
        tokens,
        values.tolist(),
        over=result.values.ravel().tolist(),
        scale="signed",
        unit="logits for a unit of length" if result.method == "saliency" else "logits",
        title=f"Which tokens move the logit of {' − '.join(sides)}",
        subtitle=f"{model_name(result.model)} · {result.method.replace('_', ' ')}{against} · text "
        f"{row} · logit {float(result.logit[row]):.3g} at position {at}{delta}",
        hover=[_said(token, i, float(values[i])) for i, token in enumerate(tokens)],
        marked=(at,),
        missing="Grey: tokens after the position where the logit is read, which cannot move it.",
        note="Outlined: where the logit is read." if len(tokens) > 1 else "",
    )


def _said(token: str, position: int, value: float) -> str:
    moved = "cannot move it" if np.isnan(value) else f"{value:+.4g} logits"
    return f"<b>{visible(token, 60)}</b> at {position}<br>{moved}"
