"""Attribution in figures: bars add up to the logit, intervals are those of the mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.analysis import Attribution
from neoscope.errors import ViewError
from neoscope.patching.results.statistics import bootstrap

TEXT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def one(model: ns.HookedGPTNeo) -> Attribution:
    _, cache = model.run_with_cache(TEXT)
    return analysis.direct_logit_attribution(cache, " Mary", " John")


@pytest.fixture(scope="module")
def several(model: ns.HookedGPTNeo) -> Attribution:
    pairs = ns.organism.pairs("ioi", 8)
    _, cache = model.run_with_cache(list(pairs.clean))
    return analysis.direct_logit_attribution(cache, list(pairs.answer), list(pairs.wrong))


def test_bars_end_at_the_logit(one: Attribution) -> None:
    bars = views.attribution(one, k=5).data[0]
    assert len(bars.x) == 7
    assert bars.y[5] == f"the other {len(one.kind) - 5} parts"
    assert sum(bars.x[:-1]) == pytest.approx(float(one.logit[0]), abs=1e-4)
    assert bars.x[-1] == pytest.approx(float(one.logit[0]))
    assert bars.base[1] == pytest.approx(bars.x[0])
    assert bars.base[-1] == 0


def test_parts_stand_in_the_order_of_their_size(one: Attribution) -> None:
    bars = views.attribution(one, k=6).data[0]
    assert list(bars.y[:6]) == one.top(6)["component"].tolist()


def test_all_parts_leave_no_others(one: Attribution) -> None:
    bars = views.attribution(one, k=1000).data[0]
    assert len(bars.x) == len(one.kind) + 1


def test_several_texts_have_intervals(several: Attribution) -> None:
    bars = views.attribution(several, k=3).data[0]
    first = int(np.argmax(np.abs(several.mean)))
    low, high = bootstrap(several.values[:, [first]])[:, 0]
    assert bars.x[0] == pytest.approx(float(several.mean[first]))
    assert bars.error_x.array[0] == pytest.approx(float(high - several.mean[first]))
    assert bars.error_x.arrayminus[0] == pytest.approx(float(several.mean[first] - low))


def test_one_text_has_no_interval(one: Attribution) -> None:
    assert views.attribution(one).data[0].error_x.array is None


def test_what_no_part_explains_is_a_bar_of_its_own(one: Attribution) -> None:
    off = dataclasses.replace(one, logit=one.logit + 1)
    figure = views.attribution(off, k=2)
    assert figure.data[0].y[-2] == "not explained by any part"
    assert figure.data[0].x[-2] == pytest.approx(1, abs=1e-4)
    assert "does NOT add up" in figure.layout.title.subtitle.text


def test_head_map_holds_the_heads(one: Attribution) -> None:
    figure = views.attribution_heads(one)
    assert np.allclose(np.array(figure.data[0].z), one.heads, atol=1e-6)
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax


def test_a_map_of_no_heads_is_refused(model: ns.HookedGPTNeo, one: Attribution) -> None:
    _, cache = model.run_with_cache(TEXT)
    layers = analysis.direct_logit_attribution(cache, " Mary", by="layer")
    with pytest.raises(ViewError, match="no heads"):
        views.attribution_heads(layers)
    with pytest.raises(ViewError, match="by='source'"):
        views.attribution_sources(one)


def test_sources_add_up_to_the_heads(model: ns.HookedGPTNeo, one: Attribution) -> None:
    _, cache = model.run_with_cache(TEXT)
    split = analysis.direct_logit_attribution(cache, " Mary", " John", by="source")
    figure = views.attribution_sources(split, k=100)
    assert np.allclose(np.array(figure.data[0].z).sum(1), one.heads.ravel(), atol=1e-4)
    assert figure.layout.xaxis.ticktext[0] == "0 ·When"
    assert "head 2.1 from" in " ".join(views.attribution(split).data[0].y)


def test_markup_in_answers_and_tokens_is_escaped(one: Attribution) -> None:
    evil = dataclasses.replace(one, answers=("<script>x</script>",), strings=(("<b>",) * 13,))
    shown = str(views.attribution(evil).to_dict())
    assert "<script" not in shown


def test_bad_arguments(one: Attribution) -> None:
    with pytest.raises(ViewError, match="k=0"):
        views.attribution(one, k=0)
    with pytest.raises(ViewError, match=r"views\.losses draws it"):
        views.attribution(analysis.token_losses(ns.load("organism"), TEXT))  # type: ignore[arg-type]


def test_input_attribution_colours_tokens_by_sign() -> None:
    found = analysis.input_attribution(
        ns.load("organism"), [TEXT, "The keys near"], [" Mary", " are"],
        method="gradient_x_input", progress=False,
    )  # fmt: skip
    figure = views.input_attribution(found)
    values = found.values[0][~np.isnan(found.values[0])]
    assert list(figure.data[0].customdata) == pytest.approx(values.tolist())
    assert figure.layout.coloraxis.cmax == pytest.approx(float(np.nanmax(np.abs(found.values))))
    assert [w > 0 for w in figure.data[0].marker.line.width].index(True) == found.positions[0]
    assert "·Mary" in figure.layout.title.text
    with pytest.raises(ViewError, match="texts 0 to 1"):
        views.input_attribution(found, text=2)


def test_how_well_parts_add_up_is_no_sum(one: Attribution) -> None:
    for figure in (views.attribution(one), views.attribution_heads(one)):
        assert "parts add up to the logit difference within" in figure.layout.title.subtitle.text


def test_head_map_has_its_numbers_in_its_cells(one: Attribution) -> None:
    written = views.attribution_heads(one).data[1]
    said = dict(zip(zip(written.y, written.x, strict=True), written.text, strict=True))
    assert float(said["2", "1"]) == pytest.approx(float(one.heads[2][1]), abs=0.006)


def test_patterns_do_not_ask_plotly_for_a_contrast(one: Attribution) -> None:
    # With "overlay" plotly takes the list of colours for one colour, and complains of it.
    assert views.attribution(one).data[0].marker.pattern.fillmode != "overlay"
