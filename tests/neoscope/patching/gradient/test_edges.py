"""Edge attribution against TransformerLens's, against plain autograd, and its own sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.patching.gradient.edges import eap, eap_ig
from neoscope.patching.metrics import logit_diff
from tests.neoscope.patching.gradient.edge_oracle import (
    ANSWER,
    WRONG,
    autograd_scores,
    gap,
    model,
    pairs,
    tl_scores,
)

METRIC = logit_diff(ANSWER, WRONG)


def nodes_by_attribution(row: int, steps: int) -> dict[str, float]:
    """Attribution of what senders write: its change times the gradient there."""
    clean, corrupted = (x[row : row + 1] for x in pairs())
    sites = ["blocks.0.hook_resid_pre", "z", "mlp_out"]
    with torch.no_grad():
        a, b = (model().run_with_cache(x, sites=sites)[1] for x in (corrupted, clean))
    begin, end = (cache["blocks.0.hook_resid_pre"] for cache in (a, b))
    scores: dict[str, float] = {}
    for step in range(steps):
        grads = gradients_at_outputs(begin + step / steps * (end - begin))
        parts = {"embed": (grads["resid_pre", 0] * (end - begin)).sum()}
        for layer in range(3):
            z = (grads["z", layer] * (b["z", layer] - a["z", layer])).sum((0, 1, 3))
            parts |= {f"a{layer}.h{head}": z[head] for head in range(2)}
            change = b["mlp_out", layer] - a["mlp_out", layer]
            parts[f"m{layer}"] = (grads["mlp_out", layer] * change).sum()
        for name, part in parts.items():
            scores[name] = scores.get(name, 0.0) + float(part) / steps
    return scores


def gradients_at_outputs(stream: Tensor) -> dict[tuple[str, int], Tensor]:
    from neoscope.edits import transform

    seen: dict[tuple[str, int], Tensor] = {}
    names = [("resid_pre", 0), *((s, i) for i in range(3) for s in ("z", "mlp_out"))]

    def keep(key: tuple[str, int], x: Tensor) -> Tensor:
        seen[key] = x
        return x

    edits = [transform(*key, lambda x, key=key: keep(key, x)) for key in names]
    logits = model()(stream.requires_grad_(True), start_at_layer=0, edits=edits)
    value = logits[0, -1, ANSWER] - logits[0, -1, WRONG]
    return dict(zip(seen, torch.autograd.grad(value, list(seen.values())), strict=True))


# ---- the numbers --------------------------------------------------------------------------------


def test_first_order_equals_transformer_lens() -> None:
    clean, corrupted = pairs()
    assert gap(eap(model(), clean, corrupted, METRIC), tl_scores(clean, corrupted)) < 1e-5


def test_noising_equals_transformer_lens_with_the_prompts_exchanged() -> None:
    clean, corrupted = pairs()
    found = eap(model(), clean, corrupted, METRIC, direction="noise")
    assert gap(found, tl_scores(corrupted, clean)) < 1e-5


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_every_pair_equals_autograd_at_split_inputs(steps: int, noise: bool) -> None:
    clean, corrupted = pairs(3)
    direction = "noise" if noise else "denoise"
    found = eap_ig(model(), clean, corrupted, METRIC, steps=steps, direction=direction)
    for row in range(3):
        expected = autograd_scores(
            clean[row : row + 1], corrupted[row : row + 1], steps, noise=noise
        )
        assert gap(found, expected, row) < 1e-5


def test_other_activations_and_untied_embeddings_equal_autograd() -> None:
    config = ns.NeoConfig(
        n_layers=2, d_model=12, n_heads=3, n_ctx=16, d_vocab=20, act_fn="relu", init_range=0.4,
        tie_word_embeddings=False, attention_layers=("local", "global"), window_size=2,
    )  # fmt: skip
    other = ns.HookedGPTNeo.from_config(config, seed=4)
    clean, corrupted = pairs(1)
    expected = autograd_scores(clean, corrupted, 3, of=other)
    assert gap(eap_ig(other, clean, corrupted, METRIC, steps=3), expected) < 1e-5


@pytest.mark.parametrize("steps", [1, 4])
def test_outgoing_edges_sum_to_the_nodes_own_attribution(steps: int) -> None:
    clean, corrupted = pairs()
    found = eap_ig(model(), clean, corrupted, METRIC, steps=steps)
    outgoing = found.node_scores()["outgoing"]
    rows = [nodes_by_attribution(row, steps) for row in range(2)]
    for node in found.graph.senders:
        expected = float(np.mean([row[node] for row in rows]))
        assert outgoing[node] == pytest.approx(expected, abs=1e-5)


def test_incoming_edges_sum_to_the_attribution_of_what_is_read() -> None:
    # All that a receiver reads differently, b_O aside, which does not differ.
    clean, corrupted = pairs(1)
    expected = autograd_scores(clean, corrupted, 1)
    found = eap(model(), clean, corrupted, METRIC)
    incoming = found.node_scores()["incoming"]
    for node in ("a0.h1", "a2.h0", "m1", "logits"):
        sums = sum(score for edge, score in expected.items() if edge.node == node)
        assert incoming[node] == pytest.approx(sums, abs=1e-5)
    assert np.isnan(incoming["embed"]) and np.isnan(found.node_scores()["outgoing"]["logits"])


def test_one_step_is_first_order() -> None:
    clean, corrupted = pairs()
    one, other = (
        eap(model(), clean, corrupted, METRIC),
        eap_ig(model(), clean, corrupted, METRIC, steps=1),
    )
    assert np.array_equal(one.mean, other.mean, equal_nan=True)
    assert (one.method, other.method, one.steps, other.steps) == ("EAP", "EAP-IG", 1, 1)


def test_baselines_are_those_of_the_runs() -> None:
    clean, corrupted = pairs()
    for direction in ("denoise", "noise"):
        found = eap_ig(model(), clean, corrupted, METRIC, direction=direction)
        for tokens, values in ((clean, found.clean), (corrupted, found.corrupted)):
            logits = model()(tokens)[:, -1].detach()
            expected = logits[:, ANSWER] - logits[:, WRONG]
            assert np.allclose(values, expected.numpy(), atol=1e-5)
