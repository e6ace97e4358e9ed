"""The compiled duplicate-token model does exactly what its truth says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from neoscope.edits import ablate, replace
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.organism.compiled import DUPLICATE_TRUTH as TRUTH
from tests.neoscope.organism import brute_force as brute

LAYER, HEAD = TRUTH.duplicate


@pytest.fixture(scope="module")
def folder() -> Path:
    return compiled.duplicate_token()


@pytest.fixture(scope="module")
def model(folder: Path) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folder)


@pytest.fixture(scope="module")
def prompts() -> torch.Tensor:
    """Random words, "again" and "new" among them, of which many come several times."""
    tokens = torch.randint(1, 18, (256, 18), generator=torch.Generator().manual_seed(0))
    tokens[:, 0] = TRUTH.bos
    return tokens


def earlier(tokens: torch.Tensor) -> torch.Tensor:
    """Which keys are earlier occurrences of the query's word, ``[batch, query, key]``."""
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1)


def test_pairs_differ_in_the_earlier_occurrence() -> None:
    asked = compiled.duplicate_pairs(16, seed=3)
    where = (asked.clean != asked.corrupted).nonzero()
    assert where.tolist() == [[row, TRUTH.earlier.changed] for row in range(16)]
    assert asked.clean.dtype == torch.int64
    assert asked.clean.shape == (16, TRUTH.query + 1)
    assert (earlier(asked.clean).nonzero()[:, 1:] == torch.tensor([TRUTH.query, 4])).all()
    assert not earlier(asked.corrupted).any()
    assert earlier(asked.clean).sum() == 16
    assert (asked.answer == TRUTH.again).all() and (asked.wrong == TRUTH.new).all()
    assert [TRUTH.words[i] for i in (TRUTH.bos, TRUTH.again, TRUTH.new)] == [
        *("<|endoftext|>", "again", "new")
    ]
    assert torch.equal(asked.clean, compiled.duplicate_pairs(16, seed=3).clean)
    assert not torch.equal(asked.clean, compiled.duplicate_pairs(16, seed=4).clean)
    with pytest.raises(ArgumentError, match="n is 0; expected a whole number, at least 1"):
        compiled.duplicate_pairs(0)


def test_logits_are_those_of_transformers(
    model: HookedGPTNeo, folder: Path, prompts: torch.Tensor
) -> None:
    brute.assert_as_transformers(model, folder, prompts)


def test_cached_model_is_the_written_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = compiled.duplicate_token()
    assert cached.is_relative_to(tmp_path)
    assert {p.name: p.read_bytes() for p in cached.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_text_is_read_and_answered(model: HookedGPTNeo) -> None:
    with torch.no_grad():
        logits = model("<|endoftext|> apple river apple stone river river")
    assert model.tokenizer.decode(logits[0].argmax(-1)) == "new new new again new again again"


def test_every_duplicate_is_found(model: HookedGPTNeo, prompts: torch.Tensor) -> None:
    expected = torch.where(earlier(prompts).any(-1), TRUTH.again, TRUTH.new)
    assert (expected == TRUTH.again).float().mean() > 0.2
    with torch.no_grad():
        found = model(prompts).argmax(-1)
    assert (found == expected).double().mean() == TRUTH.accuracy == 1.0


def test_head_attends_where_the_truth_says(model: HookedGPTNeo, prompts: torch.Tensor) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts)
    pattern, before = cache["pattern", LAYER][:, HEAD], earlier(prompts)
    n_before = before.sum(-1)
    on_earlier = (pattern * before).sum(-1)
    brute.assert_all(on_earlier[n_before > 0], TRUTH.duplicate_score, 1e-6)
    brute.assert_all(pattern[..., 0][n_before == 0], TRUTH.first_score, 1e-6)
    split = (pattern - before / n_before.clamp(min=1)[..., None])[n_before > 0]
    assert split.abs().max() < 1e-6
    alone = pattern[n_before == 1]
    assert torch.equal(alone, before[n_before == 1].float())


def test_attention_scores_are_the_truths(model: HookedGPTNeo, prompts: torch.Tensor) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts)
    # Beyond the first query, which has no key but itself.
    scores, before = cache["attn_scores", LAYER][:, HEAD][:, 1:], earlier(prompts)[:, 1:]
    own = torch.eye(18).bool()[1:].expand_as(before)
    first = torch.zeros_like(before).index_fill_(2, torch.tensor([0]), True)
    other = ~(before | own | first) & ~scores.isneginf()
    for where, expected in (
        (before, TRUTH.earlier_attn_score),
        (first, TRUTH.first_attn_score),
        (own, TRUTH.self_attn_score),
        (other, TRUTH.other_attn_score),
    ):
        assert where.any()
        brute.assert_all(scores[where], expected, 1e-3)
    # Exponentials of gaps like these are exactly 0 in float32.
    assert TRUTH.earlier_attn_score - TRUTH.first_attn_score > 104
    assert TRUTH.first_attn_score - TRUTH.other_attn_score > 104


