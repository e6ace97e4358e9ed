"""Shares, intervals, completeness, minimality, and what is known of compiled circuits."""

from __future__ import annotations

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import PatchingError
from neoscope.organism.compiled import INDUCTION_TRUTH
from neoscope.organism.compiled.induction_truth import pairs as induction_pairs
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.faithfulness import completeness, faithfulness
from neoscope.patching.circuits.graph import Graph
from neoscope.patching.circuits.minimality import minimality
from neoscope.patching.gradient.edges import eap, eap_ig
from neoscope.patching.metrics import logit_diff
from neoscope.patching.results.span import check_span
from tests.neoscope.patching.gradient.edge_oracle import ANSWER, WRONG, graph, model, pairs

METRIC = logit_diff(ANSWER, WRONG)
WHOLE = Circuit.of(graph(), graph().edges)
EMPTY = Circuit.of(graph(), [])


def test_the_whole_is_faithful_and_nothing_is_left_without_it() -> None:
    data = (*pairs(4), METRIC)
    assert faithfulness(model(), WHOLE, *data).value == pytest.approx(1, abs=1e-5)
    assert faithfulness(model(), EMPTY, *data).value == 0
    assert completeness(model(), EMPTY, *data).value == pytest.approx(1, abs=1e-5)
    assert completeness(model(), WHOLE, *data).value == 0


def test_the_share_is_a_ratio_of_means_with_an_interval() -> None:
    found = faithfulness(model(), WHOLE.without("embed->logits", "a0.h0->m0"), *pairs(6), METRIC)
    gained, gap = found.patched - found.corrupted, found.clean - found.corrupted
    assert found.value == pytest.approx(gained.mean() / gap.mean())
    low, high = found.interval
    assert low < high
    assert (low, high) == found.bootstrap() == found.bootstrap(0.95, draws=2000, seed=0)
    narrow = found.bootstrap(0.5, seed=1)
    assert low < narrow[0] < narrow[1] < high
    assert found.to_dataframe()["circuit"].tolist() == found.patched.tolist()
    assert "6 pair(s), 98 edges" in repr(found) and "logit_diff" in repr(found)


def test_one_pair_has_no_interval() -> None:
    found = faithfulness(model(), WHOLE, *pairs(1), METRIC)
    assert np.isnan(found.interval).all()


def test_a_tiny_denominator_is_refused() -> None:
    clean, corrupted = pairs(2)
    both = [*clean.tolist(), *corrupted.tolist()]
    other = [*corrupted.tolist(), *clean.tolist()]
    found = faithfulness(model(), WHOLE, both, other, METRIC)
    with pytest.raises(PatchingError, match="cannot normalise"):
        _ = found.value
    with pytest.raises(PatchingError, match="cannot normalise"):
        _ = found.interval
    assert "undefined" in repr(found)
    nothing = np.zeros(3)
    with pytest.raises(
        PatchingError, match=r"\(3 pairs\): there is nothing between them to divide"
    ):
        check_span(nothing, nothing, "")
    with pytest.raises(PatchingError, match=r"a difference of 0\.5, less than 1;"):
        check_span(nothing + 0.5, nothing, "", 1.0)


def test_completeness_is_the_faithfulness_of_the_rest() -> None:
    data = (*pairs(2), METRIC)
    circuit = eap(model(), *data).circuit(30)
    rest = completeness(model(), circuit, *data)
    assert rest.value == faithfulness(model(), circuit.complement(), *data).value
    assert "without the circuit" in repr(rest)


def test_minimality_is_one_exact_run_an_edge() -> None:
    data = (*pairs(3), METRIC)
    circuit = eap_ig(model(), *data).circuit(12)
    found = minimality(model(), circuit, *data)
    whole = faithfulness(model(), circuit, *data).patched
    assert found.effects.shape == (len(circuit), 3)
    assert np.allclose(found.whole, whole, atol=1e-6)
    for i, edge in enumerate(circuit.edges):
        cut = faithfulness(model(), circuit.without(edge), *data).patched
        assert np.allclose(found.effects[i], whole - cut, atol=1e-5)
    table = found.to_dataframe()
    assert set(table["edge"]) == set(map(str, circuit.edges))
    assert table["effect"].abs().is_monotonic_decreasing
    assert table["edge"][0] in repr(found)


def test_a_circuit_of_another_model_is_refused() -> None:
    other = Circuit.of(Graph(12, 12), ["embed->logits"])
    for measure in (faithfulness, completeness, minimality):
        with pytest.raises(PatchingError, match="12 layers of 12 heads; this one has 3 of 2"):
            measure(model(), other, ["not", "read"], [], METRIC)


def test_scores_are_no_circuit() -> None:
    edges = eap(model(), *pairs(1), METRIC)
    for measure in (faithfulness, completeness, minimality):
        with pytest.raises(
            PatchingError, match=r"EdgeScores, no Circuit; give edges\.circuit\(n\)"
        ):
            measure(model(), edges, *pairs(1), METRIC)


# ---- the compiled induction model ---------------------------------------------------------------


KEY = ("embed->a0.h0<v>", "a0.h0->a1.h0<k>", "a1.h0->logits")
VALUE = ("embed->a1.h0<v>", "a1.h0->logits")


def induction(corruption: str, n: int = 4) -> tuple[object, ...]:
    data = induction_pairs(n, corruption)  # type: ignore[arg-type]
    return data.clean, data.corrupted, logit_diff(data.answer, data.wrong)


@pytest.mark.parametrize("method", ["greedy", "top"])
@pytest.mark.parametrize(("corruption", "edges"), [("value", VALUE), ("key", KEY)])
def test_the_true_edges_are_found(corruption: str, edges: tuple[str, ...], method: str) -> None:
    compiled, data = ns.load("induction"), induction(corruption)
    found = eap_ig(compiled, *data)
    circuit = found.circuit(len(edges), method)
    assert set(map(str, circuit.edges)) == set(edges)
    assert faithfulness(compiled, circuit, *data).value == pytest.approx(1, abs=1e-5)
    assert completeness(compiled, circuit, *data).value == pytest.approx(0, abs=1e-5)
    # Each of them carries all of it: without any one, nothing is left.
    lost = minimality(compiled, circuit, *data).to_dataframe()["share"]
    assert np.allclose(lost, 1, atol=1e-5)


def test_dead_heads_and_mlps_have_no_edges() -> None:
    found = eap_ig(ns.load("induction"), *induction("key"))
    alive = {"embed", "a0.h0", "a1.h0", "logits"}
    for edge in found.graph.edges:
        if edge.sender not in alive or edge.node not in alive:
            assert found[edge] == 0


def test_first_order_slopes_are_the_known_ones() -> None:
    # Sums over what a head's output reaches are the head's own attribution, which is known.
    for corruption in ("value", "key"):
        truth = getattr(INDUCTION_TRUTH, corruption)
        outgoing = eap(ns.load("induction"), *induction(corruption)).node_scores()["outgoing"]
        for layer, heads in enumerate(truth.first_order):
            for head, share in enumerate(heads):
                expected = share * (truth.clean - truth.corrupted)
                assert outgoing[f"a{layer}.h{head}"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_more_steps_tame_the_sharp_softmax() -> None:
    compiled, data = ns.load("induction"), induction("key")
    exact = INDUCTION_TRUTH.logit_diff
    misses = [
        abs(eap_ig(compiled, *data, steps=steps)["a0.h0->a1.h0<k>"] - exact) for steps in (1, 5, 50)
    ]
    assert misses[0] > 40 * exact and misses == sorted(misses)[::-1] and misses[2] < exact
