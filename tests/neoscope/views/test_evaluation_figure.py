"""Scores in figures: intervals, published figures, and what edits change."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from neoscope import views
from neoscope.errors import ViewError
from neoscope.evaluate import Comparison, Evaluation
from neoscope.evaluate.identifying import Identity


def numbers(*values: float) -> Any:
    return np.array(values, float)


SCORES = Evaluation(
    model="m", suite="s", task=("a", "b", "b"), label=("A <script>", "B", "B"),
    metric=("acc", "perplexity", "acc"), filter=("none",) * 3, value=numbers(0.4, 30, 0.5),
    stderr=numbers(0.01, np.nan, 0.02), n=np.array([10, 20, 20]), num_fewshot=np.zeros(3, int),
    higher_is_better=np.array([True, False, True]), shortened=np.zeros(3, int),
    published=numbers(0.41, 31, np.nan), main=np.array([True, True, True]), published_as="125m",
    source="README <b>", edits=(), limit=None, seed=0, left=(),
)  # fmt: skip
PAIR = Comparison(
    model="m", suite=None, edits=("ablate <b>",), task=("a", "b"), label=("A", "B"),
    metric=("acc", "bits_per_byte"), filter=("none", "none"), n=np.array([10, 10]),
    num_fewshot=np.zeros(2, int), clean=numbers(0.9, 1.0), edited=numbers(0.5, 2.0),
    stderr=numbers(0.1, np.nan), shortened=np.zeros(2, int), main=np.array([True, True]), left=(),
)  # fmt: skip


def test_shares_share_a_scale_and_other_metrics_have_their_own() -> None:
    figure = views.evaluation(SCORES)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [list(trace.x) for trace in bars] == [[0.4, 0.5], [30.0]]
    assert tuple(figure.layout.xaxis.range) == (0, 1)
    assert figure.layout.xaxis2.title.text == "perplexity"


def test_intervals_are_of_95_percent_where_there_is_an_error() -> None:
    bars = [trace for trace in views.evaluation(SCORES).data if trace.type == "bar"]
    assert list(bars[0].error_x.array) == pytest.approx([1.96 * 0.01, 1.96 * 0.02])
    assert list(bars[1].error_x.array) == [0]


def test_published_figures_stand_beside() -> None:
    marks = [trace for trace in views.evaluation(SCORES).data if trace.name == "published"]
    assert marks[0].x[0] == pytest.approx(0.41)
    assert sum(bool(mark.showlegend) for mark in marks) == 1
    bare = dataclasses.replace(SCORES, published=numbers(np.nan, np.nan, np.nan))
    assert all(trace.name != "published" for trace in views.evaluation(bare).data)


def test_names_are_escaped() -> None:
    shown = str(views.evaluation(SCORES).to_dict()) + str(views.comparison(PAIR).to_dict())
    assert "<script" not in shown
    assert "README <b>" not in shown
    assert "ablate <b>" not in shown


def test_comparison_gives_both_scores_and_the_difference() -> None:
    figure = views.comparison(PAIR)
    clean = [trace for trace in figure.data if trace.name == "as it is"]
    edited = [trace for trace in figure.data if trace.name == "edited"]
    assert [list(trace.x) for trace in clean] == [[0.9], [1.0]]
    assert [list(trace.x) for trace in edited] == [[0.5], [2.0]]
    texts = [
        trace.text[0].strip()
        for trace in figure.data
        if trace.to_plotly_json().get("mode") == "text"
    ]
    assert texts == ["-0.4 ± 0.2", "+1"]


def test_rows_of_one_name_stay_apart() -> None:
    twice = dataclasses.replace(SCORES, label=("B", "B", "B"))
    bars = next(trace for trace in views.evaluation(twice).data if trace.type == "bar")
    assert len(set(bars.y)) == 2


def test_identity_stands_within_its_band_or_at_the_edge() -> None:
    found = Identity(
        model="m", published_as="125m", what=("a <b>", "b", "exact"), value=numbers(1, 5, 7),
        published=numbers(1.1, 1, 6), within=numbers(0.2, 1, 0), source=("x", "y", "z"),
    )  # fmt: skip
    figure = views.plot(found)
    assert list(figure.data[0].x) == pytest.approx([-0.5, 3, 3])
    assert list(figure.data[0].marker.symbol) == ["circle", "x", "x"]
    said = figure.layout.title.subtitle.text
    assert "2 of 3 figures are farther off" in said
    assert "<b>" not in str(figure.data[0].y)
    bare = numbers()
    unknown = Identity("m", None, (), bare, bare, bare, ())
    with pytest.raises(ViewError, match="no figures are published"):
        views.identity(unknown)


def test_no_score_is_refused() -> None:
    with pytest.raises(ViewError, match="no score"):
        views.evaluation(dataclasses.replace(SCORES, main=np.zeros(3, bool)))
    with pytest.raises(ViewError, match=r"views\.evaluation draws it"):
        views.comparison(SCORES)  # type: ignore[arg-type]
