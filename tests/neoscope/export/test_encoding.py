"""Texts become ids and windows; what is wrong with a text is its own problem."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from neoscope.errors import ArgumentError, TokenizationError
from neoscope.export.encoding import Encoded, encode
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.oracle import OUTSIDE, TEXTS, ids_of, tokenizer

SPEC = FeatureSpec()


def encoded(texts: list[Any], spec: FeatureSpec = SPEC, **options: Any) -> Encoded:
    options = {"n_ctx": 48, "d_vocab": 270, **options}
    return encode(tokenizer(), texts, spec, **options)


def row(found: Encoded, text: int) -> list[int]:
    ids: list[int] = found.ids[found.first[text] : found.first[text + 1]].tolist()
    return ids


def test_ids_are_the_tokenizers() -> None:
    found = encoded(TEXTS)
    assert [row(found, i) for i in range(len(TEXTS))] == [ids_of(text, SPEC) for text in TEXTS]
    assert found.n_texts == len(TEXTS)
    assert not found.problems
    assert not found.cut
    assert found.offsets is None
    assert found.places is None


def test_text_and_position_of_every_token() -> None:
    found = encoded(["abc", "", "de"])
    assert found.lengths.tolist() == [3, 0, 2]
    assert found.text.tolist() == [0, 0, 0, 2, 2]
    assert found.position.tolist() == [0, 1, 2, 0, 1]
    assert found.windows.tolist() == [[0, 0, 3, 0], [2, 0, 2, 0]]


def test_special_words_in_a_text_are_read_as_they_stand() -> None:
    # Nothing is added unasked; what the tokenizer reads as its own special token stays one.
    assert row(encoded(["a<eos>"]), 0) == ids_of("a<eos>", SPEC)


def test_the_token_before_each_text_counts_towards_its_length() -> None:
    spec = FeatureSpec(prepend_bos=True, max_length=3)
    found = encoded(["abc", "ab", "", "a"], spec)
    assert [row(found, i) for i in range(4)] == [
        ids_of(t, spec)[:3] for t in ("abc", "ab", "", "a")
    ]
    assert found.cut == {0: 1}
    assert not found.problems


def test_long_texts_are_cut_on_the_right_and_counted() -> None:
    found = encoded(["a" * 50, "a" * 48, "b" * 60])
    assert found.cut == {0: 2, 2: 12}
    assert found.lengths.tolist() == [48, 48, 48]
    assert encoded(["abcd"], FeatureSpec(max_length=2)).cut == {0: 2}


def test_long_texts_are_problems_if_they_should_be_errors() -> None:
    found = encoded(["a" * 50, "a" * 48], FeatureSpec(truncation="error"))
    assert found.problems == {
        0: "the text has 50 tokens, more than 48; truncation='truncate' cuts it, 'stride' reads it "
        "in windows"
    }
    assert found.lengths.tolist() == [0, 48]
    assert not found.cut


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (FeatureSpec(max_length=49), "max_length=49 is beyond the model's context, 48"),
        (FeatureSpec(truncation="stride", overlap=48), "overlap=48 must be less than a window, 48"),
        (FeatureSpec(truncation="stride", max_length=1), "needs windows of at least two tokens"),
    ],
)
def test_lengths_that_do_not_fit_the_model_are_refused(spec: FeatureSpec, said: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(said)):
        encoded(["a"], spec)


def test_every_problem_has_its_reason_and_no_tokens() -> None:
    texts = [None, "", "a", OUTSIDE, "\0", None]
    found = encoded(texts, problems={5: "line 6 is not valid JSON"})
    assert found.problems == {
        0: "the text is null",
        1: "the text is empty: it gives no tokens",
        3: "token id 270 is outside the model's vocabulary of 270",
        5: "line 6 is not valid JSON",
    }
    assert found.lengths.tolist() == [0, 0, 1, 0, 1, 0]
    assert found.windows[:, 0].tolist() == [2, 4]


def test_a_text_that_is_known_to_be_bad_is_not_read() -> None:
    found = encoded(["fine", "fine"], problems={0: "the id is null"})
    assert found.problems == {0: "the id is null"}
    assert found.lengths.tolist()[0] == 0


def test_a_text_with_a_problem_was_not_cut() -> None:
    found = encoded(["a" * 50, "a" * 50], FeatureSpec(positions=-48), problems={0: "bad"})
    assert found.cut == {1: 2}
    spec = FeatureSpec(pool="token", positions="at")
    found = encoded(["a" * 50, "a" * 50], spec, where=[49, 47])
    assert found.cut == {1: 2}
    assert found.offsets is not None
    assert [len(spans) for spans in found.offsets] == [0, 48]


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (2, "position 2 does not exist: the text has 2 tokens"),
        ([0, -3], "position -3 does not exist: the text has 2 tokens"),
        (slice(2, None), "slice(2, None, None) selects no token: the text has 2 tokens"),
    ],
)
def test_positions_that_a_text_lacks_are_its_problem(positions: Any, reason: str) -> None:
    found = encoded(["ab", "abcd"], FeatureSpec(positions=positions))
    assert found.problems == {0: reason}


def test_offsets_are_kept_where_rows_are_tokens() -> None:
    found = encoded(["é a", ""], FeatureSpec(pool="none", prepend_bos=True, max_length=4))
    assert found.offsets == [[(0, 0), (0, 1), (0, 1), (1, 3)], [(0, 0)]]


def test_all_bad_texts_make_nothing() -> None:
    for texts in ([], [None], ["", OUTSIDE]):
        found = encoded(texts)
        assert found.first.tolist() == [0] * (len(texts) + 1)
        assert found.ids.dtype == np.int64
        assert found.windows.shape == (0, 4)
        assert len(found.text) == len(found.position) == 0


def test_a_tokenizer_without_a_beginning_of_text_is_refused() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer)
    with pytest.raises(TokenizationError, match="prepend_bos=True, but the tokenizer has no such"):
        encode(bare, ["a"], FeatureSpec(prepend_bos=True), n_ctx=8, d_vocab=270)


def test_slow_tokenizers_give_features_but_no_places() -> None:
    slow = ByT5Tokenizer()
    assert not slow.is_fast
    found = encode(slow, ["ab"], SPEC, n_ctx=8, d_vocab=300)
    assert found.lengths.tolist() == [2]
    for spec, where in [
        (FeatureSpec(pool="none"), None),
        (FeatureSpec(pool="token", positions="at"), [0]),
    ]:
        with pytest.raises(TokenizationError, match="only fast tokenizers give"):
            encode(slow, ["ab"], spec, n_ctx=8, d_vocab=300, where=where)
