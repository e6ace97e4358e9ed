"""Names of senders and receivers, which edges there are, and what is said of all others."""

from __future__ import annotations

import numpy as np
import pytest

from neoscope import NeoConfig
from neoscope.errors import PatchingError
from neoscope.patching.circuits.graph import Edge, Graph, node_of

GRAPH = Graph(n_layers=3, n_heads=2)


def test_edges_are_all_senders_before_each_receiver() -> None:
    # Of a layer, 6 inputs see what came before, and the MLP its two heads besides.
    before = [1, 4, 7]
    expected = sum(6 * n + n + 2 for n in before) + 10
    assert len(GRAPH.edges) == GRAPH.reach.sum() == expected == 100
    assert len(set(GRAPH.edges)) == len(GRAPH.edges)
    assert [GRAPH.before(layer) for layer in range(4)] == [1, 4, 7, 10]


def test_a_125m_has_its_known_number_of_edges() -> None:
    graph = Graph.of(NeoConfig())
    assert (len(graph.senders), len(graph.receivers), len(graph.edges)) == (157, 445, 32491)


def test_attention_and_mlp_of_a_block_follow_one_another() -> None:
    names = set(map(str, GRAPH.edges))
    assert {"a1.h0->m1", "a0.h1->a1.h0<k>", "m0->a1.h1<v>", "embed->logits"} <= names
    assert not {"m1->a1.h0<q>", "a1.h0->a1.h1<q>", "m1->m1", "a2.h0->m1"} & names


def test_places_agree_with_names() -> None:
    for layer in range(3):
        receivers = GRAPH.receivers[GRAPH.attention(layer)]
        kinds = [(kind, head) for kind in "qkv" for head in range(2)]
        assert receivers == tuple(f"a{layer}.h{head}<{kind}>" for kind, head in kinds)
        assert GRAPH.receivers[GRAPH.mlp(layer)] == f"m{layer}"
    for edge in GRAPH.edges:
        sender, receiver = GRAPH.index(edge)
        assert (GRAPH.senders[sender], GRAPH.receivers[receiver]) == (edge.sender, edge.receiver)


@pytest.mark.parametrize(
    "given",
    ["a0.h1->a2.h0<k>", " a0.h1 -> a2.h0<k> ", ("a0.h1", "a2.h0<k>"), ["a0.h1", "a2.h0<k>"]],
)
def test_an_edge_is_read_in_every_form(given: object) -> None:
    edge = GRAPH.edge(given)  # type: ignore[arg-type]
    assert edge == Edge("a0.h1", "a2.h0<k>") == GRAPH.edge(edge)
    assert (str(edge), edge.node) == ("a0.h1->a2.h0<k>", "a2.h0")


def test_a_node_knows_its_inputs() -> None:
    assert GRAPH.inputs("a2.h1") == ("a2.h1<q>", "a2.h1<k>", "a2.h1<v>")
    assert (GRAPH.inputs("m0"), GRAPH.inputs("logits"), GRAPH.inputs("embed")) == (
        ("m0",), ("logits",), (),
    )  # fmt: skip
    assert {node_of(name) for name in GRAPH.receivers} == set(GRAPH.nodes) - {"embed"}


def test_a_matrix_has_the_named_edges() -> None:
    matrix = GRAPH.matrix(["embed->logits", "m0->m2"])
    assert np.argwhere(matrix).tolist() == [[0, 21], [3, 20]]
    assert not GRAPH.matrix([]).any()
    assert np.array_equal(GRAPH.matrix(GRAPH.edges), GRAPH.reach)


@pytest.mark.parametrize(
    ("edge", "said"),
    [
        ("a0.h2->m1", "'a0.h2' is no sender; did you mean 'a0.h1'?; the model has 3 layers of 2"),
        ("a0.h0->a2.h1<x>", "is no receiver; did you mean 'a2.h1<"),
        ("a0.h0->a2.h1", "a head reads at a2.h1<q>, a2.h1<k>, a2.h1<v>"),
        ("a0.h0->embed", "'embed' is no receiver; it only writes"),
        ("logits->m0", "the logits only read"),
        ("m1->a1.h0<q>", "m1 writes only after a1.h0<q> has read"),
        ("a0.h0", "is no edge; write 'a0.h1->a3.h1<k>'"),
        (("m0",), "is no edge"),
    ],
)
def test_an_edge_that_is_not_there_says_why(edge: object, said: str) -> None:
    with pytest.raises(PatchingError) as error:
        GRAPH.edge(edge)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_a_node_that_is_not_there_says_why() -> None:
    with pytest.raises(PatchingError, match=r"node 'm3' does not exist; did you mean 'm\d'"):
        GRAPH.inputs("m3")
