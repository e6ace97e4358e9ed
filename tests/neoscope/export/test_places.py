"""Places in a text: a token's number or characters, and what is said of those that do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.oracle import (
    TINY,
    close,
    ids_of,
    run,
    same,
    tiny,
    tokenizer,
    tokens_of,
    window_of,
)

MODEL = tiny()
SITES = ("resid_post", "hidden", "surprisal")
TOKEN = FeatureSpec(SITES, layers=1, pool="token", positions="at")
SPANS = FeatureSpec(SITES, layers=1, pool="spans", positions="at")
BOTH = FeatureSpec(SITES, layers=1, pool=["token", "spans"], positions="at")
TEXT = "é😀 the film, thé 日本 theatre after 😀"


def inside(text: str, start: int, stop: int) -> list[int]:
    """Tokens that hold a byte of the characters [start, stop)."""
    first, last = len(text[:start].encode()), len(text[:stop].encode())
    found, at = [], 0
    for t, i in enumerate(ids_of(text, FeatureSpec())):
        n = len(tokenizer().convert_ids_to_tokens(i))  # one letter of the byte alphabet a byte
        if at < last and at + n > first:
            found.append(t)
        at += n
    return found


def check_spans(text: str, spans: list[tuple[int, int]], spec: FeatureSpec = SPANS) -> None:
    """Each span is the mean of its tokens, and ``token`` would take its last."""
    found = run(MODEL, spec, ["a the", text], where=[[0, 1], [list(span) for span in spans]])
    assert not found.encoded.problems
    for feature in spec.features(TINY):
        values, _ = tokens_of(MODEL, feature, spec, text)
        rows, filled = found.features[feature.name][1:], found.filled[feature.name][1:]
        assert len(rows) == len(spans)
        for row, has, span in zip(rows, filled, spans, strict=True):
            tokens = [t for t in inside(text, *span) if t in values]
            assert has == bool(tokens)
            if tokens:
                close(row, np.mean([values[t] for t in tokens], axis=0))
            else:
                assert np.isnan(row).all()


def ranges(text: str) -> st.SearchStrategy[tuple[int, int]]:
    bounds = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text)))
    return bounds.filter(lambda b: b[0] < b[1])


@given(st.lists(ranges(TEXT), min_size=1, max_size=4))
@settings(max_examples=20)
def test_spans_are_means_of_the_tokens_that_hold_their_characters(
    spans: list[tuple[int, int]],
) -> None:
    check_spans(TEXT, spans)


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 1)],  # of several tokens, and the first: no surprisal
        [(1, 2)],
        [(0, len(TEXT))],
        [(len(TEXT) - 1, len(TEXT))],
        [(3, 6), (3, 6)],
        [(0, 9), (4, 20), (8, 9)],
        [(17, 24), (2, 3)],
    ],
)
def test_spans_at_the_edges(spans: list[tuple[int, int]]) -> None:
    check_spans(TEXT, spans)


@given(ranges(TEXT))
@settings(max_examples=15)
def test_the_token_of_a_span_is_its_last(span: tuple[int, int]) -> None:
    found = run(MODEL, TOKEN, [TEXT], where=[list(span)])
    last = run(MODEL, TOKEN, [TEXT], where=[inside(TEXT, *span)[-1]])
    same(found, last)


def test_a_tokens_number_counts_from_either_end() -> None:
    for feature in TOKEN.features(TINY):
        values, n = tokens_of(MODEL, feature, TOKEN, TEXT)
        numbers = [0, 1, n - 1, -1, -n]
        found = run(MODEL, TOKEN, [TEXT] * 5, where=numbers)
        for row, has, number in zip(
            found.features[feature.name], found.filled[feature.name], numbers, strict=True
        ):
            assert has == (number % n in values)
            if has:
                close(row, values[number % n])


def test_a_token_of_words_of_several_tokens() -> None:
    start = TEXT.index("theatre")
    tokens = inside(TEXT, start, start + len("theatre"))
    assert len(tokens) > 3
    whole = run(MODEL, TOKEN, [TEXT], where=[[start, start + len("theatre")]])
    same(whole, run(MODEL, TOKEN, [TEXT], where=[tokens[-1]]))


def test_one_span_alone_is_one_of_several() -> None:
    same(run(MODEL, SPANS, [TEXT], where=[[4, 9]]), run(MODEL, SPANS, [TEXT], where=[[[4, 9]]]))


def test_no_spans_give_no_rows() -> None:
    found = run(MODEL, SPANS, [TEXT, "a"], where=[[], []])
    assert not found.encoded.problems
    assert all(len(values) == 0 for values in found.features.values())
    mixed = run(MODEL, SPANS, [TEXT, TEXT, "a"], where=[[], [[4, 9], [0, 3]], []])
    same(mixed, run(MODEL, SPANS, [TEXT], where=[[[4, 9], [0, 3]]]))


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("3", 3),
        (" -2 ", -2),
        ("[2, 9]", [2, 9]),
        ("[2,9]", (2, 9)),
        (np.int64(3), 3),
        (3.0, 3),  # a column of whole numbers in which some are missing
        ("3.0", 3),
        ([2.0, 9.0], [2, 9]),
        (np.array([2, 9]), [2, 9]),
    ],
)
def test_places_however_they_are_written(said: Any, means: Any) -> None:
    same(run(MODEL, TOKEN, [TEXT], where=[said]), run(MODEL, TOKEN, [TEXT], where=[means]))


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("[[2, 9], [0, 1]]", [[2, 9], [0, 1]]),
        ("[2, 9]", [[2, 9]]),
        (np.array([[2, 9], [0, 1]]), [(2, 9), (0, 1)]),
        ([2.0, 9.0], [[2, 9]]),
    ],
)
def test_spans_however_they_are_written(said: Any, means: Any) -> None:
    same(run(MODEL, SPANS, [TEXT], where=[said]), run(MODEL, SPANS, [TEXT], where=[means]))


EXPECTED = "expected a token's number or a span of characters [start, stop)"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (3, "at=3: the text has tokens 0 to 2"),
        (-4, "at=-4: the text has tokens 0 to 2"),
        (10**30, f"at={10**30}: the text has tokens 0 to 2"),
        (None, f"at=None: {EXPECTED}"),
        (True, f"at=True: {EXPECTED}"),
        (1.5, f"at=1.5: {EXPECTED}"),
        (float("nan"), f"at=nan: {EXPECTED}"),
        (float("inf"), f"at=inf: {EXPECTED}"),
        ("", f"at='': {EXPECTED}"),
        ("the", f"at='the': {EXPECTED}"),
        ("[1, 2", f"at='[1, 2': {EXPECTED}"),
        ("null", f"at=None: {EXPECTED}"),
        ("[" * 100_000, f"at='{'[' * 56}...: {EXPECTED}"),
        ([1], f"at=[1]: {EXPECTED}"),
        ([1, 2, 3], f"at=[1, 2, 3]: {EXPECTED}"),
        ([2, 2], f"at=[2, 2]: {EXPECTED}"),
        ([3, 1], f"at=[3, 1]: {EXPECTED}"),
        ([-2, 1], f"at=[-2, 1]: {EXPECTED}"),
        ([[0, 1], [1, 2]], f"at=[[0, 1], [1, 2]]: {EXPECTED}"),
        ({"start": 0, "stop": 1}, f"at={{'start': 0, 'stop': 1}}: {EXPECTED}"),
        ([4, 9], "at=[4, 9]: no token stands there; those that are read end at character 3"),
    ],
)
def test_a_place_that_does_not_exist_is_a_problem_of_its_row(said: Any, reason: str) -> None:
    found = run(MODEL, TOKEN, [TEXT, "abc", TEXT], where=[2, said, [1, 4]])
    assert found.encoded.problems == {1: reason}
    same(found, run(MODEL, TOKEN, [TEXT, TEXT], where=[2, [1, 4]]), [0, 2])


@pytest.mark.parametrize("said", [5, [[0, 1], [9, 12]], [[0, 1], [1]], "x", [[1, 0]]])
def test_one_bad_span_of_several_is_a_problem(said: Any) -> None:
    found = run(MODEL, SPANS, ["abc", TEXT], where=[said, [[0, 3], [2, 9]]])
    assert list(found.encoded.problems) == [0]
    same(found, run(MODEL, SPANS, [TEXT], where=[[[0, 3], [2, 9]]]))


def test_token_and_spans_together_take_one_span() -> None:
    found = run(MODEL, BOTH, [TEXT, "abc"], where=[[4, 9], [0, 2]])
    for site in ("resid_post_1", "hidden"):
        last, mean = (found.features[f"{site}_{pool}"] for pool in ("token", "spans"))
        assert last.shape == mean.shape
    same(run(MODEL, BOTH, ["abc"], where=[[0, 2]]), run(MODEL, BOTH, ["abc"], where=["[0, 2]"]))


@pytest.mark.parametrize("said", [7, -8, [30, 33], [6, 9]])
def test_a_place_that_was_cut_off_says_so(said: Any) -> None:
    spec = FeatureSpec(layers=1, pool="token", positions="at", max_length=7)
    found = run(MODEL, spec, ["abcdefghij", "x"], where=[said, 0])
    assert list(found.encoded.problems) == [0]
    assert found.encoded.problems[0].endswith("(3 tokens were cut off)")
    assert not found.encoded.cut


def test_a_span_across_the_cut_is_no_mean_of_what_is_left() -> None:
    spec = FeatureSpec(layers=1, pool="spans", positions="at", max_length=7)
    found = run(MODEL, spec, ["abcdefghij"] * 2, where=[[[0, 2], [5, 8]], [[0, 2], [5, 7]]])
    assert found.encoded.problems == {
        0: "at=[[0, 2], [5, 8]]: what is read ends before it does, at character 7 (3 tokens were "
        "cut off)"
    }


def test_a_place_before_the_cut_is_read() -> None:
    spec = FeatureSpec(layers=1, pool="token", positions="at", max_length=7)
    found = run(MODEL, spec, ["abcdefghij"] * 3, where=[6, -1, [6, 7]])
    assert not found.encoded.problems
    assert found.encoded.cut == {0: 3, 1: 3, 2: 3}
    rows = found.features["resid_post_1_token"]
    close(rows[1:], [rows[0], rows[0]])


def test_numbers_do_not_count_the_token_before_the_text() -> None:
    spec = FeatureSpec(SITES, layers=1, pool="token", positions="at", prepend_bos=True)
    for feature in spec.features(TINY):
        values, n = tokens_of(MODEL, feature, spec, "the film")
        found = run(MODEL, spec, ["the film"] * 4, where=[0, -1, [0, 3], [4, 8]])
        rows = [values[1], values[n - 1], values[1], values[n - 1]]
        close(found.features[feature.name], rows)
    found = run(MODEL, spec, ["the film"] * 2, where=[n - 1, -n])
    assert len(found.encoded.problems) == 2


def test_places_are_found_in_windows() -> None:
    spec = FeatureSpec(
        SITES,
        layers=1,
        pool=["token", "spans"],
        positions="at",
        truncation="stride",
        max_length=6,
        overlap=2,
    )
    n = len(ids_of(TEXT, spec))
    assert len({window_of(t, n, 6, 2) for t in range(n)}) > 5
    spans = [(i, j) for i in range(0, len(TEXT), 3) for j in range(i + 1, len(TEXT) + 1, 5)]
    found = run(MODEL, spec, [TEXT] * len(spans), where=[list(s) for s in spans], batch_tokens=50)
    for feature in spec.features(TINY):
        values, _ = tokens_of(MODEL, feature, spec, TEXT)
        for i, span in enumerate(spans):
            tokens = [t for t in inside(TEXT, *span) if t in values]
            tokens = tokens if feature.pool == "spans" else tokens[-1:]
            if not found.filled[feature.name][i]:
                assert feature.defined == "not_first" and not tokens
                continue
            close(found.features[feature.name][i], np.mean([values[t] for t in tokens], axis=0))
