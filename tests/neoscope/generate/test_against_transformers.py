"""Token for token what transformers' generate finds; drawn tokens are distributed as its are."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import (
    GPTNeoForCausalLM,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import neoscope as ns
from neoscope import organism
from tests.neoscope.generate.peers import (
    Pair,
    moved,
    prompts,
    ragged,
    random_pair,
    theirs,
    trained_pair,
)

GREEDY: dict[str, dict[str, Any]] = {
    "plain": {},
    "no options": {"max_new_tokens": None},
    "max_length": {"max_new_tokens": None, "max_length": 17},
    "min_length": {"min_length": 20},
    "min_new_tokens": {"min_new_tokens": 12},
    "repetition_penalty": {"repetition_penalty": 1.7},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "bad_words_ids": {"bad_words_ids": [[5], [9, 11], [20]]},
    "suppress_tokens": {"suppress_tokens": [3, 4, 12]},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(1, 40))},
    "forced_eos": {"forced_eos_token_id": 11},
    "sequence_bias": {"sequence_bias": [[[14], 4.0], [[21, 22], 30.0]]},
    "decay": {"exponential_decay_length_penalty": (4, 1.5)},
    "several ends": {"eos_token_id": [3, 12, 30], "pad_token_id": 2},
    "no end": {"eos_token_id": None, "pad_token_id": 0},
    "encoder penalties": {"encoder_repetition_penalty": 1.4, "encoder_no_repeat_ngram_size": 2},
    "renormalised": {"renormalize_logits": True, "remove_invalid_values": True},
    "several": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 5},
}
BEAMS: dict[str, dict[str, Any]] = {
    "two": {"num_beams": 2},
    "five": {"num_beams": 5},
    "all returned": {"num_beams": 4, "num_return_sequences": 4},
    "early": {"num_beams": 3, "early_stopping": True, "num_return_sequences": 2},
    "never": {"num_beams": 3, "early_stopping": "never", "num_return_sequences": 3},
    "long": {"num_beams": 4, "length_penalty": 2.5, "num_return_sequences": 2},
    "long, never": {"num_beams": 4, "length_penalty": 2.5, "early_stopping": "never"},
    "short": {"num_beams": 4, "length_penalty": -1.5, "num_return_sequences": 4},
    "short, never": {"num_beams": 3, "length_penalty": -1.0, "early_stopping": "never"},
    "unnormalised": {"num_beams": 3, "length_penalty": 0.0, "early_stopping": "never"},
    "processors": {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.4},
    "min_new_tokens": {"num_beams": 3, "min_new_tokens": 8, "num_return_sequences": 2},
    "several ends": {"num_beams": 3, "eos_token_id": [3, 12, 30, 31], "pad_token_id": 2},
    "no end": {"num_beams": 3, "eos_token_id": None, "pad_token_id": 1},
    "pad 0": {"num_beams": 3, "pad_token_id": 0, "num_return_sequences": 3},
}


@pytest.fixture(params=["random", "random, another", "trained"], scope="module")
def pair(request: pytest.FixtureRequest) -> Pair:
    if request.param == "trained":
        return trained_pair()
    return random_pair(0 if request.param == "random" else 5)


def both(pair: Pair, ids: Tensor, mask: Tensor | None = None, **options: Any) -> tuple[Tensor, ...]:
    """Ours and theirs; some tokens of many texts, so that some end and some do not."""
    options = {"max_new_tokens": 16, "do_sample": False} | options
    options = {name: v for name, v in options.items() if v is not None or name == "eos_token_id"}
    return pair[1].generate(ids, mask, **options), theirs(pair[0], ids, mask, **options)


@pytest.mark.parametrize("name", GREEDY)
@pytest.mark.parametrize("padded", [False, True])
def test_greedy_text_is_theirs(pair: Pair, name: str, padded: bool) -> None:
    ids = prompts(pair[1], 6, 9, seed=len(name))
    mask = ragged(9, [9, 4, 1, 7, 9, 2], "left") if padded else None
    ours, expected = both(pair, ids, mask, **GREEDY[name])
    assert torch.equal(ours, expected)
    if mask is not None:  # on the other side, the same texts
        again, _ = moved(ids, mask)
        ours_again = pair[1].generate(*moved(ids, mask), **_given(name))
        assert torch.equal(ours_again[:, 9:], ours[:, 9:])
        assert sorted(again[1].tolist()) == sorted(ours_again[1, :9].tolist())


def _given(name: str) -> dict[str, Any]:
    options = {"max_new_tokens": 16} | GREEDY[name]
    return {k: v for k, v in options.items() if v is not None or k == "eos_token_id"}


@pytest.mark.parametrize("name", BEAMS)
@pytest.mark.parametrize("padded", [False, True])
def test_beam_search_finds_theirs(pair: Pair, name: str, padded: bool) -> None:
    ids = prompts(pair[1], 5, 7, seed=3)
    mask = ragged(7, [7, 3, 1, 7, 5], "left") if padded else None
    ours, expected = both(pair, ids, mask, max_new_tokens=14, **BEAMS[name])
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("seed", range(12))
def test_beam_search_finds_theirs_where_texts_end_early(seed: int) -> None:
    """Ends are likely here: what is done, and when, decides."""
    pair = random_pair(seed % 3)
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randperm(60, generator=generator)[: 4 + 3 * (seed % 4)].tolist()
    ids = prompts(pair[1], 6, 5, seed=seed)
    options = {
        "num_beams": 2 + seed % 4,
        "num_return_sequences": 2,
        "length_penalty": (1.0, 0.0, 2.0, -1.0)[seed % 4],
        "early_stopping": (False, True, "never")[seed % 3],
        "eos_token_id": ends,
        "pad_token_id": 59,
    }
    ours, expected = both(pair, ids, max_new_tokens=20, **options)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"temperature": 0.6},
        {"top_p": 0.8, "top_k": 0},
        {"min_p": 0.05},
        {"typical_p": 0.7, "top_k": 0},
        {"epsilon_cutoff": 0.02, "eta_cutoff": 0.02},
        {"top_h": 0.5},
        {"num_return_sequences": 3, "repetition_penalty": 1.2},
        {"num_beams": 3, "temperature": 1.5},
        {"num_beams": 2, "num_return_sequences": 2, "top_p": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("padded", [False, True])
def test_with_one_seed_the_same_tokens_are_drawn(
    pair: Pair, options: dict[str, Any], padded: bool
) -> None:
    ids = prompts(pair[1], 3, 6)
    mask = ragged(6, [6, 2, 4], "left") if padded else None
    torch.manual_seed(11)
    expected = theirs(pair[0], ids, mask, do_sample=True, max_new_tokens=12, **options)
    torch.manual_seed(11)
    drawn = pair[1].generate(ids, mask, do_sample=True, max_new_tokens=12, **options)
    seeded = pair[1].generate(ids, mask, do_sample=True, max_new_tokens=12, seed=11, **options)
    assert torch.equal(drawn, expected)
    assert torch.equal(seeded, expected)


@pytest.mark.parametrize(
    "options",
    [{"top_k": 0}, {"temperature": 0.7, "top_k": 20}, {"top_p": 0.85, "top_k": 0, "min_p": 0.01}],
    ids=str,
)
def test_ten_thousand_draws_have_the_exact_distribution(options: dict[str, Any]) -> None:
    hf, model = random_pair(0)
    ids, n = prompts(model, 1, 6, seed=2), 10_000
    ours = model.generate(
        ids, do_sample=True, max_new_tokens=1, num_return_sequences=n, seed=1, **options
    )[:, -1]
    torch.manual_seed(99)
    other = theirs(hf, ids, do_sample=True, max_new_tokens=1, num_return_sequences=n, **options)
    with torch.no_grad():
        logits = hf(ids).logits[:, -1]
    exact = _probabilities(ids, logits, options)
    counts = torch.bincount(ours, minlength=60).double()
    peers = torch.bincount(other[:, -1], minlength=60).double()
    assert float(counts[exact == 0].sum()) == 0
    assert _fit(counts, exact * n) > 1e-3
    both_seen = (counts + peers) > 10
    table = torch.stack([counts[both_seen], peers[both_seen]]).numpy()
    assert stats.chi2_contingency(table).pvalue > 1e-3
    # The test sees a difference: half a temperature away, it fails.
    assert _fit(counts, _probabilities(ids, logits / 1.2, options) * n) < 1e-6


def _probabilities(ids: Tensor, logits: Tensor, options: dict[str, Any]) -> Tensor:
    made = LogitsProcessorList()
    if "temperature" in options:
        made.append(TemperatureLogitsWarper(options["temperature"]))
    if options["top_k"]:
        made.append(TopKLogitsWarper(options["top_k"]))
    if "top_p" in options:
        made.append(TopPLogitsWarper(options["top_p"]))
        made.append(MinPLogitsWarper(options["min_p"]))
    return made(ids, logits.clone()).double().softmax(-1)[0]


def _fit(counts: Tensor, expected: Tensor) -> float:
    """p-value of a chi-square test, rare tokens taken together."""
    often = expected >= 5
    seen = torch.cat([counts[often], counts[~often].sum()[None]])
    due = torch.cat([expected[often], expected[~often].sum()[None]])
    keep = due > 0
    return float(stats.chisquare(seen[keep], due[keep] * (seen.sum() / due.sum())).pvalue)


def test_defaults_of_a_checkpoint_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(organism.path(), folder, ignore=shutil.ignore_patterns("during", "after"))
    said = {"do_sample": True, "temperature": 0.5, "max_length": 9, "eos_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(said))
    hf, model = GPTNeoForCausalLM.from_pretrained(folder), ns.load(folder)
    ids = prompts(model, 2, 5)
    torch.manual_seed(3)
    expected = theirs(hf, ids)
    assert torch.equal(model.generate(ids, seed=3), expected) and expected.shape[1] == 9
    torch.manual_seed(3)
    expected = theirs(hf, ids, max_new_tokens=7)
    assert torch.equal(model.generate(ids, seed=3, max_new_tokens=7), expected)
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(ns.NeoscopeError, match=r"cannot read .*generation_config.json"):
        model.generate(ids)


def test_half_precision_is_as_near_as_its_rounding(pair: Pair) -> None:
    ours = copy.deepcopy(pair[1]).to(torch.bfloat16)
    ids = prompts(ours, 2, 6)
    out = ours.generate(ids, max_new_tokens=8, return_type="result")
    for start, new in zip(ids.tolist(), out.tokens, strict=True):
        with torch.no_grad():
            logits = ours(torch.tensor([[*start, *new]]))[0, len(start) - 1 : -1].float()
        chosen = logits.gather(1, torch.tensor(new)[:, None])[:, 0]
        assert float((logits.amax(-1) - chosen).max()) <= 0.05 * float(logits.abs().max())
