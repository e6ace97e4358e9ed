"""Similarity, anisotropy, ranks, outlier dimensions and neighbours as figures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.errors import ViewError
from neoscope.organism import compiled

BAD = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def cache() -> Any:
    texts = [one.text for one in ns.organism.sentences("filler", 12)]
    return ns.load("organism").run_with_cache(texts)[1]


def test_cells_are_the_cka_of_layers(cache: Any) -> None:
    result = analysis.similarity(cache)
    figure = views.similarity(result)
    assert np.array_equal(figure.data[0].z, result.cka.astype(np.float32))
    assert figure.data[0].x == ("0", "1", "2", "3")
    assert figure.layout.xaxis.title.text == "layer (resid_post)"
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_two_models_are_named_on_their_axes(cache: Any) -> None:
    figure = views.similarity(analysis.similarity(cache, cache), name=BAD, other_name="twin")
    assert figure.layout.yaxis.title.text == (
        "layer of &lt;script&gt;alert(1)&lt;/script&gt; (resid_post)"
    )
    assert "<script" not in json.dumps(figure.to_dict(), default=str)


def test_cka_below_zero_and_without_a_value_are_told() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(8, 300))
    given = {BAD: X, "y": rng.normal(size=(8, 300)), "flat": np.ones((8, 3))}
    result = analysis.similarity(given)
    figure = views.similarity(result)
    assert figure.data[0].y[0] == "&lt;script&gt;alert(1)&lt;/script&gt;"
    said = figure.layout.title.subtitle.text
    assert "hold no number (a side that does not vary)" in said
    assert ("below 0" in said) == bool((result.cka < 0).any())


def test_anisotropy_shows_cosines_and_norms_by_layer(cache: Any) -> None:
    result = analysis.anisotropy(cache)
    figure = views.anisotropy(result)
    lines = {one.name: one for one in figure.data if one.name}
    assert np.array_equal(lines["raw"].y, result.raw)
    assert np.array_equal(lines["standardised"].y, result.standardised)
    assert np.array_equal(lines["mean norm"].y, result.mean_norm)
    assert lines["raw"].x == (0, 1, 2, 3)
    bars = next(one for one in figure.data if not one.name)
    assert bars.y[:2] == (result.min_norm[0], result.max_norm[0])


def test_sites_and_poolings_have_lines_of_their_own() -> None:
    rng = np.random.default_rng(0)
    names = ("resid_post_0_mean", "resid_post_0_last", "resid_post_1_mean", "resid_post_1_last")
    result = analysis.anisotropy({name: rng.normal(size=(9, 3)) for name in names})
    lines = {one.name: one for one in views.anisotropy(result).data if one.name}
    assert np.array_equal(lines["resid_post_last: raw"].y, result.raw[[1, 3]])
    assert "resid_post_mean: raw" in lines


def test_effective_rank_says_what_bounds_it() -> None:
    rng = np.random.default_rng(0)
    result = analysis.effective_rank(rng.normal(size=(2, 5, 40)))
    figure = views.effective_rank(result)
    lines = {one.name: one for one in figure.data}
    assert np.array_equal(lines["effective rank"].y, result.effective_rank)
    assert np.array_equal(lines["90 %"].y, result.components[:, 1])
    assert lines["bound: rows − 1"].y[0] == 4
    assert "No rank can exceed 4" in figure.layout.title.subtitle.text


def test_planted_outliers_have_lines_and_the_norm_is_shown_without_them() -> None:
    _, cache = ns.load("outliers").run_with_cache(compiled.outlier_prompts())
    result = analysis.outlier_dimensions(cache)
    figure = views.outlier_dimensions(result)
    found = {one.name for one in figure.data if (one.name or "").startswith("dimension")}
    assert found == {"dimension 5", "dimension 12", "dimension 27"}
    norms = {one.name: one for one in figure.data if one.xaxis == "x"}
    whole, rest = norms["all dimensions"], norms["without outliers"]
    squares = np.asarray(cache["resid_post", 3]).reshape(-1, 32) ** 2
    assert np.isclose(whole.y[3], np.sqrt(squares.sum(1).mean()), rtol=1e-5)
    others = np.delete(squares, [5, 12, 27], axis=1)
    assert np.isclose(rest.y[3], np.sqrt(others.sum(1).mean()), rtol=1e-5)
    shares = next(one for one in figure.data if one.xaxis == "x3" and "12" in one.name)
    assert np.array_equal(shares.y, result.share[:, 12])
    one = views.outlier_dimensions(result, k=1)
    assert "the 1 largest of 3 have lines" in one.layout.title.subtitle.text.replace("<br>", " ")


def test_without_outliers_the_figure_says_so() -> None:
    rng = np.random.default_rng(0)
    result = analysis.outlier_dimensions(rng.normal(size=(50, 20)))
    figure = views.outlier_dimensions(result)
    assert "No dimension stands out" in figure.layout.title.subtitle.text
    limit = next(one for one in figure.data if one.name == "threshold")
    spread = 1.4826 * np.median(np.abs(result.size - np.median(result.size)))
    assert np.isclose(limit.y[0], np.median(result.size) + 6 * spread)


def test_neighbours_are_written_into_their_cells() -> None:
    result = analysis.nearest_neighbours(ns.load("organism"), [" keys", " Mary"], k=4)
    figure = views.nearest_neighbours(result)
    assert np.array_equal(figure.data[0].z, result.scores.astype(np.float32))
    assert figure.data[1].text[0].split("<br>")[0] == f"·{result.tokens[0][0].strip()}"


@pytest.mark.parametrize(
    "view",
    ["similarity", "anisotropy", "effective_rank", "outlier_dimensions", "nearest_neighbours"],
)
def test_other_results_are_refused(view: str) -> None:
    with pytest.raises(ViewError, match=rf"analysis\.{view}"):
        getattr(views, view)([1, 2])


def test_neighbours_say_their_cosine() -> None:
    result = analysis.nearest_neighbours(ns.load("organism"), [" keys"], k=2)
    written = views.nearest_neighbours(result).data[1].text[0]
    assert written.endswith(f"<br>{float(result.scores[0][0]):.3g}")


def test_the_model_of_a_cache_is_named() -> None:
    model = ns.load("organism")
    _, cache = model.run_with_cache("The keys near the cabinet are")
    for figure in (
        views.similarity(analysis.similarity(cache)),
        views.anisotropy(analysis.anisotropy(cache)),
        views.effective_rank(analysis.effective_rank(cache)),
        views.outlier_dimensions(analysis.outlier_dimensions(cache)),
    ):
        assert "the cache of organism (" in figure.layout.title.subtitle.text
