"""Runs of circuits against a plain sum over edges and TransformerLens's own faithfulness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformer_lens.tools.analysis import faithfulness as tl_faithfulness
from transformer_lens.tools.analysis.attribution_patching import (
    EdgeAttributionConfig,
    attribution_patch,
)

from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.faithfulness import faithfulness
from neoscope.patching.circuits.run import CircuitRuns, run_circuits
from neoscope.patching.circuits.search import prune
from neoscope.patching.gradient.edges import eap
from neoscope.patching.metrics import logit_diff, loss, rank
from neoscope.patching.prompts.pairs import read_prompts
from tests.neoscope.patching.gradient.edge_oracle import (
    ANSWER,
    N_POS,
    WRONG,
    circuit_logits,
    difference,
    fresh,
    graph,
    model,
    pairs,
    tl_name,
)

METRIC = logit_diff(ANSWER, WRONG)


def drawn(n: int, share: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed).random((n, *graph().reach.shape))
    return graph().reach & (random < share)


def run(circuits: np.ndarray, n: int = 3, **options: object) -> CircuitRuns:
    prompts = read_prompts(model(), *pairs(n))
    return run_circuits(model(), prompts, METRIC, circuits, **options)  # type: ignore[arg-type]


def test_all_edges_are_the_clean_run_and_none_the_corrupted_one() -> None:
    found = run(np.stack([graph().reach, np.zeros_like(graph().reach)]))
    assert np.allclose(found.values[0], found.clean, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found.values[1], found.corrupted)
    assert np.abs(found.clean - found.corrupted).min() > 1e-2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_circuits_equal_a_plain_sum_over_edges(share: float) -> None:
    circuits, (clean, corrupted) = drawn(4, share), pairs(3)
    found = run(circuits)
    for i, chosen in enumerate(circuits):
        logits = circuit_logits(clean, corrupted, Circuit.from_matrix(graph(), chosen).edges)
        expected = (logits[:, -1, ANSWER] - logits[:, -1, WRONG]).numpy()
        assert np.abs(found.values[i] - expected).max() < 1e-5


def test_every_single_edge_equals_a_plain_sum() -> None:
    clean, corrupted = pairs(1)
    every = np.stack([graph().matrix([edge]) for edge in graph().edges])
    less = graph().reach & ~every
    found = run(np.concatenate([every, less]), 1)
    for i, edge in enumerate(graph().edges):
        for values, edges in (
            (found.values[i], [edge]),
            (found.values[100 + i], [e for e in graph().edges if e != edge]),
        ):
            logits = circuit_logits(clean, corrupted, edges)
            assert values[0] == pytest.approx(float(difference(logits)), abs=1e-5)


def test_faithfulness_equals_transformer_lens() -> None:
    clean, corrupted = (x[:1] for x in pairs())
    circuit = eap(model(), clean, corrupted, METRIC).circuit(40)
    config = EdgeAttributionConfig(granularity="edge")
    theirs = attribution_patch(fresh(), clean, corrupted, difference, config).edge_scores
    names = set(map(str, circuit.edges))
    kept = [edge for edge in theirs if f"{tl_name(edge[0])}->{tl_name(edge[1])}" in names]
    expected = tl_faithfulness(fresh(), clean, corrupted, difference, kept).recovered
    found = faithfulness(model(), circuit, clean, corrupted, METRIC).value
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(found - 1) > 1e-2


def test_padding_changes_nothing() -> None:
    clean, corrupted = pairs(2)
    short = [clean[0, 1:].tolist()], [corrupted[0, 1:].tolist()]
    circuits = drawn(3, 0.5)
    alone = run_circuits(model(), read_prompts(model(), *short), METRIC, circuits)
    both = read_prompts(model(), [*short[0], clean[1].tolist()], [*short[1], corrupted[1].tolist()])
    found = run_circuits(model(), both, METRIC, circuits)
    assert np.allclose(found.values[:, 0], alone.values[:, 0], atol=1e-5)


@pytest.mark.parametrize("budget", [N_POS, 2 * N_POS, 7 * N_POS])
def test_a_token_budget_changes_no_number(budget: int) -> None:
    circuits = drawn(5, 0.4)
    assert np.allclose(run(circuits).values, run(circuits, batch_tokens=budget).values, atol=1e-5)


def test_pruning_changes_no_number() -> None:
    circuits = drawn(8, 0.08, seed=3)
    pruned = np.stack([prune(graph(), chosen) for chosen in circuits])
    assert pruned.sum() < circuits.sum()
    assert np.allclose(run(circuits).values, run(pruned).values, atol=1e-5)


def test_metrics_that_need_other_positions_or_no_gradient() -> None:
    clean, corrupted = pairs(2)
    prompts = read_prompts(model(), clean, corrupted)
    circuits = drawn(2, 0.5)

    def early(logits: torch.Tensor) -> torch.Tensor:
        assert logits.shape[0] == 2  # all pairs of one circuit
        return logits[:, 0, 3] - 2 * logits[:, 1, 4]

    found = run_circuits(model(), prompts, early, circuits, metric_positions=[1, 4]).values
    ranks = run_circuits(model(), prompts, rank(ANSWER), circuits).values
    whole = run_circuits(model(), prompts, loss(), circuits).values
    for i, chosen in enumerate(circuits):
        logits = circuit_logits(clean, corrupted, Circuit.from_matrix(graph(), chosen).edges)
        expected = logits[:, 1, 3] - 2 * logits[:, 4, 4]
        assert np.allclose(found[i], expected.numpy(), atol=1e-5)
        place = (logits[:, -1] > logits[:, -1, ANSWER : ANSWER + 1]).sum(-1)
        assert len(set((ranks[i] - place.numpy()).tolist())) == 1
        assert np.isfinite(whole[i]).all()


def test_bad_input_is_refused() -> None:
    prompts = read_prompts(model(), *pairs(2))
    with pytest.raises(PatchingError, match="too small"):
        run_circuits(model(), prompts, METRIC, drawn(1, 0.5), batch_tokens=3)
    alone = read_prompts(model(), pairs(2)[0])
    with pytest.raises(PatchingError, match="corrupted"):
        run_circuits(model(), alone, METRIC, drawn(1, 0.5))
