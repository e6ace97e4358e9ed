"""The compiled gates do exactly what their truth says, and patching's two directions disagree."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from neoscope.edits import replace
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled
from neoscope.organism.compiled import GATES_TRUTH as TRUTH
from neoscope.organism.compiled import GateTruth
from tests.neoscope.organism import brute_force as brute

Gate = Literal["and", "or"]
GATES: dict[Gate, GateTruth] = {"and": TRUTH.both, "or": TRUTH.either}
INPUTS = (TRUTH.left, TRUTH.right)
each_gate = pytest.mark.parametrize("gate", GATES)


@pytest.fixture(scope="module")
def folder() -> Path:
    return compiled.gates()


@pytest.fixture(scope="module")
def model(folder: Path) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folder)


def as_asked(gate: Gate) -> tuple[torch.Tensor, compiled.PromptPairs]:
    """Return a gate's four prompts, and answers and foils to read them by."""
    prompts, pair = compiled.gate_prompts(gate), compiled.gate_pairs(gate)
    answers, foils = pair.answer.expand(4), pair.wrong.expand(4)
    return prompts, compiled.PromptPairs(prompts, prompts, answers, foils)


def test_prompts_say_what_they_mean(model: HookedGPTNeo) -> None:
    assert [model.tokenizer.decode(row) for row in compiled.gate_prompts("or")] == [
        f"<|endoftext|> {left} {right} or" for left in ("off", "on") for right in ("off", "on")
    ]
    for gate, truth in GATES.items():
        prompts, pair = compiled.gate_prompts(gate), compiled.gate_pairs(gate)
        assert torch.equal(pair.clean[0], prompts[3])
        assert torch.equal(pair.corrupted[0], prompts[0])
        assert [TRUTH.words[i] for i in (*pair.answer, *pair.wrong)] == ["true", "false"]
        assert truth.word == gate
        states = [(state.left, state.right) for state in truth.states]
        assert states == list(itertools.product((0, 1), repeat=2))


def test_unknown_gate_is_refused() -> None:
    # Unwrapped, because beartype would be faster to see the mistake.
    prompts: Any = inspect.unwrap(compiled.gate_prompts)
    with pytest.raises(ArgumentError, match="'xor'; expected 'and' or 'or'"):
        prompts("xor")


def test_cached_model_is_the_written_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = compiled.gates()
    assert cached.is_relative_to(tmp_path)
    assert {p.name: p.read_bytes() for p in cached.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_logits_are_those_of_transformers(model: HookedGPTNeo, folder: Path) -> None:
    brute.assert_as_transformers(
        model, folder, torch.cat([compiled.gate_prompts(gate) for gate in GATES])
    )


def test_every_expression_is_answered_rightly(model: HookedGPTNeo) -> None:
    rightly = []
    for gate, operator in (("and", min), ("or", max)):
        for left, right in itertools.product((0, 1), repeat=2):
            text = f"<|endoftext|> {('off', 'on')[left]} {('off', 'on')[right]} {gate}"
            with torch.no_grad():
                found = TRUTH.words[int(model(text)[0, -1].argmax())]
            rightly.append(found == ("false", "true")[operator(left, right)])
    assert sum(rightly) / len(rightly) == TRUTH.accuracy


@each_gate
def test_states_are_the_truths(model: HookedGPTNeo, gate: Gate) -> None:
    prompts, asked = as_asked(gate)
    with torch.no_grad():
        logits, cache = model.run_with_cache(prompts)
    found = brute.last_diff(logits, asked)
    for row, state in enumerate(GATES[gate].states):
        assert state.output == (min, max)[gate == "or"](state.left, state.right)
        brute.assert_all(found[row], state.logit_diff)
        pre, post = cache["pre", 0][row, -1], cache["post", 0][row, -1]
        torch.testing.assert_close(pre, torch.tensor(state.pre), atol=1e-4, rtol=0)
        torch.testing.assert_close(post, torch.tensor(state.post), atol=1e-4, rtol=0)
        assert torch.equal(post, pre.relu())
        live = [x for i, x in enumerate(state.pre) if i not in TRUTH.dead_neurons]
        assert min(map(abs, live)) >= TRUTH.margin / 4
    others = set(range(4)) - set(GATES[gate].neurons)
    assert not cache["post", 0][:, -1, sorted(others)].any()


@each_gate
def test_heads_attend_where_the_truth_says(model: HookedGPTNeo, gate: Gate) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(compiled.gate_prompts(gate))
    for (layer, head), position, score in (
        (TRUTH.left, 1, TRUTH.left_score),
        (TRUTH.right, 2, TRUTH.right_score),
    ):
        pattern = cache["pattern", layer][:, head]
        brute.assert_all(pattern[:, position:, position], score, 0)
        brute.assert_all(pattern[:, 0, 0], 1.0, 0)
    brute.assert_all(cache["pattern", 0][:, TRUTH.right[1], 1, :2], 0.5, 0)


@each_gate
def test_logit_difference_is_written_by_the_mlp_alone(model: HookedGPTNeo, gate: Gate) -> None:
    prompts, asked = as_asked(gate)
    written = brute.direct(model, prompts, asked)
    mlp = written.pop(("mlp", 0))
    for layer, head in brute.heads(model):
        brute.assert_all(written[layer, head], TRUTH.direct[layer][head], 1e-6)
    assert all(part.abs().max() < 1e-6 for part in written.values())
    for row, state in enumerate(GATES[gate].states):
        brute.assert_all(mlp[row], state.logit_diff)


@each_gate
def test_neurons_write_what_the_truth_says(model: HookedGPTNeo, gate: Gate) -> None:
    prompts, asked = as_asked(gate)
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts)
        axis = (model.embed.W_E[asked.answer] - model.embed.W_E[asked.wrong]) * model.ln_final.w
        scale = cache["ln_final.hook_scale"][:, -1]
        mlp = model.blocks[0].mlp
        per_neuron = cache["post", 0][:, -1] * (axis @ mlp.W_out.T) / scale
        brute.assert_all((axis @ mlp.b_out) / scale[:, 0], TRUTH.direct_bias)
    for row, state in enumerate(GATES[gate].states):
        expected = torch.tensor(state.direct_neurons)
        torch.testing.assert_close(per_neuron[row], expected, atol=1e-4, rtol=0)
        assert sum(state.direct_neurons) + TRUTH.direct_bias == pytest.approx(state.logit_diff)


