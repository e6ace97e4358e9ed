"""The random tokens that heads are measured on, and position against content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.analysis import HeadScores, heads
from neoscope.analysis.head.words import known_words, plan, squares
from neoscope.errors import AnalysisError
from neoscope.organism.compiled import INDUCTION_TRUTH
from neoscope.unseen import unseen_ids
from tests.neoscope.analysis.head_runs import QUIET, TEXTS, config, random_model, score


def test_tokens_are_drawn_without_replacement_from_known_words() -> None:
    model = ns.load("organism")
    words = known_words(model)
    tokenizer = model.tokenizer
    assert tokenizer is not None
    assert not set(words.tolist()) & set(tokenizer.all_special_ids)
    assert not any(i in span for span in unseen_ids(tokenizer) for i in words.tolist())
    assert len(words) > 400
    repeats = plan(model.config, len(words), gap=None, length=None, bos=True)
    assert [one.gap for one in repeats] == [16, 36]
    for one in repeats:
        drawn = one.draw(words, 5, 0, seed=3)
        assert drawn.shape == (5, 1 + one.gap + one.length)
        assert (drawn[:, 0] == 0).all()
        assert all(len(set(row.tolist())) == one.gap for row in drawn[:, 1 : 1 + one.gap])
        assert torch.equal(drawn[:, 1 : 1 + one.length], drawn[:, 1 + one.gap :])
        assert torch.equal(drawn, one.draw(words, 5, 0, seed=3))
        assert not torch.equal(drawn, one.draw(words, 5, 0, seed=4))


def test_rows_beyond_the_tokenizer_are_no_words() -> None:
    assert known_words(random_model(pad_token_id=7)).tolist() == [
        i for i in range(40) if i not in (0, 7)
    ]


def test_a_square_has_every_token_once_in_every_row_and_column() -> None:
    for square in squares(torch.arange(10, 40), 3, 6, seed=0):
        words = set(square[0].tolist())
        assert len(words) == 6
        assert all(set(row.tolist()) == words for row in [*square, *square.T])


def test_gaps_by_default_are_one_inside_and_one_beyond() -> None:
    for window, n_ctx, expected in ((256, 2048, [50, 288]), (32, 40, [16, 36]), (32, 33, [16])):
        shape = config(window_size=window, n_ctx=n_ctx)
        found = [one.gap for one in plan(shape, 1000, gap=None, length=None, bos=True)]
        assert found == expected
        assert found[0] < window
    globals_only = config(attention_layers=("global", "global"))
    assert [r.gap for r in plan(globals_only, 99, gap=None, length=None, bos=False)] == [16]


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("n_ctx", [4, 32])
def test_gaps_of_narrow_windows_leave_induction_a_key(window: int, n_ctx: int) -> None:
    found = heads(random_model(window_size=window, n_ctx=n_ctx), **QUIET)
    assert min(found.gaps) == 2
    seen = "induction" if window > 1 else "induction_beyond"
    assert not np.isnan(score(found, seen)[0]).any()
    assert np.isnan(score(found, "induction_beyond")[1]).all()


def test_a_context_too_short_for_a_score_leaves_it_out() -> None:
    found = heads(random_model(n_ctx=2), **QUIET)
    assert "position_share" not in found.names
    assert {"entropy", "copying"} <= set(found.names)
    with pytest.raises(AnalysisError, match="position_share needs two tokens"):
        heads(random_model(n_ctx=2), scores="position_share", **QUIET)


def test_attention_to_itself_is_no_induction() -> None:
    model = random_model()
    for text in ([5, 5], [7, 5, 5, 5]):
        _, cache = model.run_with_cache([text], sites="pattern")
        a = heads(model, texts=[text], scores="induction", **QUIET)
        b = heads(cache, scores="induction", **QUIET)
        pattern = np.stack([cache["pattern", layer][0].numpy() for layer in range(2)])
        # Of four, the last query has one key before it which came after its token.
        expected = pattern[:, :, 3, 2] if len(text) == 4 else np.full((2, 4), np.nan)
        for one in (a, b):
            np.testing.assert_allclose(score(one, "induction"), expected, atol=1e-6)
    with pytest.raises(AnalysisError, match=r"gap=1: what came after .* at least 2"):
        heads(model, gap=1, scores=["induction", "entropy"], **QUIET)
    assert heads(model, gap=1, **QUIET).words("induction")[0] == ("-",) * 4


def test_length_says_how_many_tokens_come_again() -> None:
    found = heads(random_model(), gap=[3, 9], length=2, n=5, scores="duplicate_token", **QUIET)
    assert found.gaps == (3, 9)
    assert found.lengths == (2, 2)
    assert found.n_texts == 10
    assert found.n_tokens == 5 * (1 + 3 + 2) + 5 * (1 + 9 + 2)
    assert found.n.max() == 10  # of the gap inside the window


def test_the_policy_for_the_first_token_is_recorded() -> None:
    model = random_model()
    assert heads(model, scores="entropy", **QUIET).prepend_bos is True
    assert heads(model, scores="entropy", prepend_bos=False, **QUIET).prepend_bos is False
    assert heads(model, scores="entropy", texts=TEXTS[:1], **QUIET).prepend_bos is False
    with_bos = heads(model, scores="entropy", texts=[[1, 2, 3]], prepend_bos=True, **QUIET)
    plain_ids = heads(model, scores="entropy", texts=[[0, 1, 2, 3]], **QUIET)
    assert np.array_equal(with_bos.score, plain_ids.score)
    without = random_model(bos_token_id=None)
    assert heads(without, scores="entropy", **QUIET).prepend_bos is False


def test_position_shares_of_compiled_heads_are_1_and_0() -> None:
    found = heads(ns.load("induction"), scores=["position_share", "content_share"], **QUIET)
    position, content = score(found, "position_share"), score(found, "content_share")
    assert position[INDUCTION_TRUTH.previous_token] == pytest.approx(1, abs=1e-12)
    assert position[INDUCTION_TRUTH.induction] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(content, 1 - position)
    assert all(np.isnan(position[head]) for head in INDUCTION_TRUTH.dead)


def test_position_shares_lie_between_0_and_1(measured: HeadScores) -> None:
    shares = score(measured, "position_share")
    assert ((shares > 0) & (shares < 1)).all()
    stderr = measured.stderr[measured.names.index("position_share")]
    assert (stderr < 0.1).all()


def test_a_text_longer_than_the_context_is_measured_in_pieces() -> None:
    model = random_model(n_ctx=8)
    long = [torch.randperm(40)[:20].tolist()]
    found = heads(model, texts=long, scores=["entropy"], **QUIET)
    assert (found.n_cut, found.n_texts, found.n_tokens) == (1, 3, 20)
    pieces = [long[0][:7], long[0][7:14], long[0][14:]]
    sums = [heads(model, texts=[p], scores=["entropy"], **QUIET) for p in pieces]
    mean = sum(s.score * s.n for s in sums) / sum(s.n for s in sums)
    np.testing.assert_allclose(found.score, mean, atol=1e-6)


def test_texts_of_one_token_are_counted_apart() -> None:
    model = ns.load("induction")
    found = heads(model, texts=["apple", "apple river apple"], scores="entropy", **QUIET)
    assert (found.n_short, found.n_texts) == (1, 1)


def test_a_text_of_one_token_after_the_first_token_is_measured() -> None:
    model = ns.load("induction")
    options: dict[str, Any] = {"scores": ["entropy", "first_token"], **QUIET}
    one = heads(model, texts=["apple"], prepend_bos=True, **options)
    assert (one.n_short, one.n_texts, one.n_tokens) == (0, 1, 2)
    same = heads(model, texts=["<|endoftext|> apple"], **options)
    assert np.array_equal(one.score, same.score)
    both = heads(model, texts=["apple", "apple river"], prepend_bos=True, **options)
    assert (both.n_texts, both.n_tokens) == (2, 5)
    with pytest.raises(AnalysisError, match="no query has a choice"):
        heads(random_model(n_ctx=1, bos_token_id=0), texts=[[3]], prepend_bos=True, **QUIET)


def test_the_in_context_score_is_the_difference_of_two_losses() -> None:
    model = random_model(n_ctx=520)
    ids = torch.randint(1, 40, (3, 510), generator=torch.Generator().manual_seed(0))
    found = heads(model, texts=ids, scores="entropy", **QUIET)
    losses = model(ids, return_type="loss", loss_per_token=True).detach()
    expected = losses[:, 499] - losses[:, 49]  # of the tokens at positions 500 and 50
    assert found.in_context == pytest.approx(float(expected.mean()), abs=1e-5)
    assert found.in_context_stderr == pytest.approx(float(expected.std() / 3**0.5), abs=1e-5)
    assert found.in_context_n == 3
    assert "500" in found.heading()
    assert heads(model, texts=ids[:, :500], scores="entropy", **QUIET).in_context is None
