"""projection: where points stand, what colours them, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

import neoscope as ns
import probes
from neoscope import views
from neoscope.errors import MissingExtraError, ViewError
from neoscope.export import FeatureSpec, extract, to_store

BAD = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 5)) @ rng.normal(size=(5, 8)) + 4


@pytest.mark.parametrize("rows", [60, 6])
def test_points_are_the_principal_components_of_scikit_learn(cloud: np.ndarray, rows: int) -> None:
    figure = views.projection(cloud[:rows])
    known = PCA(2).fit(cloud[:rows])
    expected = known.transform(cloud[:rows])
    for axis, column in (("x", 0), ("y", 1)):
        found = getattr(figure.data[0], axis)
        assert np.allclose(np.abs(found), np.abs(expected[:, column]))
    share = known.explained_variance_ratio_
    assert figure.layout.xaxis.title.text == f"component 1 ({share[0]:.1%} of the variance)"
    assert figure.layout.yaxis.title.text == f"component 2 ({share[1]:.1%} of the variance)"


def test_standardising_divides_by_the_standard_deviation(cloud: np.ndarray) -> None:
    scaled = cloud * np.array([100, 1, 1, 1, 1, 1, 1, 1])
    plain = views.projection(cloud, standardise=True).data[0].x
    assert np.allclose(views.projection(scaled, standardise=True).data[0].x, plain)
    said = views.projection(scaled).layout.title.subtitle.text
    assert "Dimension 0 alone makes" in said


def test_cloudthat_are_not_finite_are_left_out_and_counted(cloud: np.ndarray) -> None:
    broken = cloud.copy()
    broken[3, 1], broken[7, 0] = np.nan, np.inf
    figure = views.projection(broken, texts=[f"text {i}" for i in range(60)])
    assert len(figure.data[0].x) == 58
    assert "2 rows hold NaN or infinite numbers and are left out" in (
        figure.layout.title.subtitle.text
    )
    assert figure.data[0].customdata[3] == "text 4<br>row 4"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.ones((1, 3)), "1 row to draw"),
        (np.ones((5, 3)), "all 5 rows are the same"),
        (np.full((5, 3), np.nan), r"0 rows to draw \(5 hold NaN"),
        (np.ones(5), r"shape \(5,\)"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        ("text", "holds"),
    ],
)
def test_what_cannot_be_projected_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ViewError, match=said):
        views.projection(given)


def test_one_dimension_has_one_axis() -> None:
    figure = views.projection(np.array([[0.0], [1.0], [5.0]]))
    assert np.allclose(figure.data[0].x, [-2, -1, 3])
    assert np.array_equal(figure.data[0].y, [0, 0, 0])
    assert "(0.0% of the variance)" in figure.layout.yaxis.title.text


def test_classes_have_a_trace_each_and_text_is_escaped(cloud: np.ndarray) -> None:
    labels = [BAD, "b", None] * 20
    figure = views.projection(cloud, labels=labels, texts=[BAD + " %{x}" + "w" * 9000] * 60)
    assert [one.name for one in figure.data] == [
        "other or none (20)", "&lt;script&gt;alert(1)&lt;/script&gt; (20)", "b (20)",
    ]  # fmt: skip
    told = json.dumps(figure.to_dict(), default=str)
    assert "<script" not in told
    lines = figure.data[1].customdata[0].split("<br>")
    assert all(len(line) < 100 for line in lines)
    assert len({(one.marker.color, one.marker.symbol) for one in figure.data}) == 3


def test_many_classes_are_told_apart_and_the_rest_are_grey(cloud: np.ndarray) -> None:
    labels = [f"c{i % 40}" for i in range(60)]
    figure = views.projection(cloud, labels=labels)
    looks = {(one.marker.color, one.marker.symbol) for one in figure.data}
    assert len(looks) == len(figure.data) == 30
    assert "The 29 commonest of 40 classes" in figure.layout.title.subtitle.text


def test_quantities_have_a_scale(cloud: np.ndarray) -> None:
    labels = np.linspace(0, 1, 60)
    labels[5] = np.nan
    figure = views.projection(cloud, labels=labels)
    assert figure.data[1].marker.coloraxis == "coloraxis"
    assert np.array_equal(figure.data[1].marker.color, np.delete(labels, 5))
    assert "1 points have no label" in figure.layout.title.subtitle.text
    assert len(views.projection(cloud, labels=[0, 1] * 30).data) == 2
    assert len(views.projection(cloud, labels=[0, 1] * 30, continuous=True).data) == 1
    with pytest.raises(ViewError, match="expected numbers"):
        views.projection(cloud, labels=["a", "b"] * 30, continuous=True)


def test_above_the_cap_a_seeded_sample_is_drawn(cloud: np.ndarray) -> None:
    figure = views.projection(cloud, most=10, labels=range(60))
    again = views.projection(cloud, most=10, labels=range(60))
    other = views.projection(cloud, most=10, labels=range(60), seed=1)
    assert len(figure.data[0].x) == 10
    assert figure == again
    assert figure != other
    assert "10 of 60 rows are drawn, at random (seed 0)" in figure.layout.title.subtitle.text
    # The axes are those of all rows.
    full = views.projection(cloud)
    assert figure.layout.xaxis.title.text == full.layout.xaxis.title.text
    assert set(np.round(figure.data[0].x, 9)) <= set(np.round(full.data[0].x, 9))


def test_many_points_are_drawn_as_one_picture() -> None:
    rng = np.random.default_rng(0)
    figure = views.projection(rng.normal(size=(25_000, 3)), texts=["t" * 500] * 25_000)
    assert figure.data[0].type == "scattergl"
    assert len(figure.data[0].x) == 20_000
    assert len(figure.data[0].customdata[0]) < 90


def test_exported_features_and_stores_bring_their_columns(tmp_path: Path) -> None:
    model = ns.load("organism")
    texts = ["The keys near the cabinet", "The film was not", "Every night"]
    spec = FeatureSpec(["resid_post"], layers=[1, 2], pool=["mean"])
    found = extract(model, texts, spec)
    figure = views.projection(found, column="resid_post_2_mean", texts=texts)
    assert figure.data[0].customdata[2] == "Every night<br>row 2"
    with pytest.raises(ViewError, match=r"name one column.*resid_post_1_mean"):
        views.projection(found)
    with pytest.raises(ViewError, match="did you mean 'resid_post_2_mean'"):
        views.projection(found, column="resid_post_2_men")
    report = to_store(model, texts, tmp_path / "store", spec)
    stored = views.projection(report.store, column="resid_post_2_mean")
    assert np.allclose(stored.data[0].x, figure.data[0].x, atol=1e-4)


def test_probe_data_bring_labels_and_words(cloud: np.ndarray) -> None:
    data = probes.ProbeData(cloud, ["a", "b"] * 30, words=["the"] * 60)
    figure = views.projection(data)
    assert [one.name for one in figure.data] == ["a (30)", "b (30)"]
    assert figure.data[1].customdata[0] == "<b>b</b><br>the<br>row 1"


def test_options_are_checked(cloud: np.ndarray) -> None:
    with pytest.raises(ViewError, match="did you mean 'umap'"):
        views.projection(cloud, method="unmap")
    with pytest.raises(ViewError, match="59 labels for 60 rows"):
        views.projection(cloud, labels=range(59))
    with pytest.raises(ViewError, match="most=1"):
        views.projection(cloud, most=1)
    with pytest.raises(ViewError, match="needs at least 4"):
        views.projection(cloud[:3], method="umap")


def test_umap_without_its_extra_says_what_to_install(
    cloud: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"neoscope\[umap\]"):
        views.projection(cloud, method="umap")


def test_umap_is_the_same_for_the_same_seed(
    cloud: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of so few rows, what numba compiles takes longer than what it saves.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    pytest.importorskip("umap")
    figure = views.projection(cloud[:22], method="umap", labels=["a"] * 22)
    again = views.projection(cloud[:22], method="umap", labels=["a"] * 22)
    assert np.array_equal(figure.data[0].x, again.data[0].x)
    assert "seed 0" in figure.layout.title.subtitle.text
    assert len(views.projection(cloud[:4], method="umap").data[0].x) == 4
