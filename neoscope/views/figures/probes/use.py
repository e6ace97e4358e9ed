"""causal_effect: what erasing and steering do, beside random directions of the same size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neoscope.views.figures.similarity.layers import headroom, panel_title, place_titles, spans
from neoscope.views.given import expect, is_a
from neoscope.views.labels import cut, model_name, visible
from neoscope.views.theme import CATEGORICAL, MUTED, add_note, new_figure

if TYPE_CHECKING:
    from probes.use.amnesic import AmnesicReport
    from probes.use.effects import Effect
    from probes.use.report import CausalReport

    Report: TypeAlias = CausalReport | AmnesicReport
else:
    Effect = Report = Any

_MEASURES = {
    "logit_diff": ("logit of answer minus wrong word", "logits, change"),
    "log_prob": ("the answer's log-probability", "nats, change"),
    "kl": ("next-token distribution", "KL to the unedited one, nats"),
    "loss": ("loss of all next tokens", "nats a token, change"),
    "accuracy": ("likeliest next token right", "share of tokens, change"),
}
_KINDS = {"erase": "erased", "steer": "steered", "interchange": "exchanged"}


def causal_effect(result: Report) -> go.Figure:
    """Draw interventions on what a probe reads, each beside random ones of the same rank or norm.

    A dot is the mean over texts with its interval, a small stroke one random intervention: where
    the dot lies among the strokes, the model does no more with these directions than with any.

    Args:
        result: What :func:`probes.causal_effect` or :func:`probes.amnesic` returned.

    Raises:
        ViewError: It is something else.

    Example:
        >>> import neoscope as ns, probes as p
        >>> model, prompts = ns.load("organism"), ns.organism.sentences("agreement", 40)
        >>> data = p.ProbeData.from_texts(model, [one.prompt for one in prompts],
        ...     [one.attributes["number"] for one in prompts], layers=3, pool="last")
        >>> probe = p.sweep(data, controls=False, baselines=False, n_bootstrap=10).best()
        >>> report = p.causal_effect(model, probe, ["The keys", "The film"], n_random=2)
        >>> causal_effect(report).layout.yaxis.ticktext[0]
        'erased · same rank'
    """
    kinds = {"CausalReport": "probes.causal_effect", "AmnesicReport": "probes.amnesic"}
    expect(result, "causal_effect", kinds)
    first = getattr(result, "measure", None)
    measures = list(dict.fromkeys(one.measure for one in result.effects))
    measures.sort(key=lambda name: name != first)
    rows = list(dict.fromkeys(_row(one) for one in result.effects))
    figure = new_figure("Does the model use what the probe reads?", _where(result),
                        height=240 + 42 * len(rows))  # fmt: skip
    names = [_MEASURES.get(name, (name, ""))[0] for name in measures]
    make_subplots(1, len(measures), shared_yaxes=True, horizontal_spacing=0.06, figure=figure,
                  subplot_titles=[panel_title(name) for name in names])  # fmt: skip
    place_titles(figure)
    for column, measure in enumerate(measures, 1):
        effects = [one for one in result.effects if one.measure == measure]
        for trace in _traces(effects, [rows.index(_row(one)) for one in effects], column == 1):
            figure.add_trace(trace, row=1, col=column)
        figure.add_vline(x=0, line={"color": MUTED, "width": 1}, row=1, col=column)
        unit = _MEASURES.get(measure, ("", measure))[1]
        figure.update_xaxes(title=unit, title_font_size=13, row=1, col=column)
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=rows, zeroline=False,
                        range=[len(rows) - 0.5, -0.5])  # fmt: skip
    figure.update_layout(margin={"b": 92}, legend={
        "orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom", "x": 0,
    })  # fmt: skip
    verdict = result.verdict
    return headroom(add_note(figure, f"{verdict[0].upper()}{verdict[1:].rstrip('.')}."))


def _where(result: Any) -> str:
    draws = max(len(one.random) for one in result.effects)
    texts = max(len(one.per_text) for one in result.effects)
    counted = f"{texts:,} text{'s' * (texts != 1)}, {draws:,} random interventions beside each"
    whose = model_name(result.model)
    if is_a(result, "AmnesicReport"):
        ranks = ", ".join(f"{layer}: {rank}" for layer, rank in result.ranks.items())
        return f"{whose} · " + cut(f"directions erased by layer: {ranks}", 200) + f" · {counted}"
    read = f"{' '.join(str(result.label).split())[:60]} at " if result.label else ""
    return f"{whose} · {read}{result.place} · erased by {result.eraser} · {counted}"


def _row(one: Effect) -> str:
    """Return what one row shows: escaped."""
    done = _KINDS.get(one.kind, one.kind)
    along = "" if one.direction == "all" else f" {one.direction}"
    return visible(f"{done}{along}", 32) + f" · {visible(one.control)}"


def _traces(effects: list[Effect], at: list[int], legend: bool) -> list[go.Scatter]:
    random_x = np.concatenate([one.random for one in effects])
    random_y = np.repeat(at, [len(one.random) for one in effects])
    stroke = {"symbol": "line-ns-open", "size": 13, "color": MUTED, "line": {"width": 1.4}}
    random = go.Scatter(
        x=random_x, y=random_y, mode="markers", marker=stroke, name="random directions",
        showlegend=legend, legendgroup="random",
        hovertemplate="random <b>%{x:.4g}</b><extra></extra>",
    )  # fmt: skip
    bars = spans([float(y) for y in at], [(one.low, one.high) for one in effects], CATEGORICAL[0])
    bars.x, bars.y = bars.y, bars.x
    beyond = [one.beyond_random() for one in effects]
    dot = {
        "size": 11, "color": CATEGORICAL[0], "line": {"width": 2, "color": CATEGORICAL[0]},
        "symbol": ["circle" if one else "circle-open" for one in beyond],
    }  # fmt: skip
    said = {True: "beyond random", False: "among random", None: "cannot be told"}
    hover = [
        f"[{one.low:.4g}, {one.high:.4g}]<br>random ones {one.random_mean:.4g} on average in size"
        f"<br>p = {one.p:.3g} (least possible {one.smallest_p:.3g}): {said[found]}"
        if not math.isnan(one.low)
        else f"one text: no interval<br>p = {one.p:.3g}: {said[found]}"
        for one, found in zip(effects, beyond, strict=True)
    ]
    mean = go.Scatter(
        x=[one.value for one in effects], y=at, mode="markers", marker=dot, customdata=hover,
        name="what the probe reads (filled: beyond random)", showlegend=legend, legendgroup="mean",
        hovertemplate="%{y}<br><b>%{x:+.4g}</b> %{customdata}<extra></extra>",
    )  # fmt: skip
    return [random, bars, mean]
