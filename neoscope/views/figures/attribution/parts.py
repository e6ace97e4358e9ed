"""The parts of a direct attribution in the order they are drawn, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.views.labels import cut, escaped, model_name, spoken, visible

if TYPE_CHECKING:
    from neoscope.analysis import Attribution
else:
    Attribution = Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Step:
    """One bar of a waterfall."""

    label: str
    """Escaped."""
    value: float
    """The mean over texts, in logits."""
    low: float
    """Of the interval of the mean; NaN for a single text."""
    high: float
    smallest: float
    """Over texts."""
    largest: float
    kind: str = "part"
    """``"part"``, ``"others"``, ``"gap"`` (what no part explains) or ``"total"``."""


def steps(result: Attribution, k: int) -> list[Step]:
    """Return the largest parts, what is left, and the logit they lead to.

    Args:
        result: The attribution.
        k: How many parts stand by themselves.
    """
    order = np.argsort(-np.abs(result.mean), kind="stable")
    named = order[:k].tolist()
    every = result.labels()
    labels = [part_name(result, i, every[i]) for i in named]
    columns = [result.values[:, i] for i in named]
    kinds = ["part"] * len(named)
    rest = order[k:]
    if len(rest):
        n = len(rest)
        labels.append("the other part" if n == 1 else f"the other {n:,} parts")
        columns.append(result.values[:, rest].sum(1))
        kinds.append("others")
    if float(np.abs(result.residual).max()) > result.tolerance:
        labels.append("not explained by any part")
        columns.append(result.residual)
        kinds.append("gap")
    labels.append("logit difference" if result.wrongs else "logit")
    columns.append(result.logit)
    kinds.append("total")
    values = np.stack([np.asarray(column, float) for column in columns], 1)
    low, high = intervals(values)
    return [
        Step(labels[i], float(values[:, i].mean()), float(low[i]), float(high[i]),
             float(values[:, i].min()), float(values[:, i].max()), kinds[i])
        for i in range(len(labels))
    ]  # fmt: skip


def intervals(values: Float[np.ndarray, "row part"]) -> tuple[Any, Any]:
    """Return bootstrap intervals of the mean over rows; NaN where there is one row.

    Args:
        values: One row a text.
    """
    if len(values) < 2:
        none = np.full(values.shape[1], np.nan)
        return none, none
    from neoscope.patching.results.statistics import bootstrap

    found = bootstrap(values, confidence=CONFIDENCE)
    return found[0], found[1]


def part_name(result: Attribution, i: int, given: str) -> str:
    """Return what a part is called, escaped; a source token with its spaces shown.

    Args:
        result: The attribution.
        i: The part's number.
        given: What the result calls it.
    """
    source = int(result.source[i])
    if source < 0 or int(result.layer[i]) < 0:
        return escaped(cut(given, 40))
    found = {row[source] if source < len(row) else "" for row in result.strings}
    token = f" {visible(found.pop())}" if len(found) == 1 else ""
    return f"head {result.layer[i]}.{result.head[i]} from {source}{token}"


def question(result: Attribution) -> str:
    """Return whose logit it is, for a title: one token, two, or "the answers"."""
    sides = [side for side in (result.answers, result.wrongs) if side]
    names = [spoken(side[0]) if len(set(side)) == 1 else "the answers" for side in sides]
    if len(names) == 2 and len(set(result.wrongs)) > 1:
        names[1] = "the wrong answers"
    return " − ".join(names)


def subtitle(result: Attribution) -> str:
    """Return model, texts and how well the parts add up."""
    n = len(result.values)
    gap = float(np.abs(result.residual).max())
    sums = (
        f"parts add up to the logit{' difference' if result.wrongs else ''} within {gap:.1g}"
        if gap <= result.tolerance
        else f"does NOT add up to the logit: parts are {gap:.3g} off"
    )
    where = f"mean of {n:,} texts" if n > 1 else f"position {result.positions[0]}"
    return f"{model_name(result.model)} · by {result.by} · {where} · {sums}"
