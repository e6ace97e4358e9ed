"""Probes as figures: sweeps, causal use, and which class is taken for which."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import neoscope as ns
import probes
from neoscope import views
from neoscope.errors import ViewError

BAD = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def sweep() -> probes.SweepResult:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    good = rng.normal(size=(120, 4)) + 3 * y[:, None]
    X = {
        probes.Place("resid_post", 0): rng.normal(size=(120, 4)),
        probes.Place("resid_post", 1): good,
        probes.Place("mlp_out", 1): rng.normal(size=(120, 4)),
        probes.Place("embed"): rng.normal(size=(120, 4)),
    }
    types = [f"w{i}" for i in rng.integers(0, 9, 120)]
    data = probes.ProbeData(X, y, types=types, label=BAD)
    return probes.sweep(data, mdl=True, n_bootstrap=40, progress=False)


@pytest.fixture(scope="module")
def heads() -> probes.SweepResult:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 80)
    X = {
        probes.Place("z", layer, head): rng.normal(size=(80, 3)) + 3 * y[:, None] * (layer == head)
        for layer in range(2)
        for head in range(2)
    }
    X[probes.Place("z", 0)] = rng.normal(size=(80, 3))
    types = [f"w{i}" for i in rng.integers(0, 9, 80)]
    return probes.sweep(probes.ProbeData(X, y, types=types), n_bootstrap=20, progress=False)


def named(figure: Any, name: str) -> Any:
    """Return the only trace of a name in the panel of scores, or the only one anywhere."""
    found = [one for one in figure.data if one.name == name]
    found = [one for one in found if one.yaxis == "y"] or found
    assert len(found) == 1, [one.name for one in figure.data]
    return found[0]


def test_a_line_holds_the_scores_of_its_site_by_layer(sweep: probes.SweepResult) -> None:
    line = named(views.probes(sweep), "resid_post")
    assert line.y == tuple(one.task.scores["accuracy"] for one in sweep.places[:2])
    assert np.round(line.x).tolist() == [0, 1]


def test_intervals_are_those_of_the_sweep(sweep: probes.SweepResult) -> None:
    figure = views.probes(sweep)
    bars = next(one for one in figure.data if one.legendgroup == "resid_post" and not one.name)
    interval = sweep.places[1].task.intervals["accuracy"]
    assert bars.y[3:5] == (interval.low, interval.high)


def test_baselines_controls_and_the_uniform_code_stand_beside(sweep: probes.SweepResult) -> None:
    figure = views.probes(sweep)
    assert named(figure, "majority").y[0] == sweep.baselines["majority"].scores["accuracy"]
    assert named(figure, "resid_post: control task").visible == "legendonly"
    assert named(figure, "uniform code").y[0] == 120
    selective = [one for one in figure.data if one.yaxis == "y2" and one.mode == "lines+markers"]
    assert selective[0].y[1] == sweep.places[1].selectivity.value
    bits = [one for one in figure.data if one.yaxis == "y3" and one.mode == "lines+markers"]
    assert bits[0].y[1] == sweep.places[1].codelength.bits


def test_the_chosen_place_is_ringed_and_named(sweep: probes.SweepResult) -> None:
    figure = views.probes(sweep)
    ring = named(figure, "chosen")
    assert ring.y[0] == sweep.best_place.task.scores["accuracy"]
    said = [one.text for one in figure.layout.annotations]
    assert "chosen on validation: resid_post 1" in said


def test_what_has_no_layer_stands_left_of_the_first(sweep: probes.SweepResult) -> None:
    figure = views.probes(sweep)
    assert figure.layout.xaxis.ticktext == ("embed", "0", "1")
    assert np.round(named(figure, "without a layer").x).tolist() == [-1]


def test_the_label_is_shown_not_run(sweep: probes.SweepResult) -> None:
    told = json.dumps(views.probes(sweep).to_dict(), default=str)
    assert "<script" not in told
    assert "&lt;script&gt;" in told


def test_another_score_may_be_drawn(sweep: probes.SweepResult) -> None:
    figure = views.probes(sweep, metric="auc")
    assert named(figure, "resid_post").y[1] == sweep.places[1].task.scores["auc"]
    with pytest.raises(ViewError, match="did you mean 'accuracy'"):
        views.probes(sweep, metric="accurracy")


def test_heads_are_a_map_with_the_whole_site_beside(heads: probes.SweepResult) -> None:
    figure = views.probes(heads)
    score = figure.data[0]
    assert score.x == ("0", "1", "whole")
    assert score.z[1][1] == np.float32(heads.places[3].task.scores["accuracy"])
    assert np.isnan(score.z[1][2])
    frame = figure.layout.shapes[0]
    place = heads.best_place.place
    assert (frame.x0, frame.y0) == (place.head - 0.5, place.layer - 0.5)
    assert f"Framed: {place}" in figure.layout.title.subtitle.text


def test_a_sweep_of_one_array_has_one_point() -> None:
    rng = np.random.default_rng(0)
    data = probes.ProbeData(rng.normal(size=(40, 3)), rng.normal(size=40))
    result = probes.sweep(data, n_bootstrap=10, controls=False, progress=False)
    figure = views.probes(result)
    assert len(named(figure, "X").y) == 1
    assert "R²" in figure.layout.title.text


def test_views_refuse_other_results() -> None:
    with pytest.raises(ViewError, match=r"probes\.sweep"):
        views.probes("no sweep")
    with pytest.raises(ViewError, match=r"probes\.causal_effect"):
        views.causal_effect(3)


def test_effects_stand_among_their_random_ones() -> None:
    model, prompts = ns.load("organism"), ns.organism.sentences("agreement", 60)
    texts = [one.prompt for one in prompts]
    number = [one.attributes["number"] for one in prompts]
    data = probes.ProbeData.from_texts(model, texts, number, layers=3, pool="last")
    options: dict[str, Any] = {"controls": False, "baselines": False, "progress": False}
    best = probes.sweep(data, n_bootstrap=10, **options).best()
    given = {"answers": prompts[0].answer, "wrong": prompts[0].wrong}
    report = probes.causal_effect(model, best, texts[:3], n_random=3, progress=False, **given)
    figure = views.causal_effect(report)
    first = [one for one in report.effects if one.measure == "logit_diff"]
    dots = next(one for one in figure.data if one.mode == "markers" and "probe" in one.name)
    assert dots.x == tuple(one.value for one in first)
    strokes = figure.data[0]
    assert np.array_equal(strokes.x, np.concatenate([one.random for one in first]))
    # Three draws decide nothing: no dot is filled.
    assert set(dots.marker.symbol) == {"circle-open"}
    assert "too few random draws" in figure.layout.title.subtitle.text.lower()
    eraser = probes.fit_leace(data.matrix(data.places[0]), data.y)
    amnesic = probes.amnesic(model, {3: eraser}, texts[:3], n_random=2, progress=False)
    drawn = views.causal_effect(amnesic)
    assert drawn.layout.yaxis.ticktext == ("erased · same rank", "erased · same norm")


def test_confusion_counts_and_shares_by_hand() -> None:
    figure = views.confusion(["a", "a", "a", "b", None], ["a", "a", "b", "b", "a"])
    trace = figure.data[0]
    assert trace.z.tolist() == [[np.float32(2 / 3), np.float32(1 / 3)], [0, 1]]
    assert trace.customdata[0][1].tolist() == [1, 3, 0.5]
    assert figure.data[1].text[1] == "1<br>33%"
    said = figure.layout.title.subtitle.text
    assert "3 of 4 rows right (75.0%)" in said
    assert "a → b (1)" in said
    assert "1 rows without a label" in said


def test_confusion_of_a_probe_and_its_data() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(["no", "yes"], 30)
    X = rng.normal(size=(60, 3)) + 2 * (y == "yes")[:, None]
    data = probes.ProbeData(X, y)
    probe = probes.LogisticProbe().fit(X, y)
    test = data.split()[1]
    figure = views.confusion(data, probe, rows=test)
    assert sum(row[i][0] for row in figure.data[0].customdata for i in range(2)) == len(test)
    applied = probes.apply(probe, data)
    assert views.confusion(y, applied).data[0].z.shape == (2, 2)
    assert "also those that the probe was trained on" in (
        views.confusion(data, probe).layout.title.subtitle.text.replace("<br>", " ")
    )


def test_confusion_of_many_classes_joins_the_rare_ones() -> None:
    truth = [i for i in range(50) for _ in range(50 - i)]
    figure = views.confusion(truth, truth, most=20)
    assert figure.data[0].z.shape == (20, 20)
    assert figure.data[0].x[-1] == "31 other classes"
    assert "(100.0%)" in figure.layout.title.subtitle.text
    assert views.confusion(truth, truth).data[0].z.shape == (50, 50)


def test_confusion_shows_labels_as_text() -> None:
    long = "x" * 10_000
    labels = [BAD, long, long + "y", "class 10", "class 2"]
    figure = views.confusion(labels, labels)
    told = json.dumps(figure.to_dict(), default=str)
    assert "<script" not in told
    assert max(map(len, figure.data[0].x)) < 80
    assert len(set(figure.data[0].x)) == 5
    assert figure.data[0].x[1:3] == ("class 2", "class 10")


def test_confusion_takes_one_row_and_one_class() -> None:
    figure = views.confusion(pd.Series(["a"]), np.array(["b"]))
    assert figure.data[0].z[0].tolist() == [0, 1]
    assert np.isnan(figure.data[0].z[1]).all()
    assert views.confusion([1], [1.0]).data[0].z.tolist() == [[1]]


@pytest.mark.parametrize(
    ("truth", "predicted", "said"),
    [
        ([0.25, 1.0], [0, 1], "quantity"),
        ([0, 1], [0], "one of each"),
        ([0, 1], ["0", "1"], "same classes"),
        ([], [], "none of 0 rows"),
        (np.eye(2), np.eye(2), "one at a time"),
        ("ab", ["a", "b"], "expected labels"),
        ([0, 1], probes.LogisticProbe(), "needs the features too"),
    ],
)
def test_confusion_refuses(truth: Any, predicted: Any, said: str) -> None:
    with pytest.raises(ViewError, match=said):
        views.confusion(truth, predicted)


def test_an_interval_without_width_is_explained() -> None:
    X = np.repeat([[-1.0], [1.0]], 100, 0)
    sweep = probes.sweep(
        probes.ProbeData(X, X[:, 0] > 0), controls=False, n_bootstrap=20, progress=False
    )
    figure = views.probes(sweep)
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "its bootstrap interval has no width" in said
    assert "binary labels without a name" in said
    assert "majority" in [one.text for one in figure.layout.annotations]
