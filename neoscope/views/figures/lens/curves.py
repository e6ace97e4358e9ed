"""lens_calibration: how far each layer of one or several lenses is from the model's output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.views.given import expect, is_a
from neoscope.views.labels import cut, escaped, model_name
from neoscope.views.theme import CATEGORICAL, add_note, new_figure

if TYPE_CHECKING:
    from neoscope.analysis import LensResult
    from neoscope.analysis.tuned.evaluation import LensEvaluation

    Given = LensResult | LensEvaluation | Iterable[LensResult] | Mapping[str, LensResult]
else:
    Given = Any

_KINDS = {
    "LensResult": "analysis.logit_lens or tuned_lens",
    "LensEvaluation": "TunedLens.evaluate",
}
_PANELS = {
    "kl": "KL from the output, nats",
    "bias_bits": "bias, bits",
    "cross_entropy": "surprisal of the next token, nats",
    "agreement": "same top token as the output, share",
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SIGNS = ("circle", "square", "diamond", "triangle-up", "x")


def lens_calibration(result: Given) -> go.Figure:
    """Draw KL, bias, cross-entropy and agreement by layer; several lenses beside each other.

    Args:
        result: One lens's result, several (a list, or a dict with their names), or what
            ``TunedLens.evaluate`` returned.

    Raises:
        ViewError: There is none, or something else among them.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load("organism")
        >>> _, cache = model.run_with_cache("The keys near the cabinet")
        >>> figure = lens_calibration(ns.analysis.logit_lens(cache))
        >>> [trace.name for trace in figure.data][:1]
        ['logit']
    """
    curves, subtitle, caveat = _curves(result)
    panels = {
        name: title
        for name, title in _PANELS.items()
        if any(np.isfinite(curve[name]).any() for _, _, curve in curves if name in curve)
    }
    figure = new_figure("Calibration: how far each layer is from the output", subtitle)
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    figure.set_subplots(
        rows, columns, subplot_titles=list(panels.values()), horizontal_spacing=0.12,
        vertical_spacing=0.2,
    )  # fmt: skip
    order = list(dict.fromkeys(label for _, labels, _ in curves for label in labels))
    for place, name in enumerate(panels):
        row, column = place // columns + 1, place % columns + 1
        for i, (lens, labels, curve) in enumerate(curves):
            if name in curve:
                line = _line(i, lens, labels, curve[name], panels[name], legend=not place)
                figure.add_trace(line, row=row, col=column)
        figure.update_yaxes(rangemode="tozero", row=row, col=column)
    step = max(1, -(-len(order) // 14))
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=order, title="row of the lens",
        tickvals=order[::step],
    )  # fmt: skip
    figure.update_layout(
        legend={"orientation": "h", "y": -0.16 if rows > 1 else -0.3, "x": 0},
        showlegend=len(curves) > 1,
    )
    if caveat:
        add_note(figure, caveat)
    top = int(figure.layout.margin.t) + 24  # the panels' own titles
    figure.update_layout(height=top + 90 + 230 * rows, margin={"t": top})
    figure.update_annotations(font={"size": 13})
    return figure


def _line(
    i: int, name: str, labels: list[str], values: Any, unit: str, *, legend: bool
) -> go.Scatter:
    colour = CATEGORICAL[i % len(CATEGORICAL)]
    return go.Scatter(
        x=labels,
        y=list(values),
        name=escaped(name),
        legendgroup=name,
        showlegend=legend,
        mode="lines+markers",
        line={"color": colour, "dash": DASHES[i % len(DASHES)], "width": 2},
        marker={"symbol": SIGNS[i % len(SIGNS)], "size": 7},
        hovertemplate=f"{escaped(name)} lens, row %{{x}}<br><b>%{{y:.4g}}</b> ({escaped(unit)})"
        "<extra></extra>",
    )


Curve = tuple[str, list[str], dict[str, Any]]


def _curves(result: Any) -> tuple[list[Curve], str, str]:
    """Return every lens's name, labels and numbers; the subtitle; the caveat."""
    if is_a(result, "LensEvaluation"):
        curves = [
            (name, [escaped(label) for label in result.labels], {"kl": kl, "bias_bits": bias})
            for name, kl, bias in zip(result.lenses, result.kl, result.bias, strict=True)
        ]
        return curves, f"{model_name(result.model)} · {result.n_tokens:,} tokens", ""
    if isinstance(result, Mapping):
        named = [(str(name), one) for name, one in result.items()]
    elif isinstance(result, list | tuple):
        named = [("", one) for one in result]
    else:
        named = [("", result)]
    if not named:
        raise ViewError("views.lens_calibration: there is no lens to draw")
    for _, one in named:
        expect(one, "lens_calibration", _KINDS)
        if is_a(one, "LensEvaluation"):
            raise ViewError("views.lens_calibration: a LensEvaluation is drawn by itself")
    sites = dict.fromkeys(one.site for _, one in named)
    models = dict.fromkeys(one.model for _, one in named)
    counts = dict.fromkeys(len(one.tokens) for _, one in named)
    curves = []
    for given, one in named:
        name = given or one.lens + (f" of {one.site}" if len(sites) > 1 else "")
        name = name if given or len(models) == 1 else f"{name}, {model_name(one.model)}"
        table = one.calibration()
        numbers = {key: table[key].to_numpy(float) for key in _PANELS}
        curves.append((name, [escaped(cut(label)) for label in one.labels], numbers))
    tokens = " and ".join(f"{n:,}" for n in counts)
    caveat = next((one.caveat for _, one in named if one.caveat), "")
    return curves, f"{', '.join(models)} · {', '.join(sites)} · {tokens} tokens", caveat
