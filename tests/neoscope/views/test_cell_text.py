"""Text in cells: one for each number, in ink that can be read on the cell's colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.views.cell_text import write_cells
from neoscope.views.heatmaps import heatmap
from neoscope.views.ink import contrast, inks, shades

READABLE = 4.5
"""WCAG 2.2, level AA."""


@pytest.mark.parametrize("scale", ["share", "amount", "signed"])
def test_ink_is_readable_on_every_colour_of_a_scale(scale: str) -> None:
    values = np.linspace(-1 if scale == "signed" else 0, 1, 301)
    figure = heatmap(values[None], rows=["a"], columns=[str(i) for i in range(301)], scale=scale,
                     unit="", title="")  # fmt: skip
    axis = figure.layout.coloraxis.to_plotly_json()
    for reverse in (False, True):
        axis["reversescale"] = reverse
        cells, ink = shades(values.tolist(), axis), inks(values.tolist(), axis)
        least = min(contrast(a, b) for a, b in zip(cells, ink, strict=True))
        assert least >= READABLE, (scale, reverse)


def test_text_stands_in_the_cells_that_hold_a_number() -> None:
    values = np.array([[0.1, np.nan], [0.5, 0.9]])
    figure = heatmap(values, rows=["a", "b"], columns=["x", "y"], scale="share", unit="", title="")
    written = write_cells(figure, ".1f").data[1]
    assert list(zip(written.y, written.x, written.text, strict=True)) == [
        ("a", "x", "0.1"), ("b", "x", "0.5"), ("b", "y", "0.9"),
    ]  # fmt: skip
    # Text would otherwise push the axes apart.
    assert figure.layout.xaxis.range == (-0.5, 1.5)
    assert figure.layout.yaxis.range == (1.5, -0.5)


def test_nothing_is_written_where_nothing_is_known() -> None:
    values = np.full((1, 2), np.nan)
    figure = heatmap(values, rows=["a"], columns=["x", "y"], scale="share", unit="", title="")
    assert len(write_cells(figure, ".1f").data) == 1


def _heads() -> Any:
    scores = ["previous_token", "induction", "copying"]
    return views.heads(analysis.heads(ns.load("organism"), scores=scores), score="all")


def _neighbours() -> Any:
    near = analysis.nearest_neighbours(ns.load("organism"), [" keys"], k=4, metric="euclidean")
    return views.plot(near)


def _svd() -> Any:
    return views.plot(analysis.svd_reading(ns.load("organism"), 2, 0, k=2, top=3))


def _confusion() -> Any:
    return views.confusion(["a", "a", "b"], ["a", "b", "b"])


@pytest.mark.parametrize("draw", [_heads, _neighbours, _svd, _confusion])
def test_what_a_view_writes_is_readable_on_its_cells(draw: Callable[[], Any]) -> None:
    figure = draw()
    maps = {one.xaxis or "x": one for one in figure.data if one.type == "heatmap" and one.coloraxis}
    written = [one for one in figure.data if one.type == "scatter"]
    assert len(written) == len(maps)
    for one in written:
        cells = maps[one.xaxis or "x"]
        axis = figure.layout[cells.coloraxis].to_plotly_json()
        values = {
            (row, column): value
            for row, line in zip(cells.y, cells.z, strict=True)
            for column, value in zip(cells.x, line, strict=True)
        }
        under = shades([float(values[at]) for at in zip(one.y, one.x, strict=True)], axis)
        for ink, colour in zip(one.textfont.color, under, strict=True):
            assert contrast(ink, colour) >= READABLE
