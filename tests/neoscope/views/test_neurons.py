"""A neuron's contexts, its histogram and its effect in one figure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.analysis import TopActivations
from neoscope.errors import ViewError


@pytest.fixture(scope="module")
def found() -> TopActivations:
    texts = [one.text for one in ns.organism.sentences("agreement", 30)]
    model = ns.load("organism")
    return analysis.top_activations(model, texts, layer=2, unit=17, k=6, progress=False)


def test_tokens_stand_in_the_middle_with_their_context_beside_them(found: TopActivations) -> None:
    cells, before, after = views.top_activations(found, k=4).data[:3]
    places = found.top_place[0][:4]
    assert [text.replace("\xa0", " ") for text in cells.text] == [found.piece[p] for p in places]
    assert list(cells.customdata) == pytest.approx(found.top_value[0][:4].tolist())
    assert before.text[0].replace("\xa0", " ").endswith(found.before[places[0]][-5:])
    assert after.text[0].replace("\xa0", " ").startswith(found.after[places[0]][:5])
    assert all(x < 0 for x in before.x)
    assert all(x > 0 for x in after.x)


def test_histogram_counts_every_token(found: TopActivations) -> None:
    bars = views.top_activations(found).data[3]
    assert sum(bars.y) == found.n_tokens


def test_effect_shows_what_is_raised_above_what_is_lowered(found: TopActivations) -> None:
    figure = views.top_activations(found)
    effect = list(figure.data[-1].x)
    assert effect == sorted(effect, reverse=True)
    assert effect[0] == pytest.approx(float(found.promoted_effect[0, 0]))


def test_a_site_that_writes_nothing_has_no_effect() -> None:
    texts = ["The keys near the cabinet are old."]
    model = ns.load("organism")
    found = analysis.top_activations(
        model, texts, site="q", layer=0, unit=0, k=2, progress=False
    )  # fmt: skip
    assert len(views.top_activations(found).data) == 5


def test_bottom_is_signed(found: TopActivations) -> None:
    figure = views.top_activations(found, end="bottom")
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    assert figure.data[0].customdata[0] == pytest.approx(float(found.bottom_value[0, 0]))


def test_markup_and_right_to_left_are_safe(found: TopActivations) -> None:
    n = len(found.piece)
    evil = dataclasses.replace(
        found, piece=("<script>",) * n, before=("שלום <b>" * 30,) * n, after=("猫" * 200,) * n
    )
    figure = views.top_activations(evil)
    shown = str(figure.to_dict())
    assert "<script" not in shown
    assert "<b>" not in str([trace.text for trace in figure.data[:3]])
    assert figure.data[1].text[0].startswith("\u2068…")
    assert len(figure.data[2].text[0]) < 30


def test_bad_arguments(found: TopActivations) -> None:
    with pytest.raises(ViewError, match="unit 3 was not asked for"):
        views.top_activations(found, unit=3)
    with pytest.raises(ViewError, match="top, bottom"):
        views.top_activations(found, end="middle")
    none = dataclasses.replace(found, top_place=np.full_like(found.top_place, -1))
    with pytest.raises(ViewError, match="no place"):
        views.top_activations(none)


def test_texts_begin_at_the_left_and_what_marks_mean_is_said(found: TopActivations) -> None:
    figure = views.top_activations(found)
    low, high = figure.layout.xaxis.range
    cells, before = figure.data[:2]
    longest = max(len(text) for text in before.text)
    assert -low <= longest + max(cells.x) / 2 + 4
    assert high - low > 100
    assert "orange" in figure.layout.xaxis2.title.text


def test_a_text_is_cut_only_where_a_line_ends(found: TopActivations) -> None:
    n = len(found.piece)
    long = dataclasses.replace(found, before=("The",) * n, after=("word " * 17,) * n)
    after = views.top_activations(long).data[2].text
    assert not any("…" in text for text in after)


def test_bars_have_colours_not_numbers(found: TopActivations) -> None:
    colours = views.top_activations(found).data[0].marker.color
    assert all(isinstance(one, str) and one.startswith("#") for one in colours)
