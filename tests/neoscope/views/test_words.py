"""Coloured text: what is written, where it stands, in which ink, and what is said on hover."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neoscope as ns
from neoscope import analysis, views
from neoscope.analysis import TokenLosses
from neoscope.errors import ViewError
from neoscope.views.figures.words.cells import LONGEST, columns, label, written
from neoscope.views.figures.words.lines import COLUMNS, lines
from neoscope.views.figures.words.text import MOST_TOKENS, words


def token_losses(tokens: list[str]) -> TokenLosses:
    n = len(tokens)
    nats = np.arange(n, dtype=np.float32)
    nats[:1] = np.nan
    return TokenLosses(
        model="m", text=np.zeros(n, int), position=np.arange(n), ids=np.arange(n),
        tokens=tuple(tokens), surprisal=nats, entropy=nats / 2, rank=np.arange(n),
        top_tokens=("<b>best",) * n, top_probability=np.full(n, 0.5, np.float32),
        n_words=np.array([1]), n_bytes=np.array([1]),
    )  # fmt: skip


def drawn(tokens: list[str], **options: Any) -> Any:
    values = [float(i) for i in range(len(tokens))]
    defaults = {"scale": "amount", "unit": "nats", "title": "t", "hover": tokens}
    return words(tokens, values, **{**defaults, **options})


def test_words_stay_whole_and_newlines_break_lines() -> None:
    pieces = lines(["aaa", " bbb", "ccc", " d\n", "e"], width=9)
    places = [(p.token, p.line, p.start) for p in pieces]
    assert places == [(0, 0, 0), (1, 1, 0), (2, 1, 4), (3, 2, 0), (4, 3, 0)]


def test_a_token_with_newlines_inside_is_several_pieces() -> None:
    assert [(p.line, p.text) for p in lines(["a\n\nb"])] == [(0, "a⏎"), (1, "⏎"), (2, "b")]


@given(st.lists(st.text(max_size=60), max_size=40))
def test_no_piece_overlaps_another_or_leaves_its_line(tokens: list[str]) -> None:
    pieces = lines(tokens)
    assert sorted({p.token for p in pieces}) == list(range(len(tokens)))
    for before, after in itertools.pairwise(pieces):
        assert after.line > before.line or after.start == before.start + before.width
    assert all(p.start + p.width <= COLUMNS and p.width >= 1 for p in pieces)


def test_wide_letters_take_two_columns_and_accents_none() -> None:
    assert columns("猫") == 2
    assert columns("e\u0301") == 1
    assert columns("👩\u200d🚀") == 2
    assert columns("\u0301") == 1


def test_a_huge_token_is_cut() -> None:
    figure = drawn(["a" * 10_000, " b"])
    assert len(figure.data[-1].text[0]) <= LONGEST
    assert "…" in figure.data[-1].text[0]


def test_markup_is_shown_letter_by_letter() -> None:
    assert label(written("<script>")) == "&lt;script&gt;"
    figure = views.losses(token_losses(["x", "<script>alert(1)</script>", "<a href='x'>"]))
    shown = str(figure.to_dict())
    assert "<script" not in shown
    assert "<a href" not in shown
    assert "&lt;b&gt;best" in shown


def test_what_runs_from_right_to_left_is_isolated() -> None:
    assert label("ab\u05d0\u05d1") == "\u2068ab\u05d0\u05d1\u2069"
    assert label("猫") == "猫"
    assert "\u202e" not in written("a\u202eb")


def test_half_a_surrogate_pair_can_be_written_to_json() -> None:
    drawn(["\ud800", "b"], hover=["", ""]).to_json().encode()


def test_first_token_is_grey_and_says_why() -> None:
    figure = views.losses(token_losses(["a", " b", " c"]))
    coloured, grey, _, letters = figure.data
    assert list(coloured.customdata) == [1.0, 2.0]
    assert list(grey.base) == [min(letters.x) - 0.5 + 0.06]
    assert [text.replace("\xa0", " ") for text in letters.text] == ["a", " b", " c"]
    assert "nothing predicts the first token" in figure.layout.title.subtitle.text
    assert "not predicted" in grey.hovertext[0]


def test_a_single_token_is_drawn() -> None:
    figure = views.losses(token_losses(["a"]))
    assert len(figure.data) == 2
    assert figure.layout.coloraxis.showscale is False


def test_ranks_are_shown_on_a_scale_of_powers_of_ten() -> None:
    figure = views.losses(token_losses([str(i) for i in range(150)]), color="rank")
    assert list(figure.layout.coloraxis.colorbar.ticktext) == ["1", "10", "100"]
    assert figure.data[0].customdata[9] == pytest.approx(1.0)


def test_hover_gives_nats_bits_rank_and_what_was_expected() -> None:
    said = views.losses(token_losses(["a", " b", " c"])).data[0].hovertext[1]
    assert "2 nats (2.89 bits)" in said
    assert "rank 2" in said
    assert "(0.5)" in said


def test_a_full_context_stays_light() -> None:
    tokens = [f" word{i % 7}" for i in range(2048)]
    start = time.perf_counter()
    figure = views.losses(token_losses(tokens))
    assert time.perf_counter() - start < 5
    assert sum(len(trace.y) for trace in figure.data if trace.type == "bar") == 2048
    # Plotly measures the text of every bar, which takes minutes for so many.
    assert all(trace.text is None for trace in figure.data if trace.type == "bar")
    assert len(figure.to_json()) < 1_000_000


def test_what_is_too_long_is_cut_and_says_so() -> None:
    figure = drawn(["a"] * (MOST_TOKENS + 1))
    assert f"The first {MOST_TOKENS:,} of {MOST_TOKENS + 1:,}" in figure.layout.title.subtitle.text


def test_every_text_shares_the_scale() -> None:
    read = analysis.token_losses(ns.load("organism"), ["The keys are old.", "The the the drink to"])
    tops = {views.losses(read, text=i).layout.coloraxis.cmax for i in (0, 1)}
    assert len(tops) == 1
    assert tops.pop() == pytest.approx(float(np.nanmax(read.surprisal)))


def test_bad_arguments_name_what_there_is() -> None:
    result = token_losses(["a", "b"])
    with pytest.raises(ViewError, match="only text 0"):
        views.losses(result, text=1)
    with pytest.raises(ViewError, match="did you mean 'entropy'"):
        views.losses(result, color="entropie")
    with pytest.raises(ViewError, match="found dict"):
        views.losses({})  # type: ignore[arg-type]
    with pytest.raises(ViewError, match="no token"):
        views.losses(token_losses([]))


def test_generated_text_is_coloured_behind_a_plain_prompt() -> None:
    model = ns.load("organism")
    made = model.generate("The keys near", max_new_tokens=4, min_new_tokens=4, return_type="result")
    figure = views.plot(made)
    new, _, _, prompt = figure.data
    assert "".join(prompt.text).replace("\xa0", " ") == "The keys near"
    expected = [math.exp(one) for one in made.log_probs[0]]
    assert list(new.customdata) == pytest.approx(expected)
    beams = model.generate("The", max_new_tokens=2, num_beams=2, return_type="result")
    with pytest.raises(ViewError, match="beam search"):
        views.generation(beams)


def test_bars_have_colours_and_the_colour_bar_a_trace() -> None:
    figure = views.losses(token_losses(["a", " b", " c"]))
    assert all(str(one).startswith("#") for one in figure.data[0].marker.color)
    keys = [trace for trace in figure.data if trace.marker.coloraxis == "coloraxis"]
    assert len(keys) == 1 and keys[0].x == (None,)
    top = figure.layout.coloraxis.colorscale[-1][1]
    assert figure.data[0].marker.color[-1] == top
