"""What judges a probe, as figures: learning curves, calibration, codes, permutations, neurons."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import probes
from neoscope import views
from neoscope.errors import ViewError
from probes.judging import Bin, Calibration, Codelength, Interval, LearningCurve, PermutationResult
from probes.judging.mdl.codelength import Block

BAD = "<script>%{y}</script>"
CURVE = LearningCurve(
    sizes=(8, 16, 64),
    scores=(0.5, 0.7, 0.8),
    intervals=tuple(Interval(x - 0.1, x + 0.1, 0.9, 40, 100) for x in (0.5, 0.7, 0.8)),
    metric="accuracy",
)
CALIBRATED = Calibration(
    ece=0.125, mce=0.25, brier=0.1, log_loss=0.5,
    bins=(Bin(0.0, 0.5, 4, 0.25, 0.5), Bin(0.5, 0.75, 0, np.nan, np.nan),
          Bin(0.75, 1.0, 4, 0.9, 0.9)),
)  # fmt: skip
SPARSE = probes.SparseCurve(
    ks=(1, 4), f1=(0.6, 0.9), precision=(0.5, 0.9), recall=(0.7, 0.8),
    selected=((7,), (7, 3, 2, 9)), f1_all_positive=0.4, n_train=80, n_test=20,
)  # fmt: skip
ONLINE = Codelength(
    bits=60.0, uniform_bits=100.0, data_bits=40.0, model_bits=20.0, n_rows=100, n_classes=2,
    code="online", blocks=(Block(0, 10, 10.0), Block(10, 100, 50.0)),
)  # fmt: skip


def of(figure: Any, name: str) -> Any:
    found = [one for one in figure.data if one.name == name]
    assert len(found) == 1, [one.name for one in figure.data]
    return found[0]


def test_a_learning_curve_has_its_scores_and_the_ends_of_its_intervals() -> None:
    figure = views.plot(CURVE)
    line = of(figure, "accuracy")
    assert (line.x, line.y) == ((8, 16, 64), (0.5, 0.7, 0.8))
    assert figure.data[0].y[3:5] == pytest.approx((0.6, 0.8))
    assert "90% intervals over 40 groups" in figure.layout.title.subtitle.text
    assert figure.layout.xaxis.type == "log"


def test_learning_curves_of_two_metrics_are_refused() -> None:
    other = LearningCurve(CURVE.sizes, CURVE.scores, CURVE.intervals, "f1")
    with pytest.raises(ViewError, match=r"accuracy, f1; one figure has one metric"):
        views.learning_curve({"a": CURVE, "b": other})
    assert [
        one.name for one in views.learning_curve({"a": CURVE, "b": CURVE}).data if one.name
    ] == [
        "a",
        "b",
    ]


def test_calibration_leaves_empty_bins_out_and_counts_the_rows() -> None:
    figure = views.plot(CALIBRATED)
    line = of(figure, "this probe")
    assert (line.x, line.y) == ((0.25, 0.9), (0.5, 0.9))
    counts = next(one for one in figure.data if one.type == "bar")
    assert (counts.x, counts.y) == ((0.25, 0.875), (4, 4))
    said = figure.layout.title.subtitle.text
    assert "8 rows" in said
    assert "calibration error 0.125" in said


def test_sparse_curves_stand_above_their_floor() -> None:
    figure = views.plot(SPARSE)
    assert of(figure, "F1").y == SPARSE.f1
    assert of(figure, "recall").y == SPARSE.recall
    assert of(figure, "F1").customdata == ("7", "7, 3, 2, 9")
    assert [one.y0 for one in figure.layout.shapes] == [0.4]
    assert figure.layout.xaxis.tickvals == (1, 4)
    assert "neuron 7" in figure.layout.title.subtitle.text
    several = views.sparse_curve({"layer 0": SPARSE, "layer 1": SPARSE})
    assert [one.name for one in several.data] == ["layer 0", "layer 1"]


def test_a_code_is_divided_into_its_parts_beside_the_uniform_one() -> None:
    figure = views.plot(ONLINE)
    assert of(figure, "labels, given the probe").x == (0.4,)
    assert of(figure, "the probe").x == (0.2,)
    steps = figure.data[2]
    assert (steps.x, steps.y) == ((10, 100), (1.0, pytest.approx(50 / 90)))
    upright, flat = figure.layout.shapes
    assert (upright.x0, flat.y0) == (1.0, 1.0)
    assert "compression 1.67" in figure.layout.title.subtitle.text


def test_a_code_without_blocks_has_one_panel() -> None:
    plain = Codelength(60.0, 100.0, 40.0, 20.0, 100, 2, "variational")
    figure = views.codelength({"a": plain, "b": plain})
    assert "xaxis2" not in figure.to_dict()["layout"]
    assert figure.data[0].y == ("a", "b")


def test_every_permutation_is_in_a_bar_and_the_true_score_beside() -> None:
    null = np.linspace(0.4, 0.6, 31)
    figure = views.plot(PermutationResult(0.9, null, 1 / 32, "accuracy", "group"))
    assert sum(figure.data[0].y) == 31
    assert figure.data[1].x == (0.9, 0.9)
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "31 permutations of groups" in said
    assert "p = 0.0312" in said


def test_permutations_that_score_alike_have_a_bar() -> None:
    figure = views.plot(PermutationResult(0.5, np.full(4, 0.5), 1.0, "log_loss", "row"))
    assert sum(figure.data[0].y) == 4
    assert "less is better" in figure.layout.title.subtitle.text.replace("<br>", " ")


@pytest.mark.parametrize(
    ("view", "one"),
    [
        ("learning_curve", CURVE),
        ("calibration", CALIBRATED),
        ("sparse_curve", SPARSE),
        ("codelength", ONLINE),
    ],
)
def test_names_are_text_and_something_else_is_refused(view: str, one: Any) -> None:
    draw = getattr(views, view)
    figure = draw({BAD: one})
    assert "<script" not in json.dumps(figure.to_dict(), default=str)
    assert not any("script&gt;%{y}" in (trace.hovertemplate or "") for trace in figure.data)
    with pytest.raises(ViewError, match=rf"views\.{view} draws .*found int"):
        draw({"a": one, "b": 3})
    with pytest.raises(ViewError, match="nothing to draw"):
        draw({})
