"""Head scores of compiled models and of even attention are what the algebra says."""

from __future__ import annotations

import numpy as np
import pytest

import neoscope as ns
from neoscope.analysis import HeadScores, heads
from neoscope.organism.compiled import DUPLICATE_TRUTH, INDUCTION_TRUTH, SHORT_WINDOW_TRUTH
from tests.neoscope.analysis.head_runs import OF_PATTERN, QUIET, at, even_model, random_model, score


def test_compiled_induction_scores_are_the_truths() -> None:
    truth = INDUCTION_TRUTH
    found = heads(ns.load("induction"), **QUIET)
    assert found.gaps == (truth.period,)
    assert at(found, "previous_token", truth.previous_token) == truth.previous_token_score == 1
    assert at(found, "induction", truth.induction) == truth.induction_score == 1
    n = 1 + 2 * truth.period
    i = np.arange(1, n)
    # The previous-token head: all to the word before.
    assert at(found, "entropy", truth.previous_token) == 0
    assert at(found, "mean_distance", truth.previous_token) == 1
    assert at(found, "duplicate_token", truth.previous_token) == 0
    assert at(found, "first_token", truth.previous_token) == pytest.approx(1 / (n - 1), abs=1e-12)
    # The induction head: evenly in the first copy, in the second to the key.
    first = 1 / (i[: truth.period] + 1)
    assert at(found, "previous_token", truth.induction) == pytest.approx(first.sum() / (n - 1))
    assert at(found, "duplicate_token", truth.induction) == 0
    distance = (i[: truth.period] / 2).sum() + truth.period * (truth.period - 1)
    assert at(found, "mean_distance", truth.induction) == pytest.approx(distance / (n - 1))
    for head in truth.dead:
        assert at(found, "previous_token", head) == pytest.approx((1 / (i + 1)).mean(), abs=1e-7)
        second = (1 / (i[truth.period :] + 1)).mean()
        assert at(found, "induction", head) == pytest.approx(second, abs=1e-7)
        assert at(found, "duplicate_token", head) == pytest.approx(second, abs=1e-7)


def test_compiled_duplicate_scores_are_the_truths() -> None:
    truth = DUPLICATE_TRUTH
    found = heads(ns.load("duplicate-token"), **QUIET)
    (gap,) = found.gaps
    assert at(found, "duplicate_token", truth.duplicate) == truth.duplicate_score == 1
    # Words of the first copy look at the first position; one of them stands right after it.
    assert at(found, "first_token", truth.duplicate) == 0.5
    assert at(found, "previous_token", truth.duplicate) == pytest.approx(1 / (2 * gap), abs=1e-12)
    assert at(found, "induction", truth.duplicate) == 0


def test_short_window_finds_inside_and_cannot_beyond(short_scores: HeadScores) -> None:
    truth = SHORT_WINDOW_TRUTH
    inside, beyond = short_scores.gaps
    assert inside < truth.window < beyond
    assert at(short_scores, "induction", truth.induction) == 1
    assert at(short_scores, "previous_token", truth.previous_token) == truth.previous_token_score
    for name in ("induction_beyond", "duplicate_token_beyond"):
        which = short_scores.names.index(name)
        assert short_scores.possible[which].tolist() == [[True] * 4, [False] * 4]
        assert np.isnan(short_scores.score[which, 1]).all()
        assert not np.isnan(short_scores.score[which, 0]).any()
        assert short_scores.words(name)[1] == ("cannot",) * 4


def test_what_cannot_be_is_said_and_never_0(short_scores: HeadScores) -> None:
    top = short_scores.top("induction_beyond", None)
    assert top["possible"].tolist() == [True] * 4 + [False] * 4
    assert top["score"][4:].isna().all()
    row = short_scores.top("induction", 1).iloc[0]
    assert (row["layer"], row["head"], row["beyond_window"]) == (1, 0, "cannot")
    assert "4 of 8" in str(short_scores)


def test_local_head_has_no_mass_outside_the_band() -> None:
    truth = SHORT_WINDOW_TRUTH
    found = heads(ns.load("induction-short-window"), gap=truth.distance + 1, **QUIET)
    # It finds nothing and looks evenly at the keys of its window.
    n = found.n_tokens // found.n_texts
    seen = np.minimum(np.arange(1, n) + 1, truth.window)
    assert at(found, "mean_distance", truth.induction) == pytest.approx(((seen - 1) / 2).mean())
    assert at(found, "previous_token", truth.induction) == pytest.approx((1 / seen).mean())
    assert np.isnan(at(found, "induction_beyond", truth.induction))
    # Nothing comes again inside the window.
    assert found.n[found.names.index("induction")].max() == 0
    assert found.words("induction")[1][0] == "-"


@pytest.mark.parametrize("window", [2, 4, 32])
def test_even_attention_has_closed_forms(window: int) -> None:
    model = even_model(window_size=window, attention_layers=("global", "local"))
    found = heads(model, gap=6, scores=OF_PATTERN, **QUIET)
    n = found.n_tokens // found.n_texts
    assert n == 13
    i = np.arange(1, n)
    for layer, reach in ((0, n), (1, window)):
        seen = np.minimum(i + 1, reach)
        expected = {
            "previous_token": (1 / seen).mean(),
            "first_token": (1 / seen)[i < reach].mean(),
            "entropy": np.log(seen).mean(),
            "relative_entropy": 1.0,
            "mean_distance": ((seen - 1) / 2).mean(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(score(found, name)[layer], value, atol=1e-6, err_msg=name)
    assert (found.stderr[found.names.index("entropy")] < 1e-8).all()


def test_a_window_of_one_key_cannot_look_back() -> None:
    model = random_model(window_size=1)
    found = heads(model, gap=6, scores=OF_PATTERN, **QUIET)
    names = ("previous_token", "duplicate_token", "first_token", "induction", "relative_entropy")
    for name in names:
        assert found.words(name)[1] == ("cannot",) * 4, name
    assert np.array_equal(score(found, "entropy")[1], np.zeros(4))
