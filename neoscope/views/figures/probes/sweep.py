"""probes: how well each layer or head can be read, beside what the score must be compared with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from neoscope.errors import ProbeError
from neoscope.views.figures.similarity.layers import headroom
from neoscope.views.given import expect, one_of
from neoscope.views.labels import cut, model_name, visible
from neoscope.views.theme import add_note

if TYPE_CHECKING:
    from probes.sweeping.result import PlaceResult, Scored, SweepResult
else:
    PlaceResult = Scored = SweepResult = Any

METRICS = {
    "accuracy": ("accuracy", "share right"),
    "balanced_accuracy": ("balanced accuracy", "mean share right over classes"),
    "f1": ("F1", ""),
    "auc": ("AUC", ""),
    "log_loss": ("log loss", "nats; less is better"),
    "r2": ("R²", "share of variance"),
    "mae": ("mean absolute error", "the label's unit; less is better"),
    "spearman": ("Spearman's rank correlation", ""),
}
"""What a score is called, and its unit."""


def probes(result: SweepResult, *, metric: str | None = None) -> go.Figure:
    """Draw a sweep: the score by layer with intervals, its control, its baselines.

    Of heads it is a map of layers and heads. Below the score stand selectivity (task minus control)
    and, where the sweep measured it, the codelength. The place chosen on validation folds is
    marked: its score is that of rows that no choice saw.

    Args:
        result: What :func:`probes.sweep` returned.
        metric: Which of its scores; None for the one that places were chosen by.

    Raises:
        ViewError: It is no sweep, or has no such score.

    Example:
        >>> import numpy as np, probes as p
        >>> X = np.random.default_rng(0).normal(size=(60, 4))
        >>> sweep = p.sweep(p.ProbeData(X, X[:, 0] > 0), controls=False, n_bootstrap=20,
        ...     progress=False)
        >>> [trace.name for trace in probes(sweep).data if trace.name]
        ['X', 'majority', 'chosen']
    """
    expect(result, "probes", {"SweepResult": "probes.sweep"})
    known = list(dict.fromkeys(name for one in result.places for name in one.task.scores))
    metric = result.metric if metric is None else one_of(metric, "metric", known, "probes")
    if any(one.place.head is not None for one in result.places):
        from neoscope.views.figures.probes.heads import by_head

        figure = by_head(result, metric)
    else:
        from neoscope.views.figures.probes.lines import by_layer

        figure = by_layer(result, metric)
    for note in remarks(result):
        add_note(figure, note)
    return headroom(figure, 14)


def titles(result: SweepResult, metric: str) -> tuple[str, str]:
    """Return the title and the subtitle of a sweep, plain text."""
    name = METRICS.get(metric, (metric, ""))[0]
    what = f": {_titled(result.label)}" if result.label else ""
    heads = any(one.place.head is not None for one in result.places)
    source = result.source
    facts = [model_name(source.model_name) if source.model_name else "arrays"]
    # Without a name, what kind of labels they are still says what is read.
    facts += [] if result.label else [f"{result.kind} labels without a name"]
    facts += [f"{source.pool} token" if source.pool == "last" else f"pool {source.pool}"] if (
        source.pool
    ) else []  # fmt: skip
    facts.append(f"{result.n_development:,} rows to train on, {result.n_test:,} to test on")
    one = next((one for p in result.places for one in p.task.intervals.values()), None)
    if one is not None:
        facts.append(f"{one.confidence:.0%} intervals over {one.n_groups:,} groups")
    by = "head" if heads else "layer"
    return f"Probe {name} by {by}, on untouched rows{what}", " · ".join(facts)


def _titled(text: Any) -> str:
    """Return a name for a title, cut; whoever draws the title escapes it."""
    return cut(" ".join(str(text).split()), 60)


def chosen(result: SweepResult) -> PlaceResult | None:
    """Return the place that validation chose; None where no place was validated."""
    try:
        return result.best_place
    except ProbeError:
        return None


def remarks(result: SweepResult) -> list[str]:
    """Return what a reader must know of a sweep, in sentences."""
    found = []
    if not result.complete:
        found.append(f"The sweep was interrupted: it holds {len(result.places)} places.")
    if chosen(result) is None:
        found.append("No place has a score on the validation folds, so that none is marked.")
    found += _certain(result)
    for key, what in (("control", "Control task"), ("random-init", "Random twin"),
                      ("embeddings", "Embeddings"), ("mdl", "Codelength")):  # fmt: skip
        if key in result.notes:
            found.append(f"{what}: {_titled(result.notes[key])}.")
    stopped = sum(not one.task.converged for one in result.places)
    if stopped:
        found.append(f"{stopped} of {len(result.places)} probes did not converge.")
    return found


def _certain(result: SweepResult) -> list[str]:
    """Say how much worse a probe could be whose interval has no width, where all rows are right."""
    best = chosen(result)
    if best is None or result.metric != "accuracy":
        return []
    interval = best.task.intervals.get("accuracy")
    if value_of(best.task, "accuracy") != 1 or interval is None or interval.low != interval.high:
        return []
    # Rows of one group need not be independent: groups are what can be counted.
    n = interval.n_groups
    lowest = 0.05 ** (1 / n)
    said = (
        f"All {result.n_test:,} rows to test on are right at {best.place}: its bootstrap interval "
        f"has no width. Over {n:,} groups, a true accuracy down to {lowest:.2f} can look like this "
        "(95 %, binomial)."
    )
    return [said]


def told(one: PlaceResult, metric: str) -> str:
    """Return everything known of a place, as lines of a hover box; escaped."""
    lines = [visible(str(one.place), 48), *_scored(one.task, metric, "")]
    if one.task.selected is not None:
        lines.append(f"validation {one.task.selected.score:.4g}")
        if one.task.selected.strength is not None:
            lines.append(f"strength {one.task.selected.strength:.4g}")
    if one.control is not None:
        lines += _scored(one.control, metric, "control ")
    if one.selectivity is not None and math.isfinite(one.selectivity.value):
        lines.append(f"selectivity {one.selectivity.value:+.4g}")
    if one.random_init is not None:
        lines += _scored(one.random_init, metric, "random twin ")
    code = one.codelength
    if code is not None:
        parts = f"probe {code.model_bits:,.1f}, labels {code.data_bits:,.1f}"
        lines.append(f"{code.bits:,.1f} bits ({parts}), compression {code.compression:.3g}")
    if not one.task.converged:
        lines.append("did not converge")
    return "<br>" + "<br>".join(lines)


def value_of(scored: Scored | None, metric: str) -> float:
    """Return a score; NaN where it was not measured."""
    return math.nan if scored is None else float(scored.scores.get(metric, math.nan))


def ends_of(scored: Scored | None, metric: str) -> tuple[float, float]:
    """Return the ends of a score's interval; NaN where there is none."""
    if scored is None or metric not in scored.intervals:
        return math.nan, math.nan
    interval = scored.intervals[metric]
    return interval.low, interval.high


def _scored(scored: Scored, metric: str, what: str) -> list[str]:
    low, high = ends_of(scored, metric)
    around = f" [{low:.3g}, {high:.3g}]" if low == low else " (no interval: one group)"
    return [f"{what}{METRICS.get(metric, (metric,))[0]} {value_of(scored, metric):.4g}{around}"]
