from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoscope.errors import ProbeError
from probes.reading.alignment import token_ranges
from probes.reading.words import locate

# One number is drawn sixty times faster than sixty truth values.
CUTS = st.integers(0, 2**60 - 1).map(lambda bits: [bool(bits >> k & 1) for k in range(60)])
WORDS = st.lists(st.text("abcé😀", min_size=1, max_size=6), min_size=1, max_size=6)


def tokenized(
    texts: list[str], cuts: list[list[bool]], spaces: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens cut at random; a space leads the next one, or is left out of its offsets."""
    rows: list[tuple[int, int, int]] = []
    for number, (text, cut) in enumerate(zip(texts, cuts, strict=True)):
        rows.append((number, 0, 0))  # a beginning-of-text token
        edges = [0, *(k for k in range(1, len(text)) if cut[k] or text[k] == " "), len(text)]
        for start, stop in pairwise(edges):
            skipped = 0 if spaces else len(text[start:stop]) - len(text[start:stop].lstrip(" "))
            rows.append((number, start + skipped, stop))
    owner, start, stop = np.array(rows, np.int64).T
    return owner, start, stop


@given(
    st.lists(WORDS, min_size=1, max_size=3), st.lists(CUTS, min_size=3, max_size=3), st.booleans()
)
def test_tokens_of_a_word_hold_its_characters_and_no_other_words(
    sentences: list[list[str]], cuts: list[list[bool]], spaces: bool
) -> None:
    texts, spans = locate(sentences)
    tokens = tokenized(texts, cuts[: len(texts)], spaces)
    text = np.array([k for k, some in enumerate(spans) for _ in some])
    start, stop = np.array([span for some in spans for span in some]).T
    first, last, kept = token_ranges(text, start, stop, tokens, texts)
    assert np.array_equal(kept, np.arange(len(text)))
    owner, begin, end = tokens
    for row in range(len(text)):
        inside = range(first[row], last[row])
        assert (owner[first[row] : last[row]] == text[row]).all()
        held = {c for k in inside for c in range(begin[k], end[k])}
        word = set(range(start[row], stop[row]))
        assert word <= held
        # Every cut is at a space at least, so that nothing but a space is held besides.
        assert {texts[text[row]][c] for c in held - word} <= {" "}


def test_a_token_of_two_words_belongs_to_both() -> None:
    tokens = (np.zeros(2, np.int64), np.array([0, 3]), np.array([3, 5]))
    first, last, _ = token_ranges(
        np.array([0, 0]), np.array([0, 2]), np.array([2, 5]), tokens, ["don't"]
    )
    assert first.tolist() == [0, 0] and last.tolist() == [1, 2]


def test_a_word_without_a_token_is_named() -> None:
    tokens = (np.array([0, 1]), np.array([0, 0]), np.array([2, 1]))
    spans = (np.array([0, 1]), np.array([0, 2]), np.array([2, 4]))
    with pytest.raises(ProbeError, match="sentence 1: 'cd' at character 2 has no token"):
        token_ranges(*spans, tokens, ["ab", "b cd"], what="sentence")


def test_words_that_were_cut_off_are_left_out() -> None:
    tokens = (np.array([0, 2]), np.array([0, 0]), np.array([4, 2]))
    text, start = np.array([0, 0, 1, 2]), np.array([0, 3, 0, 0])
    stop = np.array([2, 6, 2, 2])
    _, _, kept = token_ranges(text, start, stop, tokens, ["ab cde", "fg", "hi"], cut=True)
    assert kept.tolist() == [0, 3]
    with pytest.raises(ProbeError, match="no span is left"):
        token_ranges(text[1:2], start[1:2], stop[1:2], tokens, ["ab cde", "fg", "hi"], cut=True)


def test_tokens_out_of_order_are_refused() -> None:
    tokens = (np.zeros(2, np.int64), np.array([3, 0]), np.array([5, 3]))
    with pytest.raises(ProbeError, match="text 0: the tokenizer gives tokens out of the order"):
        token_ranges(np.array([0]), np.array([0]), np.array([2]), tokens, ["don't"])


@pytest.mark.parametrize(
    ("sentences", "texts", "said"),
    [
        ([["a", "b"]], ["a c"], r"sentence 0, word 1 \('b'\) does not stand at character 2"),
        ([["a", ""]], None, "sentence 0, word 1 is ''"),
        ([["a"], ["b", " "]], None, "sentence 1, word 1 is ' '"),
        ([["a", 3]], None, "sentence 0, word 1 is 3"),
        ([["a"]], ["a", "b"], "1 sentences, but 2 texts"),
        (["ab"], None, "sentence 0: expected a list, found str"),
    ],
)
def test_words_that_stand_nowhere_are_named(
    sentences: list[list[str]], texts: list[str] | None, said: str
) -> None:
    with pytest.raises(ProbeError, match=said):
        locate(sentences, texts)
