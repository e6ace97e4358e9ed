"""top_activations finds what was planted, and says what it writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import (
    DIRECTION_TRUTH,
    FACT_TRUTH,
    GATES_TRUTH,
    direction_prompts,
    fact_prompts,
    gate_prompts,
)
from tests.neoscope.analysis.neuron_runs import find, spelled


def test_planted_neurons_fire_at_their_subjects_alone() -> None:
    model = ns.load("facts")
    prompts = fact_prompts()
    found = find(model, spelled(model, prompts.tokens), layer=FACT_TRUTH.recall_layer, k=40)
    for subject, neuron in zip(FACT_TRUTH.subjects, FACT_TRUTH.neurons, strict=True):
        top = found.places(neuron)
        fires = top[top.value > 1]
        assert set(fires.token.str.strip()) == {FACT_TRUTH.words[subject]}
        assert len(fires) == int((prompts.tokens == subject).sum())
        np.testing.assert_allclose(fires.value, FACT_TRUTH.on, rtol=1e-4)


def test_a_gate_is_on_where_the_truth_says_and_raises_its_answer() -> None:
    model = ns.load("gates")
    truth = GATES_TRUTH.both
    found = find(model, spelled(model, gate_prompts("and")), layer=0, unit=truth.neurons[0], k=1)
    assert found.places().context[0] == "<|endoftext|> on on «and»"
    on = max(state.post[truth.neurons[0]] for state in truth.states)
    assert found.top_value[0, 0] == pytest.approx(on, rel=1e-4)
    effect = found.logit_effect()
    assert effect[effect.end == "promoted"].token.iloc[0].strip() == "true"
    assert effect[effect.end == "suppressed"].token.iloc[0].strip() == "false"
    # The layer norm divides by its scale: what the neuron writes is what the truth says it does.
    state = truth.states[3]
    logits = float(effect.effect.max() - effect.effect.min()) * on
    _, cache = model.run_with_cache(gate_prompts("and")[3:], sites="ln_final.scale")
    scale = float(cache["ln_final.scale"][0, -1, 0])
    assert logits / scale == pytest.approx(state.direct_neurons[truth.neurons[0]], rel=1e-4)


def test_a_planted_direction_parts_the_classes() -> None:
    model = ns.load("direction")
    prompts = direction_prompts(64)
    found = find(
        model,
        spelled(model, prompts.tokens),
        site=DIRECTION_TRUTH.site,
        layer=DIRECTION_TRUTH.layer,
        direction=DIRECTION_TRUTH.direction,
        k=32,
    )
    assert found.units == ("direction 0",)
    size = DIRECTION_TRUTH.projection
    np.testing.assert_allclose(found.top_value[0], size, atol=1e-4)
    np.testing.assert_allclose(found.bottom_value[0], -size, atol=1e-4)
    last = prompts.tokens.shape[1] - 1
    for end, positive in (("top", True), ("bottom", False)):
        table = found.places(0, end)
        assert (table.position == last).all()
        assert all(bool(prompts.label[i]) is positive for i in table.text)


def test_a_stack_of_directions_is_each_of_them(model: HookedGPTNeo) -> None:
    stack = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    found = find(model, layer=1, direction=stack)
    assert found.site.endswith("hook_resid_post")
    for i in range(3):
        one = find(model, layer=1, direction=stack[i].double().numpy())
        np.testing.assert_allclose(found.top_value[i], one.top_value[0], atol=1e-5)
        assert found.promoted[i] == one.promoted[0]
        assert found.places(i)["context"].tolist() == one.places()["context"].tolist()


@pytest.mark.parametrize(("site", "direct"), [("post", True), ("z", True), ("q", False)])
def test_logit_effect_is_what_writing_does(model: HookedGPTNeo, site: str, direct: bool) -> None:
    unit, d_head = 9, model.config.d_head
    found = find(model, site=site, layer=3, unit=unit, n_logits=5)
    if not direct:
        assert found.promoted_id.shape == (1, 0)
        assert len(found.logit_effect()) == 0
        return
    block = model.blocks[3]
    w = block.mlp.W_out[unit] if site == "post" else block.attn.W_O[unit // d_head, unit % d_head]
    rows = model.unembed.rows.double()
    read = (w.double() - w.double().mean()) * model.ln_final.w.double()
    expected = (rows - rows.mean(0)) @ read
    order = expected.argsort(descending=True)
    assert found.promoted_id[0].tolist() == order[:5].tolist()
    assert found.suppressed_id[0].tolist() == order.flip(0)[:5].tolist()
    np.testing.assert_allclose(
        found.promoted_effect[0], expected[order[:5]].detach().numpy(), atol=1e-5
    )
