"""Weights alone, as figures: singular vectors of a head, statistics of the embedding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.errors import ViewError


@pytest.fixture(scope="module")
def reading() -> analysis.SvdReading:
    return analysis.svd_reading(ns.load("organism"), 2, 0, k=3, top=6)


@pytest.fixture(scope="module")
def statistics() -> analysis.EmbeddingStatistics:
    return analysis.embedding_statistics(ns.load("organism"))


def test_every_singular_value_is_drawn_and_those_read_stand_out(
    reading: analysis.SvdReading,
) -> None:
    bars = views.plot(reading).data[0]
    assert bars.y == tuple(reading.share.tolist())
    assert len(set(bars.marker.color[:3])) == 1
    assert bars.marker.color[2] != bars.marker.color[3]


def test_a_row_has_the_tokens_of_one_vector_and_sign(reading: analysis.SvdReading) -> None:
    figure = views.svd_reading(reading, top=4)
    reads, writes = (one for one in figure.data if one.type == "heatmap")
    assert reads.y == writes.y == ("0 +", "0 −", "1 +", "1 −", "2 +", "2 −")
    assert np.array_equal(writes.z[3], reading.scores[1, 1, 1, :4])
    assert len(reads.customdata[0]) == 4
    assert "2 more a side" in figure.layout.title.subtitle.text
    written = [one for one in figure.data if one.type == "scatter"]
    assert [len(one.text) for one in written] == [24, 24]


def test_svd_reading_refuses_no_token(reading: analysis.SvdReading) -> None:
    with pytest.raises(ViewError, match=r"top=0; expected a whole number"):
        views.svd_reading(reading, top=0)


def test_an_embedding_shows_its_cosines_and_norms(statistics: analysis.EmbeddingStatistics) -> None:
    figure = views.plot(statistics)
    cosines, norms = figure.data
    assert cosines.x[0] == statistics.mean_cosine
    assert norms.x == (
        statistics.mean_norm, statistics.norm_of_mean, statistics.min_norm, statistics.max_norm,
    )  # fmt: skip


def test_published_figures_stand_beside_a_model_of_that_shape(
    statistics: analysis.EmbeddingStatistics,
) -> None:
    figure = views.embedding_statistics(dataclasses.replace(statistics, is_125m=True))
    published = [one for one in figure.data if one.name == "gpt-neo-125m, published"]
    assert published[0].x[0] == pytest.approx(0.945)  # of 0.93 to 0.96
    assert published[0].error_x.array[0] == pytest.approx(0.015)
    assert published[1].x == (11.4, 11.0)
    assert [bool(one.showlegend) for one in figure.data] == [True, True, False, False]


def test_the_longest_token_is_text(statistics: analysis.EmbeddingStatistics) -> None:
    bad = dataclasses.replace(statistics, largest="<script>")
    assert "of &lt;script&gt;." in views.plot(bad).layout.title.subtitle.text