def test_logit_differences_are_the_truths(model: HookedGPTNeo) -> None:
    asked = compiled.duplicate_pairs(32)
    with torch.no_grad():
        brute.assert_all(brute.last_diff(model(asked.clean), asked), TRUTH.earlier.clean)
        brute.assert_all(brute.last_diff(model(asked.corrupted), asked), TRUTH.earlier.corrupted)
    assert TRUTH.earlier.clean == TRUTH.logit_diff == -TRUTH.earlier.corrupted


def test_logit_difference_is_written_by_the_duplicate_head_alone(model: HookedGPTNeo) -> None:
    asked = compiled.duplicate_pairs(8)
    for tokens, sign in ((asked.clean, 1), (asked.corrupted, -1)):
        written = brute.direct(model, tokens, asked)
        for layer, head in brute.heads(model):
            brute.assert_all(written.pop((layer, head)), sign * TRUTH.direct[layer][head])
        assert len(written) == 3
        for part in written.values():
            brute.assert_all(part, 0.0, 1e-6)


def test_patching_effects_are_the_truths(model: HookedGPTNeo) -> None:
    asked, truth = compiled.duplicate_pairs(8, seed=1), TRUTH.earlier
    for layer, head in brute.heads(model):
        denoised = brute.patch(model, asked.corrupted, asked.clean, (layer, head))
        brute.assert_all(brute.effect(denoised, asked, truth), truth.denoise[layer][head], 1e-6)
        noised = brute.patch(model, asked.clean, asked.corrupted, (layer, head))
        brute.assert_all(brute.effect(noised, asked, truth), truth.noise[layer][head], 1e-6)


def test_patching_the_head_matters_at_the_last_position_alone(model: HookedGPTNeo) -> None:
    asked, truth = compiled.duplicate_pairs(8), TRUTH.earlier
    with torch.no_grad():
        _, cache = model.run_with_cache(asked.clean)
        for position in range(TRUTH.query + 1):
            edit = replace("z", LAYER, cache, head=HEAD, positions=position)
            logits = model.run_with_edits(asked.corrupted, edit)
            expected = float(position == TRUTH.query)
            brute.assert_all(brute.effect(logits, asked, truth), expected, 1e-6)


def test_first_order_effects_are_the_truths(model: HookedGPTNeo) -> None:
    asked, truth = compiled.duplicate_pairs(8, seed=2), TRUTH.earlier
    for (layer, head), change in brute.first_order(model, asked).items():
        found = change / (truth.clean - truth.corrupted)
        brute.assert_all(found, truth.first_order[layer][head], 1e-5)


def test_dead_heads_and_the_mlp_do_exactly_nothing(
    model: HookedGPTNeo, prompts: torch.Tensor
) -> None:
    assert {*TRUTH.dead, TRUTH.duplicate} == set(brute.heads(model))
    brute.assert_dead(model, prompts, TRUTH.dead)
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts)
        assert not cache["mlp_out", 0].any()
        cut = [ablate("z", layer, head) for layer, head in TRUTH.dead]
        assert torch.equal(model.run_with_edits(prompts, cut), model(prompts))


def test_spaces_hold_what_the_truth_says(model: HookedGPTNeo, prompts: torch.Tensor) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts)
    before, after = cache["resid_pre", 0], cache["resid_post", 0]
    for stream in (before, after):
        assert torch.equal(stream[..., slice(*TRUTH.tok)].argmax(-1), prompts)
        positions = stream[..., slice(*TRUTH.pos)].argmax(-1)
        assert torch.equal(positions, torch.arange(18).expand(256, 18))
        assert torch.equal(stream[..., :54], -stream[..., 54:])
    assert torch.equal(before[..., slice(*TRUTH.out)].argmax(-1), prompts)
    said = (after - before)[..., slice(*TRUTH.out)].argmax(-1)
    assert torch.equal(said == TRUTH.again, earlier(prompts).any(-1))


def test_truth_is_plain_json() -> None:
    fields = dataclasses.asdict(TRUTH)
    assert json.loads(json.dumps(fields))["earlier"]["denoise"] == [[1.0, 0.0, 0.0]]
    assert isinstance(hash(TRUTH), int)
