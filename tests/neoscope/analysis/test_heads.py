"""Head scores: exact where a model is compiled or its attention known, else against plain loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformer_lens.head_detector import detect_head, get_induction_head_detection_pattern

import neoscope as ns
from neoscope.analysis import HEAD_SCORES, HeadScores, heads, load
from neoscope.analysis.head_moments import Moments
from neoscope.analysis.head_words import known_words, plan, squares
from neoscope.edits import ablate
from neoscope.errors import AnalysisError, TokenizationError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import DUPLICATE_TRUTH, INDUCTION_TRUTH, SHORT_WINDOW_TRUTH
from neoscope.unseen import unseen_ids

OF_PATTERN = [name for name, kind in HEAD_SCORES.items() if kind.of_pattern]
QUIET: dict[str, Any] = {"progress": False}


def config(**changes: Any) -> ns.NeoConfig:
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 4, "n_ctx": 32, "d_vocab": 40}
    shape |= {"window_size": 4, "bos_token_id": 0, "eos_token_id": 0, "init_range": 0.4}
    return ns.NeoConfig(**(shape | changes))


def random_model(**changes: Any) -> HookedGPTNeo:
    return HookedGPTNeo.from_config(config(**changes), seed=1)


def even_model(**changes: Any) -> HookedGPTNeo:
    """Queries of zero: every head attends evenly to all it sees."""
    model = random_model(**changes)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_Q.zero_()
    return model


def score(found: HeadScores, name: str) -> np.ndarray:
    return found.score[found.names.index(name)]


def at(found: HeadScores, name: str, head: tuple[int, int]) -> float:
    return float(score(found, name)[head])


@pytest.fixture(scope="module")
def organism() -> HeadScores:
    return heads(ns.load("organism"), **QUIET)


@pytest.fixture(scope="module")
def short() -> HeadScores:
    return heads(ns.load("induction-short-window"), **QUIET)


# ---- compiled models: exact --------------------------------------------------------------------


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


def test_short_window_finds_inside_and_cannot_beyond(short: HeadScores) -> None:
    truth = SHORT_WINDOW_TRUTH
    inside, beyond = short.gaps
    assert inside < truth.window < beyond
    assert at(short, "induction", truth.induction) == 1
    assert at(short, "previous_token", truth.previous_token) == truth.previous_token_score
    for name in ("induction_beyond", "duplicate_token_beyond"):
        which = short.names.index(name)
        assert short.possible[which].tolist() == [[True] * 4, [False] * 4]
        assert np.isnan(short.score[which, 1]).all()
        assert not np.isnan(short.score[which, 0]).any()
        assert short.words(name)[1] == ("cannot",) * 4


def test_what_cannot_be_is_said_and_never_0(short: HeadScores) -> None:
    top = short.top("induction_beyond", None)
    assert top["possible"].tolist() == [True] * 4 + [False] * 4
    assert top["score"][4:].isna().all()
    row = short.top("induction", 1).iloc[0]
    assert (row["layer"], row["head"], row["beyond_window"]) == (1, 0, "cannot")
    assert "4 of 8" in str(short)


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


# ---- closed forms ------------------------------------------------------------------------------


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


# ---- against plain loops -----------------------------------------------------------------------


def plain(model: HookedGPTNeo, texts: list[list[int]]) -> dict[str, np.ndarray]:
    """Sums and counts of every score by text, layer and head, a query at a time."""
    c = model.config
    near = c.window_size if "local" in c.kinds else c.n_ctx
    shape = (len(texts), c.n_layers, c.n_heads)
    sums = {name: np.zeros(shape) for name in OF_PATTERN}
    counts = {name: np.zeros(shape) for name in OF_PATTERN}
    for t, text in enumerate(texts):
        _, cache = model.run_with_cache([text], sites="pattern")
        for layer in range(c.n_layers):
            pattern = cache["pattern", layer][0].double().numpy()
            window = c.window(layer) or c.n_ctx
            for i in range(1, len(text)):
                equal = [j for j in range(i) if text[j] == text[i]]
                after = [j + 1 for j in equal]
                keys = {
                    "previous_token": [i - 1],
                    "first_token": [0],
                    "duplicate_token": [j for j in equal if i - j < near],
                    "duplicate_token_beyond": [j for j in equal if i - j >= near],
                    "induction": [j for j in after if 0 < i - j < near],
                    "induction_beyond": [j for j in after if i - j >= near],
                }
                for name, found in keys.items():
                    seen = [j for j in found if i - j < window]
                    sums[name][t, layer] += pattern[:, i, seen].sum(-1)
                    counts[name][t, layer] += bool(seen)
                row = pattern[:, i]
                entropy = -(row * np.log(np.where(row > 0, row, 1))).sum(-1)
                rows = {
                    "entropy": entropy,
                    "relative_entropy": entropy / np.log(min(i + 1, window)),
                    "mean_distance": row @ (i - np.arange(len(text))),
                }
                for name, value in rows.items():
                    sums[name][t, layer] += value
                    counts[name][t, layer] += 1
    out = {}
    for name in OF_PATTERN:
        with np.errstate(invalid="ignore"):
            out[name] = sums[name].sum(0) / counts[name].sum(0)
            left = sums[name] - out[name] * counts[name]
            n = (counts[name] > 0).sum(0)
            out[f"{name} stderr"] = np.sqrt(
                np.where(n > 1, n, np.nan) / (n - 1.0) * (left**2).sum(0)
            ) / counts[name].sum(0)
    return out


TEXTS = [
    [5, 6, 7, 5, 6, 8, 8, 5, 9, 6],
    [3, 4],
    [1, 2, 3, 1, 2, 3, 1],
    [9, 8, 7, 6, 5, 4, 3, 9, 8, 7, 9],
]


def padded(side: str) -> ns.Tokens:
    longest = max(map(len, TEXTS))
    ids, mask = torch.zeros(len(TEXTS), longest, dtype=torch.long), torch.zeros(len(TEXTS), longest)
    for i, text in enumerate(TEXTS):
        place = slice(0, len(text)) if side == "right" else slice(longest - len(text), longest)
        ids[i, place], mask[i, place] = torch.tensor(text), 1
    return ns.Tokens(ids=ids, mask=mask.bool())


@pytest.mark.parametrize("kinds", [None, ("global", "global")])
@pytest.mark.parametrize("batch_tokens", [1, 25, 4096])
def test_scores_and_errors_are_those_of_plain_loops(kinds: Any, batch_tokens: int) -> None:
    model = random_model(attention_layers=kinds)
    expected = plain(model, TEXTS)
    found = heads(model, texts=padded("right"), batch_tokens=batch_tokens, **QUIET)
    for name in found.names:
        if name in OF_PATTERN:
            np.testing.assert_allclose(score(found, name), expected[name], atol=1e-5, err_msg=name)
            np.testing.assert_allclose(
                found.stderr[found.names.index(name)], expected[f"{name} stderr"], atol=1e-5
            )
    assert ("induction_beyond" in found.names) == (kinds is None)


def test_padding_batches_and_caches_agree(tmp_path: Path) -> None:
    model = random_model()
    first = heads(model, texts=padded("right"), scores=OF_PATTERN, **QUIET)
    others = [heads(model, texts=padded("left"), scores=OF_PATTERN, **QUIET)]
    for side in ("left", "right"):
        tokens = padded(side)
        _, cache = model.run_with_cache(tokens, sites="pattern")
        others.append(heads(cache))
        cache.save(tmp_path / f"{side}.safetensors")
        others.append(heads(ns.ActivationCache.load(tmp_path / f"{side}.safetensors")))
    for other in others:
        np.testing.assert_allclose(other.score, first.score, atol=1e-6)
        assert np.array_equal(other.n, first.n)
        assert np.array_equal(other.possible, first.possible)


def test_a_cache_without_its_batch_axis_will_do() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern", "v"])
    for weighted in ("attention", "norm"):
        whole = heads(cache, weighted=weighted)
        bare = heads(cache.remove_batch_dim(), weighted=weighted)
        assert np.array_equal(whole.score, bare.score, equal_nan=True)
    # One text says nothing of the spread.
    assert np.isnan(whole.stderr).all()
    assert np.isnan(whole.lead_stderr).all()


def test_half_precision_is_near() -> None:
    full = heads(random_model(), texts=TEXTS[:1], scores=OF_PATTERN, **QUIET)
    half = heads(random_model().to(torch.bfloat16), texts=TEXTS[:1], scores=OF_PATTERN, **QUIET)
    np.testing.assert_allclose(half.score, full.score, atol=0.1)
    _, cache = random_model().to(torch.bfloat16).run_with_cache([TEXTS[0]], sites="pattern")
    np.testing.assert_allclose(heads(cache).score, half.score, atol=1e-6)


def test_scores_of_some_cached_layers() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites="pattern", layers=1)
    found = heads(cache)
    assert found.layers == (1,)
    assert found.windows == (4,)
    assert set(found.top("entropy", None)["layer"]) == {1}


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("previous_token", "previous_token_head"),
        ("duplicate_token", "duplicate_token_head"),
        ("induction", "induction_head"),
    ],
)
def test_transformer_lens_finds_the_same(name: str, theirs: Any) -> None:
    model = ns.load("induction")
    words = INDUCTION_TRUTH.words[1:]
    text = " ".join(words[i] for i in (0, 1, 2, 0, 1, 3, 3, 0, 4, 2, 1))
    found = heads(model, texts=[text], scores=name, **QUIET)
    if name == "induction":
        # It takes a token's attention to itself for induction where the one before is the same.
        pattern = get_induction_head_detection_pattern(model.to_tokens(text))
        assert pattern.diagonal().sum() == 1
        theirs = pattern.tril(-1)
    # It divides by all queries, those without such a key among them.
    share = found.n[0] / found.n_tokens
    np.testing.assert_allclose(
        found.score[0] * share, detect_head(model, text, theirs).numpy(), atol=1e-6
    )


# ---- the organism ------------------------------------------------------------------------------


def test_the_truth_cards_heads_come_out_on_top(organism: HeadScores) -> None:
    for name, head in (
        ("previous_token", (0, 0)),
        ("induction", (2, 0)),
        ("induction_beyond", (2, 0)),
        ("position_share", (0, 0)),
        ("copying", (2, 0)),
    ):
        row = organism.top(name, 1).iloc[0]
        assert (row["layer"], row["head"]) == head, name
    assert at(organism, "previous_token", (0, 0)) > 0.95
    assert at(organism, "induction_beyond", (2, 0)) > 0.8
    ranking = organism.ranking().set_index("kind")
    assert ranking.loc["induction", "lead"] > 10 * ranking.loc["induction", "lead_stderr"]
    for name in ("induction_beyond", "duplicate_token_beyond"):
        assert organism.possible[organism.names.index(name)].all(1).tolist() == [1, 0, 1, 0]


def test_claims_of_the_truth_card_about_layers_hold(organism: HeadScores) -> None:
    claims = {c["claim"]: c["values"][0] for c in ns.organism.truth_card()["claims"]}
    for text, name in (
        ("The head that attends most to the word before is in layer {}.", "previous_token"),
        ("Within the window, the head with the highest induction score is in layer {}.",
         "induction"),
        ("Beyond the window, the head with the highest induction score is in layer {}.",
         "induction_beyond"),
    ):  # fmt: skip
        layer = int(organism.top(name, 1)["layer"][0])
        assert claims[text.format(layer)] == layer


def test_a_text_of_the_language_names_the_same_induction_head() -> None:
    model = ns.load("organism")
    texts = [s.text for s in ns.organism.sentences("far-induction", 8)]
    found = heads(model, texts=texts, scores=["induction_beyond", "previous_token"], **QUIET)
    assert found.corpus == "texts"
    assert found.prepend_bos is False
    row = found.top("induction_beyond", 1).iloc[0]
    assert (row["layer"], row["head"]) == (2, 0)


# ---- random tokens -----------------------------------------------------------------------------


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


# ---- position and content ----------------------------------------------------------------------


def test_position_shares_of_compiled_heads_are_1_and_0() -> None:
    found = heads(ns.load("induction"), scores=["position_share", "content_share"], **QUIET)
    position, content = score(found, "position_share"), score(found, "content_share")
    assert position[INDUCTION_TRUTH.previous_token] == pytest.approx(1, abs=1e-12)
    assert position[INDUCTION_TRUTH.induction] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(content, 1 - position)
    assert all(np.isnan(position[head]) for head in INDUCTION_TRUTH.dead)


def test_position_shares_lie_between_0_and_1(organism: HeadScores) -> None:
    shares = score(organism, "position_share")
    assert ((shares > 0) & (shares < 1)).all()
    stderr = organism.stderr[organism.names.index("position_share")]
    assert (stderr < 0.1).all()


# ---- texts -------------------------------------------------------------------------------------


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


# ---- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_saved_result_comes_back(tmp_path: Path, short: HeadScores, suffix: str) -> None:
    back = load(short.save(tmp_path / f"heads{suffix}"))
    assert isinstance(back, HeadScores)
    assert str(back) == str(short)
    assert back.to_dataframe().equals(short.to_dataframe())


def test_the_table_has_a_row_for_each_head(organism: HeadScores) -> None:
    table = organism.to_dataframe()
    assert len(table) == len(organism.names) * 16
    row = table[(table["kind"] == "induction") & (table["layer"] == 2) & (table["head"] == 0)]
    assert row["score"].item() == at(organism, "induction", (2, 0))
    assert row["low"].item() < row["score"].item() < row["high"].item()
    assert str(organism).startswith("Head scores of 'organism' on 32 repeats of random tokens")
    assert "cannot" in str(organism)
    assert "<table" in organism._repr_html_()


def test_a_printed_result_fits_80_columns_and_says_what_is_missing(organism: HeadScores) -> None:
    texts = heads(random_model(), texts=[[1, 2, 3, 4]], **QUIET)
    for found in (organism, texts):
        assert max(map(len, str(found).splitlines())) <= 80
        assert all(name in str(found) for name in found.names)
    row = texts.summary().set_index("kind").loc["induction"]
    assert row["head"] == "-"
    assert "-: there was nothing to measure it on" in str(texts)
    assert "nothing to measure" not in str(organism)
    assert "on 1 text, 4 tokens" in texts.heading()
    _, cache = random_model().run_with_cache([TEXTS[0]], sites="pattern")
    model = random_model()
    for source, names, said in (
        (cache, "copying", "from weights"),
        (model, "copying_top5", "from weights"),
        (model, ["copying", "position_share"], "from random tokens and weights"),
    ):
        given = model if source is cache else None
        one = heads(source, scores=names, model=given, **QUIET)
        assert one.heading().endswith(said)


def test_lowest_first(organism: HeadScores) -> None:
    row = organism.top("entropy", 1, lowest=True).iloc[0]
    assert row["score"] == np.nanmin(score(organism, "entropy"))
    assert organism.top("entropy", None)["score"].is_monotonic_decreasing


def test_edits_in_force_act_and_are_recorded() -> None:
    model = random_model()
    before = heads(model, scores="entropy", **QUIET)
    with model.edits(ablate("q", layer=0)):
        during = heads(model, scores="entropy", **QUIET)
    assert before.edits == ()
    assert during.edits == ("ablate('q', layer=0)",)
    assert "ablate" in during.heading()
    assert not np.allclose(before.score, during.score)


def test_an_interruption_keeps_what_was_done() -> None:
    def stop(done: int, total: int) -> None:
        assert total == 8
        if done >= 3:
            raise KeyboardInterrupt

    model = random_model()
    with pytest.warns(UserWarning, match="interrupted: 4 texts are done"):
        found = heads(model, gap=3, n=8, scores="entropy", batch_tokens=14, progress=stop)
    assert not found.complete
    assert found.n_texts == 4
    assert "interrupted" in found.heading()


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    heads(random_model(), gap=3, n=4, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4 + 2, 4 + 2)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 1000))
def test_moments_are_those_of_the_texts(n: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 9, (n, units)).astype(float)
    total = count * rng.random((n, units))
    moments = Moments(units)
    for rows in np.array_split(np.arange(n), 2):
        moments.add(torch.from_numpy(total[rows]), torch.from_numpy(count[rows]))
    ratio = total.sum(0) / count.sum(0)
    left = (total - ratio * count) / count.sum(0)
    stderr = np.sqrt(n / (n - 1) * (left**2).sum(0))
    np.testing.assert_allclose(moments.ratio().numpy(), ratio)
    np.testing.assert_allclose(moments.stderr().numpy(), stderr, atol=1e-7)
    between = math.sqrt(n / (n - 1) * ((left[:, 0] - left[:, -1]) ** 2).sum())
    assert moments.stderr_between(0, units - 1) == pytest.approx(between, abs=1e-6)


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scores": "inductoin"}, "did you mean 'induction'"),
        ({"scores": []}, "asks for nothing"),
        ({"texts": []}, "texts is empty"),
        ({"texts": 3}, "expected texts or token ids"),
        ({"texts": [[3]]}, "single token|more than one token"),
        ({"texts": [[3, 4]], "gap": 2}, "gap is for repeats"),
        ({"gap": 16}, "gap=16 needs 33 tokens, but the model's context is 32|gap=16 .* 32"),
        ({"gap": 30, "length": 10}, "needs 41 tokens, but the model's context is 32"),
        ({"gap": 4, "length": 5}, "length=5 is more than gap=4"),
        ({"gap": 0}, "gap=0; expected a whole number"),
        ({"gap": []}, "asks for no repeats"),
        ({"gap": [3, 3]}, "names a gap twice"),
        ({"scores": 5}, "scores=5; expected names"),
        ({"seed": "a"}, "seed='a'; expected a whole number"),
        ({"seed": 1 << 70}, "at most 64 bits"),
        ({"progress": 5}, "heads: progress=5; expected True, False"),
        ({"model": "organism"}, "model= is for a cache"),
        ({"gap": 50}, "needs as many different tokens; this model has 39"),
        ({"n": 0}, "n=0; expected"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"weighted": "norms"}, "did you mean 'norm'"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, Any], said: str) -> None:
    if options.get("gap") == 16:
        options = options | {"length": 16}
    with pytest.raises(AnalysisError, match=said):
        heads(random_model(), **(QUIET | options))


def test_bad_questions_of_a_result_are_refused(organism: HeadScores) -> None:
    with pytest.raises(AnalysisError, match="did you mean 'induction'"):
        organism.top("inductions")
    with pytest.raises(AnalysisError, match="k=0"):
        organism.top("induction", 0)
    few = heads(random_model(), scores="entropy", **QUIET)
    with pytest.raises(AnalysisError, match="'induction' was not measured"):
        few.top("induction")


def test_no_local_layer_has_no_beyond() -> None:
    model = random_model(attention_layers=("global", "global"))
    with pytest.raises(AnalysisError, match="all layers of this model are global"):
        heads(model, scores="induction_beyond", **QUIET)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(AnalysisError, match="takes a model or a cache; found str"):
        heads("organism")


def test_an_empty_text_is_refused_by_number() -> None:
    with pytest.raises(TokenizationError, match="text 1 is empty"):
        heads(ns.load("organism"), texts=["the keys", ""], **QUIET)


def test_a_model_without_a_first_token_cannot_be_given_one() -> None:
    with pytest.raises(AnalysisError, match="no beginning-of-text token"):
        heads(random_model(bos_token_id=None), prepend_bos=True, **QUIET)


def test_a_cache_must_hold_what_is_read() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites=["z"])
    with pytest.raises(AnalysisError, match="sites='pattern'"):
        heads(cache)
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern"])
    with pytest.raises(AnalysisError, match=r"sites=\['pattern', 'v'\]"):
        heads(cache, weighted="norm")
    with pytest.raises(AnalysisError, match="measured on random tokens"):
        heads(cache, scores="position_share")
    with pytest.raises(AnalysisError, match="a cache has texts of its own"):
        heads(cache, texts=["x"])
    with pytest.raises(AnalysisError, match="single token"):
        heads(model.run_with_cache([[3]], sites=["pattern"])[1])
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern"], positions=-1)
    with pytest.raises(AnalysisError, match="needs every position"):
        heads(cache)


def test_a_cache_from_a_file_needs_the_model_for_weights(tmp_path: Path) -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern", "v"])
    cache.save(tmp_path / "run.safetensors")
    loaded = ns.ActivationCache.load(tmp_path / "run.safetensors")
    with pytest.raises(AnalysisError, match="model=model"):
        heads(loaded, weighted="norm")
    found = heads(loaded, weighted="norm", scores=["copying", "entropy"], model=model)
    again = heads(cache, weighted="norm", scores=["copying", "entropy"])
    assert np.array_equal(found.score, again.score)
    other = HookedGPTNeo.from_config(model.config, seed=99)
    asked: list[dict[str, Any]] = [
        {"weighted": "norm"},
        {"scores": "copying"},
        {"scores": "entropy"},
    ]
    for options in asked:
        for one in (cache, loaded):
            with pytest.raises(AnalysisError, match="heads: the cache was made by another model"):
                heads(one, **options, model=other)
