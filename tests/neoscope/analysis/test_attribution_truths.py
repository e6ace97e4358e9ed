"""Attribution finds what compiled models do, and what TransformerLens finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.analysis import direct_logit_attribution
from neoscope.organism import compiled
from tests.neoscope.analysis.attribution_models import IDS, random_model
from tests.neoscope.analysis.attribution_runs import rows_of


def test_compiled_induction_is_exact() -> None:
    truth, pairs = compiled.INDUCTION_TRUTH, compiled.pairs(8, "value")
    one = ns.load("induction")
    _, cache = one.run_with_cache(pairs.clean)
    found = direct_logit_attribution(cache, pairs.answer, pairs.wrong)
    np.testing.assert_allclose(found.heads, truth.direct, rtol=0, atol=1e-5)
    others = found.values[:, ~((found.layer == 1) & (found.head == 0))]
    assert np.abs(others).max() == 0  # embeddings, layer 0, biases and MLPs write exactly nothing
    np.testing.assert_allclose(found.logit, truth.logit_diff, atol=1e-5)
    by_source = direct_logit_attribution(cache, pairs.answer, pairs.wrong, by="source")
    best = int(np.abs(by_source.mean).argmax())
    assert (by_source.source[best], by_source.head[best]) == (7, 0)  # the answer's first copy
    assert by_source.mean[best] == pytest.approx(truth.logit_diff, abs=1e-5)


@pytest.mark.parametrize("relation", [0, 1])
def test_compiled_facts_are_exact(relation: int) -> None:
    truth, prompts = compiled.FACT_TRUTH, compiled.fact_prompts()
    rows = prompts.relation == relation
    answer = prompts.answer[rows]
    mine, others = (truth.relations[i].objects for i in (relation, 1 - relation))
    sibling = torch.tensor([next(o for o in mine if o != int(a)) for a in answer])
    one = ns.load("facts")
    _, cache = one.run_with_cache(prompts.tokens[rows])
    cases = ((sibling, truth.direct), (others[0], truth.direct_other))
    for wrong, expected in cases:
        found = direct_logit_attribution(cache, answer, wrong)
        layer, head = truth.relations[relation].mover
        heads = np.zeros_like(found.heads)
        heads[layer, head] = expected.mover
        np.testing.assert_allclose(found.heads, heads, atol=1e-5)
        np.testing.assert_allclose(found.mean[rows_of(found, "mlp")], expected.mlps, atol=1e-5)
        np.testing.assert_allclose(found.total, expected.total, atol=1e-5)
        assert np.abs(found.mean[rows_of(found, "embed")]).max() < 1e-5


def test_the_neuron_that_knows_the_relation_is_found() -> None:
    truth, prompts = compiled.FACT_TRUTH, compiled.fact_prompts()
    relation = truth.relations[0]
    rows = prompts.relation == 0
    one = ns.load("facts")
    _, cache = one.run_with_cache(prompts.tokens[rows])
    wrong = truth.relations[1].objects[0]
    found = direct_logit_attribution(cache, prompts.answer[rows], wrong, by="neuron")
    best = found.to_dataframe().query("kind == 'neuron'").sort_values("attribution").iloc[-1]
    assert (best.layer, best.neuron) == (truth.prior_layer, relation.neuron)
    assert best.attribution == pytest.approx(truth.direct_other.mlps[1], abs=1e-5)


def test_components_equal_transformer_lens() -> None:
    one = random_model()
    _, cache = one.run_with_cache(IDS)
    lens = cache.to_transformer_lens()
    stack, names = lens.decompose_resid(layer=-1, pos_slice=-1, mode="all", return_labels=True)
    theirs = lens.logit_attrs(stack, torch.tensor([2, 5]), torch.tensor([7, 1]), pos_slice=-1)
    heads = lens.stack_head_results(layer=-1, pos_slice=-1)
    by_head = lens.logit_attrs(heads, torch.tensor([2, 5]), torch.tensor([7, 1]), pos_slice=-1)
    found = direct_logit_attribution(cache, [2, 5], [7, 1])
    ours = dict(zip(found.labels(), found.values.T, strict=True))
    for name, values in zip(names, theirs.detach().numpy(), strict=True):
        layer = int(name.split("_")[0]) if name[0].isdigit() else -1
        if name.endswith("mlp_out"):
            mine = ours[f"MLP {layer}"]
        elif name.endswith("attn_out"):
            mine = ours[f"attn bias {layer}"] + sum(ours[f"head {layer}.{h}"] for h in range(3))
        else:
            mine = ours[name]
        np.testing.assert_allclose(mine, values, rtol=0, atol=1e-5)
    mine = np.stack([ours[f"head {layer}.{head}"] for layer in range(3) for head in range(3)])
    np.testing.assert_allclose(mine, by_head.detach().numpy(), rtol=0, atol=1e-5)
