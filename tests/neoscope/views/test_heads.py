"""Pictures of what heads do: score maps, profiles, rollout, flow, norms, composition."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.analysis import HEAD_SCORES, AttentionProfile, HeadScores
from neoscope.cache import ActivationCache
from neoscope.errors import SiteError, ViewError
from neoscope.model import HookedGPTNeo

TEXT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def organism() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module")
def cache(organism: HookedGPTNeo) -> ActivationCache:
    return organism.run_with_cache([TEXT, "The film"])[1]


@pytest.fixture(scope="module")
def scores(organism: HookedGPTNeo) -> HeadScores:
    return analysis.heads(organism, n=4, progress=False)


@pytest.fixture(scope="module")
def profile(organism: HookedGPTNeo) -> AttentionProfile:
    texts = [one.text for one in ns.organism.sentences("filler", 8)]
    return analysis.attention_profile(organism, [*texts, " ".join(texts)], progress=False)


def below(figure: go.Figure) -> str:
    return str(figure.layout.title.subtitle.text).replace("<br>", " ")


def values(figure: go.Figure) -> np.ndarray:
    return np.asarray(figure.data[0].z)


def test_map_holds_the_scores_with_values_written_and_errors_on_hover(scores: HeadScores) -> None:
    figure = views.heads(scores)
    kind = scores.names.index("induction")
    *_, trace, written = figure.data
    assert np.allclose(np.asarray(trace.z), scores.score[kind], equal_nan=True)
    at = list(zip(written.y, written.x, strict=True)).index(("2", "0"))
    assert written.text[at] == f"{scores.score[kind, 2, 0]:.2f}"
    assert trace.customdata[2][0][0] == f"{scores.stderr[kind, 2, 0]:.2g}"
    assert "standard error %{customdata[0]}" in trace.hovertemplate
    assert trace.y == ("0", "1 local", "2", "3 local")
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0.0, 1.0)


def test_what_a_window_rules_out_is_marked_and_never_zero(scores: HeadScores) -> None:
    figure = views.heads(scores, score="induction_beyond")
    grey, trace, _ = figure.data
    assert [list(row) for row in grey.text] == [[""] * 4, ["cannot"] * 4] * 2
    assert np.isnan(np.asarray(trace.z)[[1, 3]]).all()
    assert "cannot" in grey.hovertemplate and "Grey: cannot" in below(figure)


@pytest.mark.parametrize(
    ("name", "low", "unit"), [("copying", -1, "ratio, -1 to 1"), ("entropy", 0, "nats")]
)
def test_scores_of_other_units_have_their_own_scale(
    scores: HeadScores, name: str, low: int, unit: str
) -> None:
    axis = views.heads(scores, score=name).layout.coloraxis
    assert axis.colorbar.title.text == unit
    assert axis.cmin == -axis.cmax if low else axis.cmin == 0
    assert axis.cmax >= np.nanmax(np.abs(scores.score[scores.names.index(name)])) - 1e-9


@pytest.mark.parametrize("asked", ["all", None])
def test_all_scores_are_panels_and_shares_have_one_scale(
    scores: HeadScores, asked: str | None
) -> None:
    figure = views.heads(scores, score=asked)
    assert len(figure.layout.annotations) == len(scores.names)
    drawn = {trace.name: trace.coloraxis for trace in figure.data if trace.name}
    for name in scores.names:
        share = HEAD_SCORES[name].unit.startswith("share")
        assert (drawn[name] == "coloraxis") == share
    assert len(set(drawn.values())) == 1 + sum(
        not HEAD_SCORES[name].unit.startswith("share") for name in scores.names
    )


def test_unknown_score_and_another_result_are_refused(
    scores: HeadScores, profile: AttentionProfile
) -> None:
    with pytest.raises(ViewError, match="did you mean 'induction'"):
        views.heads(scores, score="inducton")
    with pytest.raises(ViewError, match=r"AttentionProfile|attention_profile"):
        views.heads(profile)
    with pytest.raises(ViewError, match="empty"):
        views.heads(dataclasses.replace(scores, names=()))


def test_profile_draws_bands_first_token_and_what_no_window_reaches(
    profile: AttentionProfile,
) -> None:
    figure = views.attention_profile(profile)
    first, bands = figure.data[0], figure.data[1]
    assert np.allclose(np.asarray(first.z).ravel(), profile.first.ravel())
    width = len(profile.starts)
    flat = profile.share.reshape(-1, width)
    assert np.allclose(np.asarray(bands.z), flat, equal_nan=True)
    assert bands.y[:5] == ("0.0", "0.1", "0.2", "0.3", "1.0 local")
    grey = np.isfinite(np.asarray(figure.data[2].z))
    assert np.array_equal(grey, np.repeat(~profile.possible, 4, 0)) and grey.any()
    assert "cannot" in figure.data[2].hovertemplate
    assert float(bands.customdata[0][1]) == pytest.approx(profile.share_stderr[0, 0, 1], abs=1e-5)


def test_profile_by_distance_draws_each_distance(profile: AttentionProfile) -> None:
    figure = views.attention_profile(profile, by="distance")
    n = len(profile.n)
    assert np.allclose(
        np.asarray(figure.data[1].z), profile.by_distance.reshape(-1, n), equal_nan=True
    )
    with pytest.raises(ViewError, match="band, distance"):
        views.attention_profile(profile, by="distances")


def test_rollout_draws_a_layer_or_one_position_through_all(cache: ActivationCache) -> None:
    found = analysis.rollout(cache)
    last = views.rollout(found)
    lower = np.tril_indices(14)
    assert np.allclose(values(last)[lower], found.values[-1, 0][lower])
    assert np.allclose(
        values(views.rollout(found, layer=1))[lower], found.values[1, 0][lower], atol=1e-6
    )
    one = views.rollout(found, position=-1)
    assert np.allclose(values(one), found.values[:, 0, 13], atol=1e-6)
    assert one.data[0].y == ("layer 0", "layer 1", "layer 2", "layer 3")
    assert values(views.rollout(found, text=1)).shape == (2, 2)


def test_rollout_marks_what_no_path_reaches() -> None:
    config = ns.NeoConfig(
        n_layers=2, d_model=16, n_heads=2, n_ctx=32, d_vocab=40, window_size=3,
        attention_layers=("local", "local"),
    )  # fmt: skip
    import torch

    model = HookedGPTNeo.from_config(config, seed=0)
    cache = model.run_with_cache(torch.arange(8)[None], sites="pattern")[1]
    figure = views.rollout(analysis.rollout(cache))
    back = np.arange(8)[:, None] - np.arange(8)
    assert np.array_equal(np.isfinite(np.asarray(figure.data[1].z)), back > 4)
    assert "no path of windows" in figure.data[1].hovertemplate


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": 7}, "it has layers 0, 1, 2, 3"),
        ({"position": 14}, "14 tokens, 0 to 13"),
        ({"layer": 1, "position": 1}, "give one of them"),
        ({"text": 5}, "texts 0 to 1"),
    ],
)
def test_rollout_refuses_what_is_not_there(
    cache: ActivationCache, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ViewError, match=said):
        views.rollout(analysis.rollout(cache), **options)


def test_flow_draws_the_positions_that_were_asked_for(cache: ActivationCache) -> None:
    found = analysis.attention_flow(cache, positions=-1, progress=False)
    figure = views.attention_flow(found)
    assert figure.data[0].y == ("13 ·to",)
    assert np.allclose(values(figure), found.values[0], atol=1e-6)
    assert views.attention_flow(found, text=1).data[0].y == ("1 ·film",)


def test_norms_stand_beside_attention_with_a_scale_each(cache: ActivationCache) -> None:
    found = analysis.norm_weighted_attention(cache, layer=2)
    figure = views.norm_weighted_attention(found, head=1)
    lower = np.tril_indices(14)
    for trace, expected, axis in zip(
        figure.data, (found.attention, found.values), ("coloraxis", "coloraxis2"), strict=True
    ):
        assert np.allclose(np.asarray(trace.z)[lower], expected[0, 1][lower])
        assert trace.coloraxis == axis
    assert figure.layout.coloraxis2.cmax == pytest.approx(found.values[0, 1].max())
    assert len(views.norm_weighted_attention(found).data) == 8
    with pytest.raises(SiteError, match="holds heads 0, 1, 2, 3"):
        views.norm_weighted_attention(found, head=4)


def test_norms_tell_what_a_window_hides_from_the_future(organism: HookedGPTNeo) -> None:
    long = " ".join(one.text for one in ns.organism.sentences("filler", 6))
    cache = organism.run_with_cache(long)[1]
    figure = views.norm_weighted_attention(analysis.norm_weighted_attention(cache, 1), head=0)
    n = len(figure.data[0].x)
    back = np.arange(n)[:, None] - np.arange(n)
    assert n > 32 and np.array_equal(np.isfinite(np.asarray(figure.data[1].z)), back >= 32)


def test_composition_pairs_stand_at_writer_and_reader(organism: HookedGPTNeo) -> None:
    found = analysis.composition(organism, progress=False)
    figure = views.composition(found, kind="k")
    assert values(figure).shape == (12, 12)
    at = figure.data[0].y.index("0.0"), figure.data[0].x.index("2.0")
    assert values(figure)[at] == pytest.approx(found.k[0, 0, 2, 0])
    assert np.nanmax(values(figure)) == values(figure)[at]  # the previous-word head feeds induction
    assert np.isnan(values(figure)[figure.data[0].y.index("1.0"), figure.data[0].x.index("1.0")])
    axis = views.composition(found).layout.coloraxis
    assert axis.cmin + axis.cmax == pytest.approx(2 * found.baseline)
    with pytest.raises(ViewError, match="one of q, k, v"):
        views.composition(found, kind="o")


def test_composition_of_one_layer_is_refused() -> None:
    config = ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=8, d_vocab=9, window_size=4)
    found = analysis.composition(HookedGPTNeo.from_config(config, seed=0), progress=False)
    with pytest.raises(ViewError, match="one layer"):
        views.composition(found)


def test_names_are_escaped(scores: HeadScores, profile: AttentionProfile) -> None:
    bad = "<script>alert(1)</script>"
    for figure in (
        views.heads(dataclasses.replace(scores, model=bad)),
        views.heads(dataclasses.replace(scores, model=bad), score="all"),
        views.attention_profile(dataclasses.replace(profile, model=bad)),
    ):
        text = json.dumps(figure.to_dict(), default=str)
        assert "<script>" not in text and "&lt;script&gt;" in text


def test_tokens_of_rollout_and_norms_are_escaped(cache: ActivationCache) -> None:
    strings = (("<script>",) * 14, ("<b>x</b>",) * 2)
    rolled = dataclasses.replace(analysis.rollout(cache), strings=strings)
    normed = dataclasses.replace(analysis.norm_weighted_attention(cache, 2), strings=strings)
    for figure in (
        views.rollout(rolled),
        views.rollout(rolled, position=-1),
        views.norm_weighted_attention(normed),
    ):
        text = json.dumps(figure.to_dict(), default=str)
        assert "<script>" not in text and "&lt;script&gt;" in text


def test_composition_shades_pairs_that_cannot_compose() -> None:
    found = analysis.composition(ns.load("organism"))
    figure = views.composition(found, kind="k")
    scores, grey = figure.data
    assert np.array_equal(np.isnan(scores.z), np.isfinite(grey.z))
    assert "cannot" in grey.hovertemplate and "Grey" in figure.layout.title.subtitle.text
