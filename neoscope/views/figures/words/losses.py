"""losses: a text whose tokens are coloured by how much they surprised the model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.analysis.result import counted
from neoscope.views.figures.words.text import words
from neoscope.views.given import expect, one_of, tokens_of
from neoscope.views.labels import model_name, visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import TokenLosses

    Given = TokenLosses
else:
    Given = TokenLosses = Any

LOSS_COLOURS = ("surprisal", "entropy", "rank", "probability")


def losses(result: Given, *, color: str = "surprisal", text: int = 0) -> go.Figure:
    """Draw one text with each token coloured by how well the model saw it coming.

    The scale is the same for every text of the result.

    Args:
        result: Of :func:`neoscope.analysis.token_losses`.
        color: ``"surprisal"`` (nats), ``"probability"`` of the token, ``"entropy"`` (nats) of what
            the model expected, or ``"rank"`` (1 is the likeliest; the scale counts in powers of
            ten).
        text: Which text, from 0.

    Raises:
        ViewError: Another result, no such text, or no such colour.

    Example:
        >>> import neoscope as ns
        >>> read = ns.analysis.token_losses(ns.load("organism"), "The keys near the cabinet are")
        >>> losses(read).layout.title.text
        'How surprising each token was'
    """
    expect(result, "losses", {"TokenLosses": "analysis.token_losses"})
    one_of(color, "color", LOSS_COLOURS, "losses")
    places = tokens_of(result.text, text, "losses")
    values, unit, scale = _values(result, color)
    known = result.surprisal[places]
    known = known[~np.isnan(known)]
    mean = f", mean {known.mean():.3g} nats" if known.size else ""
    what = {
        "surprisal": "How surprising each token was",
        "probability": "How probable each token was",
        "entropy": "How unsure the model was before each token",
        "rank": "Where each token stood among the model's guesses",
    }
    return words(
        [result.tokens[i] for i in places],
        values[places].tolist(),
        over=values.tolist(),
        scale=scale,
        unit=unit,
        logarithmic=color == "rank",
        title=what[color],
        subtitle=f"{model_name(result.model)} · {_which(result, text)}"
        f"{counted(len(places), 'token')}{mean}",
        hover=[_said(result, i) for i in places],
        missing="Grey: nothing predicts the first token of a text." if len(places) > 1 else
        "A single token: nothing predicts it.",
    )  # fmt: skip


def _which(result: TokenLosses, text: int) -> str:
    n = len(set(result.text.tolist()))
    return f"text {text % n} of {n} · " if n > 1 else ""


def _values(result: TokenLosses, color: str) -> tuple[Any, str, str]:
    if color == "surprisal":
        return result.surprisal, "surprisal, nats", "amount"
    if color == "entropy":
        return result.entropy, "entropy of the prediction, nats", "amount"
    if color == "probability":
        return np.exp(-result.surprisal), "probability", "share"
    rank = np.where(result.rank > 0, result.rank, np.nan)
    return np.log10(rank), "rank of the token", "amount"


def _said(result: TokenLosses, i: int) -> str:
    token = f"<b>{visible(result.tokens[i], 60)}</b> at {int(result.position[i])}"
    nats = float(result.surprisal[i])
    if math.isnan(nats):
        return f"{token}<br>not predicted"
    best = visible(result.top_tokens[i])
    return (
        f"{token}<br>surprisal {nats:.3g} nats ({nats / math.log(2):.3g} bits)"
        f"<br>probability {math.exp(-nats):.3g}, rank {int(result.rank[i]):,}"
        f"<br>entropy before it {float(result.entropy[i]):.3g} nats"
        f"<br>likeliest {best} ({float(result.top_probability[i]):.3g})"
    )