@each_gate
def test_patching_effects_are_the_truths(model: HookedGPTNeo, gate: Gate) -> None:
    asked, truth = compiled.gate_pairs(gate), GATES[gate]

    def effects(*which: compiled.Head) -> tuple[torch.Tensor, torch.Tensor]:
        denoised = brute.patch(model, asked.corrupted, asked.clean, *which)
        noised = brute.patch(model, asked.clean, asked.corrupted, *which)
        return brute.effect(denoised, asked, truth), brute.effect(noised, asked, truth)

    for layer, head in brute.heads(model):
        denoised, noised = effects((layer, head))
        brute.assert_all(denoised, truth.denoise[layer][head], 1e-6)
        brute.assert_all(noised, truth.noise[layer][head], 1e-6)
    denoised, noised = effects(*INPUTS)
    brute.assert_all(denoised, truth.denoise_both, 1e-6)
    brute.assert_all(noised, truth.noise_both, 1e-6)
    with torch.no_grad():
        for tokens, source, expected in (
            (asked.corrupted, asked.clean, truth.denoise_mlp),
            (asked.clean, asked.corrupted, truth.noise_mlp),
        ):
            _, cache = model.run_with_cache(source)
            logits = model.run_with_edits(tokens, replace("mlp_out", 0, cache))
            brute.assert_all(brute.effect(logits, asked, truth), expected, 1e-6)


def test_directions_of_patching_disagree() -> None:
    """AND: only noising finds an input. OR: only denoising does."""
    for layer, head in INPUTS:
        assert TRUTH.both.denoise[layer][head] == 0.0 != 1.0 - TRUTH.both.noise[layer][head]
        assert TRUTH.either.denoise[layer][head] != 0.0 == 1.0 - TRUTH.either.noise[layer][head]


@each_gate
def test_first_order_effects_are_the_truths(model: HookedGPTNeo, gate: Gate) -> None:
    asked, truth = compiled.gate_pairs(gate), GATES[gate]
    for (layer, head), change in brute.first_order(model, asked).items():
        found = change / (truth.clean - truth.corrupted)
        brute.assert_all(found, truth.first_order[layer][head], 1e-6)


def test_dead_heads_and_neurons_do_exactly_nothing(model: HookedGPTNeo) -> None:
    prompts = torch.cat([compiled.gate_prompts(gate) for gate in GATES])
    assert {*TRUTH.dead, *INPUTS} == set(brute.heads(model))
    brute.assert_dead(model, prompts, TRUTH.dead)
    mlp = model.blocks[0].mlp
    for neuron in TRUTH.dead_neurons:
        assert not mlp.W_in[:, neuron].any() and not mlp.W_out[neuron].any()
        assert not mlp.b_in[neuron].any()


@each_gate
def test_spaces_hold_what_the_truth_says(model: HookedGPTNeo, gate: Gate) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(compiled.gate_prompts(gate))
    before, middle = cache["resid_pre", 0][:, -1], cache["resid_mid", 0][:, -1]
    for row, state in enumerate(GATES[gate].states):
        for space, bit in ((TRUTH.left_bit, state.left), (TRUTH.right_bit, state.right)):
            assert not before[row, slice(*space)].any()
            expected = torch.eye(2)[bit]
            torch.testing.assert_close(middle[row, slice(*space)], expected, atol=1e-6, rtol=0)
    norms = cache["resid_post", 0][:, -1].norm(dim=-1)
    torch.testing.assert_close(norms, norms[:1].expand(4))


def test_truth_is_plain_json() -> None:
    fields = json.loads(json.dumps(dataclasses.asdict(TRUTH)))
    assert fields["both"]["noise"] == [[0.0, 0.0, 1.0, 1.0]]
    assert [state["output"] for state in fields["either"]["states"]] == [0, 1, 1, 1]
    assert isinstance(hash(TRUTH), int)
