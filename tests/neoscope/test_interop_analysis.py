"""TransformerLens's analysis tools on our model, against its bridge, an oracle or a theorem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens import SVDInterpreter
from transformer_lens.head_detector import HEAD_NAMES, detect_head
from transformer_lens.tools.analysis import (
    EdgeAttributionConfig,
    FaithfulnessConfig,
    attribution_patch,
    direct_logit_attribution,
    faithfulness,
    logit_lens,
    logit_readout,
)
from transformer_lens.utilities import test_prompt as show_prompt

from tests.neoscope.interop_models import (
    N_HEADS,
    N_LAYERS,
    N_POS,
    Writers,
    fresh,
    fresh_bridge,
    gap,
    pair,
    plain,
    quiet,
    whole,
)

TWO = pair()
EDGES = EdgeAttributionConfig(granularity="edge")
CLEAN, CORRUPT = TWO.clean[:1], TWO.corrupted[:1]
WRITERS = {"embed": "embed", "attn_head_out": "head", "mlp_out": "mlp"}
READERS = {"q_input": "q", "k_input": "k", "v_input": "v", "mlp_in": "mlp", "logits": "logits"}
Edge = tuple[Any, Any]


def place(node: Any) -> tuple[str, int, int]:
    """What the oracle calls a writer or a reader."""
    layer = -1 if node.layer is None else node.layer
    head = -1 if node.head is None else node.head
    return (WRITERS | READERS)[node.kind], layer, head


def edge_scores() -> dict[Edge, float]:
    result = attribution_patch(fresh(), CLEAN, CORRUPT, TWO.metric, EDGES)
    scores: dict[Edge, float] = result.edge_scores
    return scores


# ---- attribution patching and faithfulness -----------------------------------------------------


def test_node_attribution_equals_the_bridge() -> None:
    ours = attribution_patch(TWO.ours, TWO.clean, TWO.corrupted, TWO.metric).node_scores
    theirs = attribution_patch(TWO.bridge, TWO.clean, TWO.corrupted, TWO.metric).node_scores
    assert set(ours) == set(theirs)
    assert len(ours) == N_POS * (1 + N_LAYERS * (N_HEADS + 1))
    assert max(abs(ours[node] - theirs[node]) for node in ours) < 1e-5
    assert max(map(abs, ours.values())) > 0.05


def test_edge_attribution_equals_the_oracle() -> None:
    # The oracle lets every edge carry a little of the clean write, and differentiates by how much.
    scores = edge_scores()
    edges = list(scores)
    share = torch.zeros(len(edges), requires_grad=True)
    _, clean = plain(TWO.ours, CLEAN)
    _, corrupted = plain(TWO.ours, CORRUPT)

    def read(kind: str, layer: int, head: int, writers: Writers) -> Tensor:
        x = whole(kind, layer, head, writers).clone()
        for i, (writer, reader) in enumerate(edges):
            if place(reader) == (kind, layer, head):
                delta = (clean[place(writer)] - corrupted[place(writer)]).detach()
                x[:, reader.position] += share[i] * delta[:, reader.position]
        return x

    (expected,) = torch.autograd.grad(TWO.metric(plain(TWO.ours, CORRUPT, read)[0]), share)
    assert gap(torch.tensor(list(scores.values())), expected) < 1e-5
    assert expected.abs().max() > 0.05


def test_edges_of_a_node_sum_to_the_node() -> None:
    model = fresh()
    nodes = attribution_patch(model, TWO.clean, TWO.corrupted, TWO.metric).node_scores
    edges = attribution_patch(model, TWO.clean, TWO.corrupted, TWO.metric, EDGES)
    assert len(edges.edge_scores) == N_POS * 100
    assert max(abs(nodes[node] - edges.node_scores[node]) for node in nodes) < 1e-5
    assert not any(
        (model.cfg.use_attn_result, model.cfg.use_split_qkv_input, model.cfg.use_hook_mlp_in)
    )


def recovered_by_oracle(circuit: Sequence[Edge], replacement: Writers) -> float:
    """The recovered fraction when every edge outside the circuit carries the replacement."""
    kept = set(circuit)
    cut = [edge for edge in edge_scores() if edge not in kept]

    def read(kind: str, layer: int, head: int, writers: Writers) -> Tensor:
        x = whole(kind, layer, head, writers).clone()
        for writer, reader in cut:
            if place(reader) == (kind, layer, head):
                change = replacement[place(writer)] - writers[place(writer)]
                x[:, reader.position] += change[:, reader.position]
        return x

    runs = (plain(TWO.ours, CLEAN, read), plain(TWO.ours, CORRUPT), plain(TWO.ours, CLEAN))
    ablated, corrupted, clean = (float(TWO.metric(logits).detach()) for logits, _ in runs)
    return (ablated - corrupted) / (clean - corrupted)


def test_faithfulness_equals_the_oracle() -> None:
    scores = edge_scores()
    circuit = sorted(scores, key=lambda edge: -abs(scores[edge]))[:150]
    found = faithfulness(fresh(), CLEAN, CORRUPT, TWO.metric, circuit)
    expected = recovered_by_oracle(circuit, plain(TWO.ours, CORRUPT)[1])
    assert found.recovered == pytest.approx(expected, abs=1e-4)
    assert abs(expected - 1) > 0.05
    assert (found.circuit_size, found.total_edges) == (150, len(scores))


def test_faithfulness_to_the_mean_equals_the_oracle() -> None:
    scores = edge_scores()
    circuit = sorted(scores, key=lambda edge: -abs(scores[edge]))[:300]
    others = torch.randint(1, 16, (5, N_POS), generator=torch.Generator().manual_seed(0))
    found = faithfulness(
        fresh(),
        CLEAN,
        CORRUPT,
        TWO.metric,
        circuit,
        FaithfulnessConfig(ablation="mean"),
        mean_tokens=others,
    )
    mean = {key: x.mean(0, keepdim=True) for key, x in plain(TWO.ours, others)[1].items()}
    assert found.recovered == pytest.approx(recovered_by_oracle(circuit, mean), abs=1e-4)


def test_whole_circuit_is_faithful_and_the_empty_one_is_not() -> None:
    edges = list(edge_scores())
    whole_circuit = faithfulness(fresh(), CLEAN, CORRUPT, TWO.metric, edges)
    assert whole_circuit.recovered == pytest.approx(1, abs=1e-5)
    empty = faithfulness(fresh(), CLEAN, CORRUPT, TWO.metric, [])
    assert empty.recovered == pytest.approx(0, abs=1e-4)


# ---- logit lens and direct logit attribution ---------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"positions": None, "incl_mid": True},
        {"targets": [3, 5], "return_type": "log_probs"},
        {"top_k": 4, "return_type": "probs"},
        {"apply_ln": False, "layers": [0, -1]},
    ],
)
def test_logit_lens_equals_the_bridge(options: dict[str, Any]) -> None:
    ours, theirs = (logit_lens(model, TWO.clean, **options) for model in (TWO.ours, TWO.bridge))
    assert ours.labels == theirs.labels
    assert gap(ours.values, theirs.values) < 1e-5
    for name in ("top_ids", "target_ranks"):
        expected = getattr(theirs.readout, name)
        assert expected is None or torch.equal(getattr(ours.readout, name), expected)


def test_logit_lens_ends_in_the_logits() -> None:
    logits, cache = TWO.ours.run_with_cache(TWO.clean)
    for result in (
        logit_lens(TWO.ours, TWO.clean, positions=None),
        logit_lens(TWO.ours, cache=cache, positions=None),
        logit_lens(cache.to_transformer_lens(), positions=None),
        cache.logit_lens(positions=None),
    ):
        assert gap(result.values[-1], logits) < 1e-5


def test_logit_readout_of_a_direction_equals_the_bridge() -> None:
    vectors = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    word = TWO.ours.to_string(torch.tensor([5]))
    ours, theirs = (logit_readout(m, vectors, targets=word) for m in (TWO.ours, TWO.bridge))
    assert gap(ours.values, theirs.values) < 1e-5
    assert gap(ours.entropy, theirs.entropy) < 1e-5


@pytest.mark.parametrize("unit", ["component", "layer", "head"])
def test_direct_logit_attribution_equals_the_folded_bridge(unit: str) -> None:
    # The bridge answers only with its weights processed; in logit differences that cancels.
    folded = fresh_bridge()
    with quiet():
        folded.enable_compatibility_mode()
    answer, wrong = torch.tensor([2, 5]), torch.tensor([5, 9])
    ours, theirs = (
        direct_logit_attribution(model, TWO.clean, answer, wrong, unit=unit)
        for model in (TWO.ours, folded)
    )
    assert ours.labels == theirs.labels
    found = ours.attribution
    if unit == "head":
        # There, what the norm's bias writes through a head's values is not counted as the head's.
        found = found.clone()
        through_bias = attribution_of_norm_bias(answer, wrong)
        found[:-1] -= through_bias
        found[-1] += through_bias.sum(0)
    assert gap(found, theirs.attribution) < 1e-5
    if unit != "layer":
        logits = TWO.ours(TWO.clean)[:, -1]
        rows = torch.arange(2)
        constant = TWO.ours.ln_final.b @ (TWO.ours.W_U[:, answer] - TWO.ours.W_U[:, wrong])
        total = ours.attribution.sum(0) + constant
        assert gap(total, logits[rows, answer] - logits[rows, wrong]) < 1e-5


def attribution_of_norm_bias(answer: Tensor, wrong: Tensor) -> Tensor:
    _, cache = TWO.ours.run_with_cache(TWO.clean)
    writes = torch.stack(
        [
            block.ln1.b @ block.attn.W_V[head] @ block.attn.W_O[head]
            for block in TWO.ours.blocks
            for head in range(N_HEADS)
        ]
    )
    stack = writes[:, None].expand(-1, len(TWO.clean), -1)
    attribution: Tensor = cache.logit_attrs(stack, answer, wrong, pos_slice=-1)
    return attribution


def test_direct_logit_attribution_takes_a_cache_of_either_kind() -> None:
    _, cache = TWO.ours.run_with_cache(TWO.clean)
    expected = direct_logit_attribution(TWO.ours, TWO.clean, 2, 5).attribution
    for given in (cache, cache.to_transformer_lens()):
        found = direct_logit_attribution(TWO.ours, answer_tokens=2, incorrect_tokens=5, cache=given)
        assert gap(found.attribution, expected) < 1e-5


# ---- heads and weights -------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["mul", "abs"])
@pytest.mark.parametrize("head", HEAD_NAMES)
def test_head_detector_equals_the_bridge(head: Any, measure: Any) -> None:
    text = " ".join(TWO.ours.to_str_tokens(torch.tensor([3, 4, 5, 6, 3, 4, 5, 6, 3])))
    options = {"exclude_bos": True, "exclude_current_token": True, "error_measure": measure}
    ours, theirs = (detect_head(m, [text, text], head, **options) for m in (TWO.ours, TWO.bridge))
    # "abs" is rounded to three decimals.
    assert gap(ours, theirs) < (1e-5 if measure == "mul" else 1.1e-3)
    assert ours.shape == (N_LAYERS, N_HEADS)


def test_head_detector_takes_our_cache_and_leaves_it_as_it_was() -> None:
    tokens = torch.tensor([[3, 4, 5, 6, 3, 4]])
    text = " ".join(TWO.ours.to_str_tokens(tokens[0]))
    _, cache = TWO.ours.run_with_cache(tokens, remove_batch_dim=True)
    before = cache["pattern", 0].clone()
    heads = [(0, 1), (2, 0)]
    found = detect_head(
        TWO.ours, text, "previous_token_head", heads, cache, exclude_current_token=True
    )
    assert torch.equal(cache["pattern", 0], before)
    pattern = before[1] - before[1].diag().diag()
    assert found[0, 1] == pytest.approx(float(pattern.diag(-1).sum() / pattern.sum()), abs=1e-5)
    assert found[0, 0] == found[1, 1] == -1


@pytest.mark.parametrize("layer", range(N_LAYERS))
@pytest.mark.parametrize(("kind", "head"), [("OV", 0), ("OV", 1), ("w_in", None), ("w_out", None)])
def test_singular_vectors_equal_the_bridge(kind: Any, head: int | None, layer: int) -> None:
    ours, theirs = (
        SVDInterpreter(model).get_singular_vectors(kind, layer, 5, head)
        for model in (TWO.ours, TWO.bridge)
    )
    assert gap(ours, theirs) < 1e-5


def test_prompt_test_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(TWO.ours.to_str_tokens(TWO.clean[0]))
    answer = TWO.ours.to_string(TWO.ours(TWO.clean[:1])[0, -1].argmax()[None])
    show_prompt(text, answer, TWO.ours, prepend_space_to_answer=False)
    assert "Rank: 0" in capsys.readouterr().out
