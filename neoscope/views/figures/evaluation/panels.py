"""Panels for scores: shares together on one scale, every other metric on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from neoscope.views.labels import cut, escaped

SHARES = ("acc", "acc_norm", "exact_match", "f1", "mc1", "mc2", "score", "acc_all", "em")
LINE = 30
"""Height of a row, in pixels."""


@dataclass(frozen=True)
class Panel:
    """Rows that share a scale."""

    title: str
    rows: tuple[int, ...]
    share: bool


def panels(metrics: Sequence[str], chosen: Sequence[int]) -> list[Panel]:
    """Group rows by their scale.

    Args:
        metrics: Of every row.
        chosen: Rows to show.
    """
    shares = tuple(i for i in chosen if metrics[i] in SHARES)
    found = [Panel("share of 1", shares, share=True)] if shares else []
    for metric in dict.fromkeys(metrics[i] for i in chosen if metrics[i] not in SHARES):
        rows = tuple(i for i in chosen if metrics[i] == metric)
        found.append(Panel(metric.replace("_", " "), rows, share=False))
    return found


def names(
    labels: Sequence[str], metrics: Sequence[str], filters: Sequence[str], rows: Sequence[int]
) -> list[str]:
    """Return unique, escaped names of rows.

    Args:
        labels: What tasks are called.
        metrics: What was measured.
        filters: Which reading of a generated answer.
        rows: Of which rows.
    """
    found: list[str] = []
    for i in rows:
        reading = f", {filters[i]}" if filters[i] not in ("none", "") else ""
        name = f"{cut(labels[i], 40)} · {metrics[i]}{reading}"
        while name in found:
            name += "\u200b"
        found.append(name)
    return [escaped(name) for name in found]


def intervals(stderr: Sequence[float]) -> dict[str, object]:
    """Return plotly's error bars: 95 % of a normal distribution; none where there is no error.

    Args:
        stderr: Standard errors, NaN for none.
    """
    wide = (1.96 * np.nan_to_num(np.asarray(stderr, float))).tolist()
    return {"type": "data", "array": wide, "thickness": 1.5, "width": 4}


def stacked(figure: go.Figure, found: Sequence[Panel]) -> None:
    """Give a figure one row of panels below the other, each as high as it has rows.

    Args:
        figure: It is changed.
        found: The panels.
    """
    most = sum(len(panel.rows) + 2 for panel in found)
    figure.set_subplots(
        len(found),
        1,
        row_heights=[len(panel.rows) + 1.2 for panel in found],
        vertical_spacing=min(0.18, 1.9 / most) if len(found) > 1 else 0,
    )
    height = int(figure.layout.margin.t + LINE * most + 50)
    figure.update_layout(height=height, legend={"orientation": "h", "y": -60 / height, "x": 0})
    for row, panel in enumerate(found, 1):
        figure.update_xaxes(title=panel.title, row=row, col=1)
        figure.update_yaxes(autorange="reversed", showgrid=False, type="category", row=row, col=1)
        if panel.share:
            figure.update_xaxes(range=[0, 1.0], row=row, col=1)
        else:
            figure.update_xaxes(rangemode="tozero", row=row, col=1)
