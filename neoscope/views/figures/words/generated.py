"""generation: what was written after a prompt, coloured by how likely the model held each token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from neoscope.analysis.result import counted
from neoscope.errors import ViewError
from neoscope.views.figures.words.text import words
from neoscope.views.given import expect, row_of
from neoscope.views.labels import model_name, visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.generate import Generated

    Given = Generated
else:
    Given = Any


def generation(result: Given, *, text: int = 0) -> go.Figure:
    """Draw one generated text: the prompt plain, every new token coloured by its probability.

    Args:
        result: Of ``model.generate(..., return_type="result")``.
        text: Which row, from 0.

    Raises:
        ViewError: Another result, no such row, no tokenizer, or a beam search, whose tokens have
            no probabilities.
    """
    expect(result, "generation", {"Generated": 'model.generate(..., return_type="result")'})
    row = row_of(text, len(result.tokens), "generation")
    if result.log_probs is None:
        raise ViewError(
            "views.generation: a beam search keeps no probability of each token; its rows have "
            "scores alone"
        )
    if not result.strings:
        raise ViewError("views.generation: there is no tokenizer, so that there is no text to draw")
    if not result.strings[row]:
        raise ViewError(f"views.generation: row {row} has no new token")
    prompt = _words(result.prompts[row] or "")
    new = list(result.strings[row])
    chances = [math.exp(one) for one in result.log_probs[row]]
    before = len(prompt)
    hover = [""] * before + [
        f"<b>{visible(token, 60)}</b>, new token {i}<br>probability {chance:.3g}"
        f"<br>{-nats:.3g} nats"
        for i, (token, chance, nats) in enumerate(
            zip(new, chances, result.log_probs[row], strict=True), 1
        )
    ]
    mean = -sum(result.log_probs[row]) / len(new)
    return words(
        prompt + new,
        [math.nan] * before + chances,
        scale="share",
        unit="probability of the token",
        title="What the model wrote, and how likely it held each token",
        subtitle=f"{model_name(result.model)} · text {row} · {counted(len(new), 'new token')}, "
        f"mean surprisal {mean:.3g} nats · ended by {result.stopped[row].replace('_', ' ')}",
        hover=hover,
        plain=range(before),
    )


def _words(text: str) -> list[str]:
    """A prompt in words, each with the space before it."""
    found: list[str] = []
    start = 0
    for i, letter in enumerate(text):
        if i > start and letter.isspace() and not text[i - 1].isspace():
            found.append(text[start:i])
            start = i
    return [*found, text[start:]] if text[start:] else found
