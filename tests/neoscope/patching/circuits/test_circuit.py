"""Circuits as values, and how they are found from scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.graph import Graph, node_of
from neoscope.patching.circuits.search import find_edges, prune

GRAPH = Graph(n_layers=3, n_heads=2)


def drawn(seed: int) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(size=GRAPH.reach.shape)
    scores[~GRAPH.reach] = np.nan
    return scores


def names(chosen: np.ndarray) -> set[str]:
    return {str(edge) for edge in Circuit.from_matrix(GRAPH, chosen).edges}


# ---- search -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_top_takes_the_largest(seed: int) -> None:
    scores = drawn(seed)
    chosen = find_edges(GRAPH, scores, 17, "top")
    assert chosen.sum() == 17
    assert np.abs(scores[chosen]).min() > np.nanmax(np.where(chosen, np.nan, np.abs(scores)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 6, 40, 100])
def test_greedy_equals_a_plain_search(seed: int, n: int) -> None:
    scores = drawn(seed)
    inside, expected = {"logits"}, set()
    while len(expected) < n:
        open_edges = [e for e in GRAPH.edges if e.node in inside and str(e) not in expected]
        if not open_edges:
            break
        best = max(open_edges, key=lambda e: abs(scores[GRAPH.index(e)]))
        expected.add(str(best))
        inside.add(best.sender)
    assert names(find_edges(GRAPH, scores, n, "greedy")) == expected


def test_all_edges_are_found_in_the_end() -> None:
    for method in ("top", "greedy"):
        assert np.array_equal(find_edges(GRAPH, drawn(0), 100, method), GRAPH.reach)


@pytest.mark.parametrize("seed", range(4))
def test_pruning_leaves_the_edges_on_paths_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = GRAPH.reach & (rng.random(GRAPH.reach.shape) < 0.08)
    edges = Circuit.from_matrix(GRAPH, chosen).edges

    def paths(node: str) -> list[list[str]]:
        if node == "logits":
            return [[]]
        out = []
        for edge in edges:
            if edge.sender == node:
                out += [[str(edge), *rest] for rest in paths(node_of(edge.receiver))]
        return out

    on_paths = {edge for path in paths("embed") for edge in path}
    assert names(prune(GRAPH, chosen)) == on_paths


def test_search_refuses_what_means_nothing() -> None:
    for n in (0, 101, True):
        with pytest.raises(PatchingError, match="the graph has 100 edges"):
            find_edges(GRAPH, drawn(0), n)
    with pytest.raises(PatchingError, match="did you mean 'greedy'"):
        find_edges(GRAPH, drawn(0), 3, "greed")
    missing = drawn(0)
    missing[0, 0] = np.nan
    with pytest.raises(PatchingError, match="no score"):
        find_edges(GRAPH, missing, 3)


# ---- the value ----------------------------------------------------------------------------------


CIRCUIT = Circuit.of(
    GRAPH, ["m0->logits", "embed->a0.h1<q>", ("a0.h1", "m0"), "a0.h1->m0"], model="small"
)


def test_edges_stand_in_the_order_of_the_graph_each_once() -> None:
    assert [str(edge) for edge in CIRCUIT.edges] == ["embed->a0.h1<q>", "a0.h1->m0", "m0->logits"]
    assert CIRCUIT.nodes == ("embed", "a0.h1", "m0", "logits")
    assert repr(CIRCUIT) == ("Circuit(3 of 100 edges, 4 of 11 nodes: embed, a0.h1, m0, logits)")


def test_a_table_has_a_row_for_each_edge() -> None:
    assert CIRCUIT.to_dataframe().receiver.tolist() == ["a0.h1<q>", "m0", "logits"]
    assert CIRCUIT.to_dataframe().score.isna().all()
    scores = drawn(0)
    found = Circuit.from_matrix(GRAPH, find_edges(GRAPH, scores, 5), scores=scores).to_dataframe()
    assert sorted(abs(found.score)) == sorted(abs(scores[find_edges(GRAPH, scores, 5)]))


def test_complement_and_without() -> None:
    rest = CIRCUIT.complement()
    assert len(rest) == 97 and not set(rest.edges) & set(CIRCUIT.edges)
    assert rest.complement().edges == CIRCUIT.edges
    less = CIRCUIT.without("a0.h1->m0")
    assert [str(edge) for edge in less.edges] == ["embed->a0.h1<q>", "m0->logits"]
    assert "a0.h1->m0" in CIRCUIT and "a0.h1->m0" not in less
    assert len(less.pruned()) == 0
    with pytest.raises(PatchingError, match="not part of the circuit of 3 edges"):
        CIRCUIT.without("m1->logits")


def test_scores_stay_with_their_edges() -> None:
    scores = drawn(1)
    circuit = Circuit.from_matrix(GRAPH, find_edges(GRAPH, scores, 12, "top"), scores=scores)
    less = circuit.without(circuit.edges[4])
    for each in (circuit, less, circuit.pruned()):
        assert each.scores is not None
        for edge, score in zip(each.edges, each.scores, strict=True):
            assert score == scores[GRAPH.index(edge)]


def test_networkx_gets_all_of_it() -> None:
    import networkx as nx

    scores = drawn(2)
    circuit = Circuit.from_matrix(GRAPH, find_edges(GRAPH, scores, 30), scores=scores)
    found = circuit.to_networkx()
    assert found.number_of_edges() == 30 and set(found.nodes) == set(circuit.nodes)
    kept = {(u, data["receiver"]): data["score"] for u, _, data in found.edges(data=True)}
    assert kept == {
        (edge.sender, edge.receiver): scores[GRAPH.index(edge)] for edge in circuit.edges
    }
    assert nx.is_directed_acyclic_graph(found)
    assert found.nodes["logits"] == {"kind": "logits"}
    drawn_circuit = CIRCUIT.to_networkx()
    assert drawn_circuit.nodes["a0.h1"] == {"kind": "head", "layer": 0, "head": 1}
    assert drawn_circuit.nodes["m0"] == {"kind": "mlp", "layer": 0}
    assert drawn_circuit.edges["embed", "a0.h1", "q"] == {"receiver": "a0.h1<q>"}
    assert ("a0.h1", "m0", "in") in drawn_circuit.edges


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    scores = drawn(3)
    for circuit in (CIRCUIT, Circuit.from_matrix(GRAPH, scores > 1, scores=scores, source="drawn")):
        path = circuit.save(tmp_path / "circuit.json")
        assert Circuit.load(path) == circuit
    assert json.loads(path.read_text())["n_layers"] == 3


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "another"}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "circuit.json"
    path.write_text(text)
    with pytest.raises(PatchingError, match="circuit"):
        Circuit.load(path)
