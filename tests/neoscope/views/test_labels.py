from __future__ import annotations

import html

from hypothesis import given
from hypothesis import strategies as st

from neoscope.views.labels import LONGEST, cut, escaped, model_name, numbered, ticks, visible


def test_spaces_and_newlines_are_seen() -> None:
    assert visible(" the") == "·the"
    assert visible("\n") == "⏎"
    assert visible("   ") == "···"
    assert visible("") == "∅"


def test_spaces_within_a_text_stay() -> None:
    assert visible("the cat") == "the cat"


def test_markup_is_shown_and_not_read() -> None:
    assert visible("<script>alert(1)</script>", 40) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert escaped("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"


@given(st.text(st.characters(), max_size=60))
def test_a_label_is_short_and_can_be_written(token: str) -> None:
    shown = visible(token)
    shown.encode("utf-8")
    assert "<" not in shown and ">" not in shown
    # Each control character takes at most ten letters to write, before it is cut.
    assert len(html.unescape(shown)) <= LONGEST + 2


def test_a_long_token_keeps_both_ends() -> None:
    shown = visible("a" * 5_000 + "b" * 5_000)
    assert shown.startswith("a") and shown.endswith("b") and len(shown) == LONGEST
    assert cut("abcdef", 5) == "ab…ef"


def test_a_right_to_left_token_does_not_turn_its_neighbours() -> None:
    token = "\u05e9\u05dc\u05dd"
    assert visible(token) == f"\u2068{token}\u2069"
    assert visible("\u202e") == "\\x202e"


def test_parts_of_an_emoji_stay_together() -> None:
    assert visible("👩\u200d🔬") == "👩\u200d🔬"


def test_half_a_surrogate_pair_is_shown_as_its_number() -> None:
    assert escaped("a\ud800") == "a\\ud800"


def test_names_of_equal_tokens_differ() -> None:
    names = numbered([" a", " a", " a"], start=7)
    assert names == ["7 ·a", "8 ·a", "9 ·a"]


def test_ticks_thin_out_evenly() -> None:
    names = [str(i) for i in range(500)]
    shown = ticks(names, names, most=40)
    assert len(shown["tickvals"]) <= 40
    assert shown["tickvals"] == [str(i) for i in range(0, 500, 13)]
    assert ticks(["a"], ["b"]) == {"tickvals": ["a"], "ticktext": ["b"]}


def test_a_model_is_called_by_the_last_part_of_its_path() -> None:
    assert model_name("/data/run 7/step-100/") == "step-100"
    assert model_name("EleutherAI/gpt-neo-125m") == "EleutherAI/gpt-neo-125m"
    assert model_name("") == model_name(None) == "unnamed model"
    assert model_name("<i>a</i>") == "<i>a</i>"
