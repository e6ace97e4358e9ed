"""tuned_training: how a tuned lens got closer to the output, step by step and depth by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from neoscope.errors import ViewError
from neoscope.views.figures.lens.curves import DASHES, SIGNS
from neoscope.views.given import expect
from neoscope.views.theme import CATEGORICAL, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis import TunedLens

    Given = TunedLens
else:
    Given = Any

_DEPTHS = [[0.0, "#56b4e9"], [0.5, "#0072b2"], [1.0, "#d55e00"]]
_MOST_POINTS = 2000


def tuned_training(lens: Given) -> go.Figure:
    """Draw a tuned lens's loss by step, one line a depth, and its KL on texts that were held out.

    Args:
        lens: A :class:`neoscope.analysis.TunedLens`.

    Raises:
        ViewError: Something else, or a lens that keeps no history.
    """
    expect(lens, "tuned_training", {"TunedLens": "analysis.TunedLens.train or load"})
    losses = np.asarray(lens.card.get("losses") or [], float)
    if losses.ndim != 2 or not losses.size:
        raise ViewError("views.tuned_training: this lens keeps no history of its training")
    held = lens.card.get("held_out")
    figure = new_figure(
        "Training a tuned lens: distance from the model's output",
        f"{lens.card['model']} · {lens.kind} · {len(losses):,} steps · "
        f"{lens.card['data']['tokens']:,} tokens",
    )
    titles = ["training, by step", "held-out texts, by depth"] if held else ["training, by step"]
    figure.set_subplots(1, len(titles), subplot_titles=titles, horizontal_spacing=0.12)
    step = max(1, -(-len(losses) // _MOST_POINTS))
    names = ["embed", *(str(i) for i in range(losses.shape[1] - 1))]
    shades = sample_colorscale(_DEPTHS, np.linspace(0, 1, len(names)).tolist())
    for i, name in enumerate(names):
        figure.add_trace(
            go.Scatter(
                x=list(range(1, len(losses) + 1, step)), y=losses[::step, i].tolist(),
                name=f"after {name}" if name != "embed" else "embeddings", mode="lines",
                line={"color": shades[i], "width": 1.6, "dash": DASHES[i % len(DASHES)]},
                hovertemplate=f"depth {name}, step %{{x:,}}<br><b>%{{y:.4g}}</b> nats"
                "<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
    if held:
        _held_out(figure, held, names)
        add_note(figure, f"Held out: {held['tokens']:,} tokens.")
    if step > 1:
        add_note(figure, f"Every {step}th step is drawn.")
    figure.update_xaxes(title="step", row=1, col=1)
    figure.update_yaxes(title="KL, nats", rangemode="tozero", row=1, col=1)
    top = int(figure.layout.margin.t) + 24  # the panels' own titles
    figure.update_layout(height=top + 360, margin={"t": top}, legend={"font": {"size": 11}})
    figure.update_annotations(font={"size": 13})
    return figure


def _held_out(figure: go.Figure, held: dict[str, Any], names: list[str]) -> None:
    lenses = {key: values for key, values in held.items() if isinstance(values, list)}
    for i, (name, values) in enumerate(lenses.items()):
        figure.add_trace(
            go.Scatter(
                x=names, y=values, name=f"{name} lens", mode="lines+markers",
                line={"color": CATEGORICAL[(i + 6) % 7], "dash": DASHES[i]},
                marker={"symbol": SIGNS[i], "size": 7},
                hovertemplate=f"{name} lens, depth %{{x}}<br><b>%{{y:.4g}}</b> nats<extra></extra>",
            ),
            row=1, col=2,
        )  # fmt: skip
    figure.update_xaxes(type="category", title="depth", row=1, col=2)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
