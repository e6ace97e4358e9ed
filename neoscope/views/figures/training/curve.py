"""training: how a bundled organism came to be: its losses and when it began to continue repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.errors import ViewError
from neoscope.views.figures.similarity.layers import headroom, panel_title, place_titles
from neoscope.views.labels import model_name, visible
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, new_figure

if TYPE_CHECKING:
    Card = Mapping[str, Any] | None
else:
    # Whatever else is given, the check of the card says what was expected.
    Card = Any

_WHAT = {
    "repeats": "loss of repeats of random words",
    "language": "loss of the language",
    "near": "within the window",
    "far": "beyond the window",
}
_STAGES = {"near": "near repeats", "far": "far repeats", "all": "all tasks"}


def training(card: Card = None) -> go.Figure:
    """Draw the training of the organism: losses, repeats continued, and the checkpoints kept.

    Everything was logged when it was trained, and stands in its card; nothing is measured anew.

    Args:
        card: What :func:`neoscope.organism.card` returns, or the ``card.json`` of one that was
            trained with ``python -m neoscope.making.training``, read; None for the bundled one.

    Raises:
        ViewError: It is no such card.

    Example:
        >>> [one.name for one in training().data]
        ['loss of repeats of random words', 'loss of the language', \
'within the window', 'beyond the window']
    """
    if card is None:
        from neoscope import organism

        card = organism.card()
    _check(card)
    facts, loss, repeats = card["training"], card["loss"], card["repeats_continued"]
    figure = new_figure(
        f"How {model_name(card.get('name'))} was trained",
        f"seed {facts['seed']} · {facts['steps']:,} steps, {facts['tokens']:,} tokens · "
        f"{card['parameters']:,} parameters",
        height=640,
    )
    titles = ("loss of the next word, on what was trained on at that step",
              "held-out repeats continued rightly")  # fmt: skip
    make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.19, row_heights=[0.55, 0.45],
                  figure=figure, subplot_titles=[panel_title(one) for one in titles])  # fmt: skip
    place_titles(figure)
    for note, up in zip(figure.layout.annotations, (2, 12 * -(-len(facts["moments"]) // 2) + 4),
                        strict=True):  # fmt: skip
        note.update(x=0, xanchor="left", yshift=up)
    for name, axis in (("legend", figure.layout.yaxis), ("legend2", figure.layout.yaxis2)):
        figure.update_layout({name: {"x": 1.01, "xanchor": "left", "y": axis.domain[1],
                                     "yanchor": "top"}})  # fmt: skip
    tokens = loss.get("tokens") or [None] * len(loss["step"])
    for row, (log, names, unit) in enumerate(
        ((loss, ("repeats", "language"), "nats a word"), (repeats, ("near", "far"), "of words")), 1
    ):
        for place, name in enumerate(names):
            seen = tokens if row == 1 else []
            trace = _line(log["step"], log[name], seen, _WHAT[name], 2 * (row - 1) + place, unit)
            figure.add_trace(trace, row=row, col=1)
    first = min(step for step in loss["step"] if step > 0)
    _moments(figure, facts, first)
    figure.update_xaxes(type="log", showgrid=False, tickvals=_ticks(facts["steps"]))
    figure.update_xaxes(title="step (logarithmic)", title_font_size=13, row=2, col=1)
    figure.update_yaxes(title="nats a word", title_font_size=13, rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="share", title_font_size=13, range=[-0.03, 1.05], row=2, col=1)
    for note in _notes(card, repeats):
        add_note(figure, note)
    return headroom(figure)


def _ticks(steps: int) -> list[int]:
    """Return round numbers of steps: 1, 2 and 5 times powers of ten."""
    tens = (10**power for power in range(1, len(str(steps)) + 1))
    return [k * ten for ten in tens for k in (1, 2, 5) if k * ten <= 2 * steps]


def _check(card: Any) -> None:
    wanted = {
        "training": ("seed", "steps", "tokens", "stages", "moments"),
        "loss": ("step", "repeats", "language"),
        "repeats_continued": ("step", "near", "far"),
    }
    if not isinstance(card, Mapping):
        raise ViewError(
            f"views.training draws the card of an organism (organism.card()); found "
            f"{type(card).__name__}"
        )
    lacks = [
        f"{part}.{name}"
        for part, names in wanted.items()
        for name in names
        if name not in (card.get(part) or {})
    ] + ["parameters"] * ("parameters" not in card)
    if lacks:
        raise ViewError(f"views.training: the card lacks {', '.join(lacks)}")


def _line(
    steps: list[int], values: list[Any], tokens: list[Any], name: str, place: int, unit: str
) -> go.Scatter:
    kept = [i for i, (step, one) in enumerate(zip(steps, values, strict=True))
            if step > 0 and one is not None]  # fmt: skip
    after = [f", after {tokens[i]:,} tokens" if tokens and tokens[i] else "" for i in kept]
    return go.Scatter(
        x=[steps[i] for i in kept], y=[values[i] for i in kept], name=name, mode="lines+markers",
        line={"color": CATEGORICAL[place], "width": 2, "dash": ("solid", "dash")[place % 2]},
        opacity=0.85, legend=("legend", "legend2")[place // 2],
        # Where the lines lie on each other, both are still seen: one as rings around the other.
        marker={"size": (8, 4)[place % 2], "symbol": ("circle-open", "square")[place % 2]},
        customdata=after,
        hovertemplate=f"{name}<br><b>%{{y:.4g}}</b> {unit}<br>step %{{x:,}}%{{customdata}}"
        "<extra></extra>",
    )  # fmt: skip


def _moments(figure: go.Figure, facts: Mapping[str, Any], first: int) -> None:
    """Mark the checkpoints that were kept, and where each stage of training began."""
    import math

    kept = sorted(facts["moments"].items(), key=lambda one: one[1])
    for number, (name, step) in enumerate(kept):
        for row in (1, 2):
            figure.add_vline(x=step, line={"color": CATEGORICAL[4], "width": 1.5}, row=row, col=1)
        # Names stand above the panel, where no line crosses them; the first one's ends at its line
        # and the second one's begins there: they are close.
        figure.add_annotation(
            x=math.log10(step), y=1, xref="x2", yref="y2 domain", text=visible(name),
            showarrow=False, yanchor="bottom", xanchor="left" if number else "right",
            xshift=-3 if number else 3, yshift=12 * (number // 2), font={"size": 11},
        )  # fmt: skip
    for name, step in sorted(facts["stages"].items(), key=lambda one: one[1]):
        if step > first:
            dotted = {"color": MUTED, "width": 1, "dash": "dot"}
            figure.add_vline(x=step, line=dotted, row=1, col=1)
        figure.add_annotation(
            x=math.log10(max(step, first)), y=0, xref="x", yref="y domain", yanchor="top",
            yshift=-4, xanchor="left", showarrow=False, font={"size": 11, "color": MUTED},
            text=f"{'▸ ' if step > first else ''}{visible(_STAGES.get(name, name))}",
        )  # fmt: skip


def _notes(card: Mapping[str, Any], repeats: Mapping[str, Any]) -> list[str]:
    kept = ", ".join(
        f"{name} (step {step:,})"
        for name, step in sorted(card["training"]["moments"].items(), key=lambda one: one[1])
    )
    found = ["Dotted: where a stage of training begins."]
    if kept:
        found = [f"Upright lines: checkpoints that were kept, {kept}. {found[0]}"]
    if 0 in repeats["step"]:
        at = list(repeats["step"]).index(0)
        found.append("Before the first step, which a logarithmic axis cannot show, "
                     f"{repeats['near'][at]:.0%} of repeats within the window and "
                     f"{repeats['far'][at]:.0%} beyond it were continued rightly.")  # fmt: skip
    gates = (card.get("gates") or {}).get("gates")
    if gates:
        held = sum(bool(one["holds"]) for one in gates)
        found.append(f"At the end {held} of {len(gates)} gates hold.")
    return found
