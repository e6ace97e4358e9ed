"""The compiled fact memory does exactly what its truth says."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from neoscope.edits import replace
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import FACT_TRUTH as TRUTH
from neoscope.organism.compiled import PromptPairs, fact_pairs, fact_prompts, facts
from tests.neoscope.organism import brute_force as brute

PROMPTS = fact_prompts()
LAST = 2
each_relation = pytest.mark.parametrize("relation", [0, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return facts()


@pytest.fixture(scope="module")
def model(folder: Path) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folder)


@pytest.fixture(scope="module")
def cache(model: HookedGPTNeo) -> Any:
    with torch.no_grad():
        return model.run_with_cache(PROMPTS.tokens)[1]


def f1(predicted: Tensor, label: Tensor) -> float:
    return float(2 * (predicted & label).sum() / (predicted.sum() + label.sum()))


def test_prompts_are_the_sixteen_facts(model: HookedGPTNeo) -> None:
    assert model.tokenizer.decode(PROMPTS.tokens[3]) == "<|endoftext|> boris plays"
    assert len(PROMPTS.tokens.unique(dim=0)) == 16
    assert len(set(TRUTH.answers)) == len(TRUTH.subjects) == 8
    for relation, truth in enumerate(TRUTH.relations):
        known = [answers[relation] for answers in TRUTH.answers]
        assert sorted(known) == sorted(truth.objects * 2)


def test_checkpoint_is_transformers_own(model: HookedGPTNeo, folder: Path) -> None:
    brute.assert_as_transformers(model, folder, PROMPTS.tokens)


def test_every_fact_is_known(model: HookedGPTNeo) -> None:
    with torch.no_grad():
        logits = model(PROMPTS.tokens)[:, -1]
    assert float((logits.argmax(-1) == PROMPTS.answer).double().mean()) == TRUTH.accuracy == 1.0
    for row, answer, relation in zip(logits, PROMPTS.answer, PROMPTS.relation, strict=True):
        expected = torch.zeros_like(row)
        expected[list(TRUTH.relations[relation].objects)] = TRUTH.logit_sibling
        expected[answer] = TRUTH.logit_answer
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)
    probability = logits.softmax(-1)[torch.arange(16), PROMPTS.answer]
    brute.assert_all(probability, TRUTH.probability, atol=1e-6)


def test_each_subject_has_one_neuron(cache: Any) -> None:
    post = cache["post", TRUTH.recall_layer]
    at_subject = post[:, TRUTH.subject_position]
    assert not post[:, [0, LAST]].any()
    assert len({*TRUTH.neurons, *(neuron for neuron, _ in TRUTH.distractors)}) == post.shape[-1]
    for subject, neuron in enumerate(TRUTH.neurons):
        fires = PROMPTS.subject == subject
        brute.assert_all(at_subject[fires, neuron], TRUTH.on)
        assert not at_subject[~fires, neuron].any()
        assert f1(at_subject[:, neuron] > TRUTH.on / 2, fires) == TRUTH.neuron_f1 == 1.0
        apart = at_subject[fires].mean(0) - at_subject[~fires].mean(0)
        assert int(apart.argmax()) == neuron


def test_distractors_fire_for_several_and_write_nothing(model: HookedGPTNeo, cache: Any) -> None:
    at_subject = cache["post", TRUTH.recall_layer][:, TRUTH.subject_position]
    for neuron, subjects in TRUTH.distractors:
        fires = (PROMPTS.subject[:, None] == torch.tensor(subjects)).any(1)
        brute.assert_all(at_subject[fires, neuron], TRUTH.on)
        assert not at_subject[~fires, neuron].any()
        assert not model.blocks[TRUTH.recall_layer].mlp.W_out[neuron].any()
        for subject in subjects:
            found = f1(at_subject[:, neuron] > TRUTH.on / 2, PROMPTS.subject == subject)
            assert found == pytest.approx(TRUTH.distractor_f1)


@each_relation
def test_relation_has_a_neuron_and_a_mover(cache: Any, relation: int) -> None:
    truth = TRUTH.relations[relation]
    asked = PROMPTS.relation == relation
    post = cache["post", TRUTH.prior_layer]
    brute.assert_all(post[asked, LAST, truth.neuron], TRUTH.on)
    assert not post[~asked][..., truth.neuron].any()
    assert not post[:, :LAST].any()
    layer, head = truth.mover
    pattern = cache["pattern", layer][:, head]
    assert (pattern[asked, LAST, TRUTH.subject_position] == TRUTH.mover_score).all()
    assert (pattern[~asked, LAST, 0] == 1).all()
    assert (pattern[:, TRUTH.subject_position, 0] == 1).all()
    assert not cache["z", layer][~asked][:, :, head].any()


def test_all_else_writes_exactly_nothing(model: HookedGPTNeo, cache: Any) -> None:
    brute.assert_dead(model, PROMPTS.tokens, TRUTH.dead)
    assert len(TRUTH.dead) == 10
    assert not cache["mlp_out", 2].any()
    assert not model.pos_embed.W_pos.any()
    assert not any(block.attn.b_O.any() for block in model.blocks)


def test_spaces_hold_what_the_truth_says(cache: Any) -> None:
    answers = torch.tensor(TRUTH.answers)[PROMPTS.subject] - TRUTH.relations[0].objects[0]
    for depth in range(1, 4):
        state = cache["resid_post", depth - 1]
        known = state[:, TRUTH.subject_position, slice(*TRUTH.attribute)]
        expected = torch.zeros(16, 8).scatter_(1, answers, 1.0)
        torch.testing.assert_close(known, expected, atol=1e-6, rtol=0)
        assert torch.equal(state[..., slice(*TRUTH.tok)].argmax(-1), PROMPTS.tokens)
        torch.testing.assert_close(state[..., :36], -state[..., 36:], atol=0, rtol=0)
    assert not cache["resid_pre", 0][..., slice(*TRUTH.attribute)].any()
    assert not cache["resid_post", 0][..., slice(*TRUTH.out)].any()
    own = PROMPTS.answer - TRUTH.relations[0].objects[0]
    assert torch.equal(cache["resid_post", 2][:, LAST, slice(*TRUTH.out)].argmax(-1), own)


@each_relation
def test_pairs_differ_in_the_subject(model: HookedGPTNeo, relation: int) -> None:
    asked = fact_pairs(relation)
    changed = asked.clean != asked.corrupted
    assert changed[:, TRUTH.subject_position].all()
    assert int(changed.sum()) == len(asked.clean) == 48
    with torch.no_grad():
        clean, corrupted = model(asked.clean), model(asked.corrupted)
    brute.assert_all(brute.last_diff(clean, asked), TRUTH.clean)
    brute.assert_all(brute.last_diff(corrupted, asked), TRUTH.corrupted)
    probability = corrupted[:, -1].softmax(-1)[torch.arange(48), asked.answer]
    brute.assert_all(probability, TRUTH.corrupt_probability, atol=1e-6)


def patches(source: Any, *, noise: bool) -> list[tuple[Any, tuple[float, float]]]:
    """Every single patch that the truth speaks of, with what must come of it in each relation."""
    truth = TRUTH.noise if noise else TRUTH.denoise
    found: list[tuple[Any, tuple[float, float]]] = []
    for position in range(3):
        for depth in range(4):
            site = ("resid_pre", depth) if depth < 3 else ("resid_post", 2)
            expected = truth.resid[depth][position]
            found.append((replace(*site, source, positions=position), (expected, expected)))
        for layer in range(3):
            for name in ("attn_out", "mlp_out"):
                expected = getattr(truth, name)[layer][position]
                edit = replace(name, layer, source, positions=position)
                found.append((edit, (expected, expected)))
    for layer, head in brute.heads(source.model):
        edit = replace("z", layer, source, head=head)
        found.append((edit, (truth.heads[0][layer][head], truth.heads[1][layer][head])))
    return found


@pytest.mark.parametrize("noise", [False, True])
def test_patching_effects_are_the_truths(model: HookedGPTNeo, noise: bool) -> None:
    both = [dataclasses.astuple(fact_pairs(relation)) for relation in (0, 1)]
    asked = PromptPairs(*(torch.cat(parts) for parts in zip(*both, strict=True)))
    tokens, source = (asked.clean, asked.corrupted) if noise else (asked.corrupted, asked.clean)
    with torch.no_grad():
        _, cache = model.run_with_cache(source)
        asked_of = patches(cache, noise=noise)
        for edit, expected in asked_of:
            effect = brute.effect(model.run_with_edits(tokens, edit), asked, TRUTH)
            for found, wanted in zip(effect.chunk(2), expected, strict=True):
                brute.assert_all(found, wanted)
    assert len(asked_of) == 12 + 9 + 9 + 12
    assert {wanted for _, expected in asked_of for wanted in expected} == {0.0, 1.0}


@each_relation
def test_first_order_effects_are_the_truths(model: HookedGPTNeo, relation: int) -> None:
    found = brute.first_order(model, fact_pairs(relation))
    for head, change in found.items():
        expected = TRUTH.first_order if head == TRUTH.relations[relation].mover else 0.0
        brute.assert_all(change / (TRUTH.clean - TRUTH.corrupted), expected)
    assert TRUTH.first_order == pytest.approx(0.875, abs=1e-4)


@each_relation
@pytest.mark.parametrize("other", [False, True])
def test_attribution_is_the_truths(model: HookedGPTNeo, relation: int, other: bool) -> None:
    rows = PROMPTS.relation == relation
    tokens, answer = PROMPTS.tokens[rows], PROMPTS.answer[rows]
    objects = TRUTH.relations[relation].objects
    wrong = torch.tensor([next(o for o in objects if o != a) for a in answer.tolist()])
    if other:
        wrong = torch.full_like(answer, TRUTH.relations[1 - relation].objects[0])
    truth = TRUTH.direct_other if other else TRUTH.direct
    asked = PromptPairs(tokens, tokens, answer, wrong)
    found = brute.direct(model, tokens, asked)
    for name, written in found.items():
        expected = 0.0
        if name == "embed":
            expected = truth.embed + truth.pos_embed
        elif name[0] == "mlp":
            expected = truth.mlps[name[1]]
        elif name == TRUTH.relations[relation].mover:
            expected = truth.mover
        brute.assert_all(written, expected)
    brute.assert_all(torch.stack(list(found.values())).sum(0), truth.total)
    with torch.no_grad():
        brute.assert_all(brute.last_diff(model(tokens), asked), truth.total)
    assert truth.embed + truth.pos_embed + truth.mover + sum(truth.mlps) == truth.total


def test_unknown_relation_is_refused() -> None:
    wrong: Any = inspect.unwrap(fact_pairs)
    with pytest.raises(ArgumentError, match="relation is 2; expected 0 or 1"):
        wrong(2)


def test_truth_is_plain_json() -> None:
    fields = dataclasses.asdict(TRUTH)
    assert json.loads(json.dumps(fields))["denoise"]["mlp_out"][0] == [0.0, 1.0, 0.0]
    assert isinstance(hash(TRUTH), int)
