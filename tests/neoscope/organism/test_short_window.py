"""Behind a short window the induction circuit fails, exactly as its truth says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import pytest
import torch

from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.organism.compiled import SHORT_WINDOW_TRUTH as TRUTH
from tests.neoscope.organism import brute_force as brute

INDUCTION = compiled.INDUCTION_TRUTH
CORRUPTIONS: tuple[Literal["value", "key"], ...] = ("value", "key")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled.write_induction(tmp_path_factory.mktemp("m") / "m", window=TRUTH.window)


@pytest.fixture(scope="module")
def model(folder: Path) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folder)


@pytest.fixture(scope="module")
def second_copy() -> torch.Tensor:
    """Positions of the second copy that have a next word."""
    return torch.arange(1 + INDUCTION.period, 2 * INDUCTION.period)


def test_cached_model_is_the_induction_model_with_that_window(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = compiled.induction_short_window()
    assert cached.is_relative_to(tmp_path)
    assert cached == compiled.induction(window=8)
    assert {p.name: p.read_bytes() for p in cached.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_window_is_shorter_than_the_distance(model: HookedGPTNeo) -> None:
    assert model.config.window(1) == TRUTH.window <= TRUTH.distance
    assert model.config.window(0) is None
    assert TRUTH.window < INDUCTION.min_window == TRUTH.distance + 1


def test_logits_are_those_of_transformers(model: HookedGPTNeo, folder: Path) -> None:
    brute.assert_as_transformers(model, folder, compiled.repeated(8))


def test_heads_attend_where_the_truth_says(model: HookedGPTNeo, second_copy: torch.Tensor) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(compiled.repeated(16))
    layer, head = TRUTH.previous_token
    previous = cache["pattern", layer][:, head].diagonal(offset=-1, dim1=1, dim2=2)
    brute.assert_all(previous, TRUTH.previous_token_score, 1e-6)
    layer, head = TRUTH.induction
    pattern = cache["pattern", layer][:, head][:, second_copy]
    wanted = pattern[:, torch.arange(14), second_copy - TRUTH.distance]
    assert torch.equal(wanted, torch.full_like(wanted, TRUTH.induction_score))
    for back in range(TRUTH.window):
        seen = pattern[:, torch.arange(14), second_copy - back]
        brute.assert_all(seen, TRUTH.even_score, 1e-6)
    hidden = cache["attn_scores", layer][:, head][:, second_copy].isneginf().sum(-1)
    assert (hidden == 31 - TRUTH.window).all()


def test_current_word_is_always_predicted(model: HookedGPTNeo, second_copy: torch.Tensor) -> None:
    tokens = compiled.repeated(16)
    with torch.no_grad():
        logits = model(tokens)
    predicted = logits.argmax(-1)[:, second_copy]
    assert torch.equal(predicted, tokens[:, second_copy])
    accuracy = (predicted == tokens[:, second_copy + 1]).float().mean()
    assert accuracy == TRUTH.accuracy == 0.0


def test_logits_are_the_truths(model: HookedGPTNeo, second_copy: torch.Tensor) -> None:
    tokens = compiled.repeated(16)
    with torch.no_grad():
        logits = model(tokens)
    for query in second_copy.tolist():
        near = tokens[:, query - TRUTH.window + 1 : query]
        far = logits[:, query].clone().scatter_(1, tokens[:, query, None], 0).scatter_(1, near, 0)
        brute.assert_all(logits[:, query].gather(1, tokens[:, query, None]), TRUTH.current_logit)
        brute.assert_all(logits[:, query].gather(1, near), TRUTH.near_logit)
        brute.assert_all(far, TRUTH.far_logit, 1e-6)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_no_patch_changes_one_logit(
    model: HookedGPTNeo, corruption: Literal["value", "key"]
) -> None:
    asked = compiled.pairs(8, corruption)
    with torch.no_grad():
        unpatched = model(asked.clean)[:, -1]
        assert torch.equal(model(asked.corrupted)[:, -1], unpatched)
    brute.assert_all(brute.last_diff(unpatched[:, None], asked), TRUTH.logit_diff, 0)
    for tokens, source in ((asked.clean, asked.corrupted), (asked.corrupted, asked.clean)):
        for layer, head in brute.heads(model):
            logits = brute.patch(model, tokens, source, (layer, head))
            brute.assert_all(brute.last_diff(logits, asked), TRUTH.patched[layer][head], 0)
            assert torch.equal(logits[:, -1], unpatched)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_no_head_writes_or_foretells_anything(
    model: HookedGPTNeo, corruption: Literal["value", "key"]
) -> None:
    asked = compiled.pairs(8, corruption)
    for tokens in (asked.clean, asked.corrupted):
        written = brute.direct(model, tokens, asked)
        for layer, head in brute.heads(model):
            brute.assert_all(written.pop((layer, head)), TRUTH.direct[layer][head], 0)
        assert not any(part.any() for part in written.values())
    for (layer, head), found in brute.first_order(model, asked).items():
        brute.assert_all(found, TRUTH.first_order[layer][head], 0)


def test_dead_heads_do_exactly_nothing(model: HookedGPTNeo) -> None:
    tokens = compiled.repeated(4)[:, : TRUTH.window]
    brute.assert_dead(model, tokens, INDUCTION.dead)


def test_truth_is_plain_json() -> None:
    fields = dataclasses.asdict(TRUTH)
    assert json.loads(json.dumps(fields))["patched"] == [[0.0] * 4] * 2
    assert isinstance(hash(TRUTH), int)
