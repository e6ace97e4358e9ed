"""Circuits as graphs, paths as heatmaps, faithfulness as curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope import patching, views
from neoscope.errors import ViewError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.graph import Edge, Graph
from neoscope.views.figures.circuits.drawing import bend, place


@pytest.fixture(scope="module")
def induction() -> Any:
    """The compiled induction circuit, scored."""
    model, data = ns.load("induction"), ns.organism.compiled.pairs(4, "key")
    metric = patching.logit_diff(data.answer, data.wrong)
    return model, data, metric, patching.eap(model, data.clean, data.corrupted, metric)


def said(figure: Any) -> str:
    return f"{figure.layout.title.text} {figure.layout.title.subtitle.text}"


def nodes(figure: Any) -> Any:
    return next(trace for trace in figure.data if trace.name == "nodes")


def scored(*scores: float) -> Circuit:
    graph = Graph(2, 2)
    chosen = np.zeros(graph.reach.shape, bool)
    table = np.zeros(graph.reach.shape)
    edges = ("embed->a0.h0<v>", "a0.h0->a1.h1<k>", "embed->a1.h1<q>", "a1.h1->logits")
    for edge, score in zip(edges, scores, strict=False):
        chosen[graph.index(edge)], table[graph.index(edge)] = True, score
    return Circuit.from_matrix(graph, chosen, scores=table, model="<b>m", source="by <i>hand")


def test_layers_go_up_heads_to_the_right_and_the_logits_are_on_top() -> None:
    graph = Graph(3, 4)
    places = {node: place(graph, node) for node in graph.nodes}
    assert len(set(places.values())) == len(graph.nodes)
    assert [places[f"a1.h{head}"][0] for head in range(4)] == [0, 1, 2, 3]
    order = sorted(graph.nodes, key=lambda node: places[node][1])
    assert order[0] == "embed" and order[-1] == "logits"
    assert places["a1.h0"][1] < places["m1"][1] < places["a2.h0"][1]


def test_query_key_and_value_are_different_ends() -> None:
    graph = Graph(2, 2)
    ends = [bend(graph, Edge("embed", f"a1.h1<{kind}>"))[-1] for kind in "qkv"]
    assert ends[0][0] < ends[1][0] < ends[2][0]
    assert len({one[1] for one in ends}) == 1
    names = {trace.name for trace in views.circuit(scored(1, 2, 3, 4)).data}
    assert {"ends at the query", "ends at the key", "ends at the value"} <= names


def test_every_edge_goes_up() -> None:
    graph = Graph(2, 2)
    assert all(bend(graph, edge)[0, 1] < bend(graph, edge)[-1, 1] for edge in graph.edges)


def test_colour_tells_the_sign_and_width_the_size() -> None:
    figure = views.circuit(scored(1.0, 8.0, -8.0, 2.0))
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.x[0] is not None]
    up = [one for one in lines if one.name == "raises the metric"]
    down = [one for one in lines if one.name == "lowers it"]
    assert {one.line.color for one in up}.isdisjoint({one.line.color for one in down})
    assert max(one.line.width for one in up) == down[0].line.width
    assert len({one.line.width for one in up}) > 1


def test_hovering_tells_edge_score_and_rank() -> None:
    figure = views.circuit(scored(1.0, 8.0, -9.0, 2.0))
    texts = next(trace for trace in figure.data if trace.name == "edges").text
    assert texts[0].startswith("embed → a1.h1&lt;q&gt;<br><b>-9</b>")
    assert "rank 1 of 4" in texts[0] and "rank 4 of 4" in texts[-1]


def test_names_are_escaped() -> None:
    figure = views.circuit(scored(1, 2, 3, 4))
    assert "&lt;b&gt;m" in said(figure) and "&lt;i&gt;hand" in said(figure)


def test_of_many_edges_the_strongest_are_drawn_and_the_figure_says_so(induction: Any) -> None:
    edges = induction[-1]
    figure = views.circuit(edges, most=3)
    assert f"the 3 strongest of {len(edges.graph.edges):,} edges" in said(figure)
    texts = next(trace for trace in figure.data if trace.name == "edges").text
    drawn = {text.split("<br>")[0].replace(" → ", "->") for text in texts}
    wanted = {edge.replace("<", "&lt;").replace(">", "&gt;").replace("-&gt;", "->")
              for edge in edges.top(3)["edge"]}  # fmt: skip
    assert drawn == wanted


def test_the_compiled_induction_circuit_is_what_is_drawn(induction: Any) -> None:
    circuit = induction[-1].circuit(3)
    shown = nodes(views.circuit(circuit))
    assert list(shown.text) == ["embed", "0.0", "1.0", "logits"]


def test_nodes_without_edges_are_faint_or_left_out() -> None:
    circuit = scored(1, 2, 3, 4)
    assert any(trace.name == "no edge drawn" for trace in views.circuit(circuit).data)
    alone = views.circuit(circuit, all_nodes=False)
    assert not any(trace.name == "no edge drawn" for trace in alone.data)


def test_a_circuit_by_hand_has_no_signs() -> None:
    figure = views.circuit(Circuit.of(Graph(2, 1), ["embed->a0.h0<v>", "a0.h0->logits"]))
    names = {trace.name for trace in figure.data}
    assert "no score" in names and "raises the metric" not in names


def test_a_wrong_circuit_is_refused() -> None:
    with pytest.raises(ViewError, match="no edges"):
        views.circuit(Circuit.of(Graph(2, 1), []))
    with pytest.raises(ViewError, match="not list"):
        views.circuit(["embed->logits"])
    with pytest.raises(ViewError, match="most=0"):
        views.circuit(scored(1, 2, 3, 4), most=0)


def test_edge_scores_are_senders_by_receivers_without_edges_that_do_not_exist(
    induction: Any,
) -> None:
    edges = induction[-1]
    figure = views.paths(edges)
    shown = np.asarray(figure.data[0].z, float)
    assert (np.isfinite(shown) == edges.graph.reach).all()
    assert np.allclose(shown[edges.graph.reach], edges.mean[edges.graph.reach], atol=1e-5)
    assert any(trace.name.startswith("no edge") for trace in figure.data if trace.name)
    with pytest.raises(ViewError, match="normalised"):
        views.paths(edges, normalised=True)


def test_paths_by_position_are_panels(induction: Any) -> None:
    model, data, metric, _ = induction
    found = patching.path_patch(
        model, data.clean, data.corrupted, metric, ["embed", "a0.h0"], ["a1.h0<k>", "logits"],
        positions=None,
    )  # fmt: skip
    figure = views.paths(found, select={"pos": slice(0, 3)})
    assert len(figure.layout.annotations) == 3
    assert figure.layout.annotations[0].text.startswith("<b>position 0")
    whole = views.paths(found, select={"pos": 1})
    assert np.asarray(whole.data[0].z).shape == (2, 2)


def test_a_sweep_has_no_paths() -> None:
    from tests.neoscope.patching.made_results import result

    with pytest.raises(ViewError, match=r"axes \['layer', 'pos'\]"):
        views.paths(result())


def test_faithfulness_rises_along_its_curve(induction: Any) -> None:
    model, data, metric, edges = induction
    found = [
        measure(model, edges.circuit(n), data.clean, data.corrupted, metric)
        for measure in (patching.faithfulness, patching.completeness)
        for n in (5, 3)
    ]
    figure = views.faithfulness(found)
    alone, without = figure.data
    assert list(alone.x) == list(without.x) == [3, 5]
    assert np.allclose(alone.y, [found[1].value, found[0].value])
    named = views.faithfulness({"<b>EAP": found[:2]})
    assert named.data[0].name == "&lt;b&gt;EAP"
    assert "1.0" in [n.text for n in named.layout.annotations] or named.layout.shapes


def test_what_is_no_faithfulness_is_refused(induction: Any) -> None:
    for wrong in ([], 3, {"a": []}, induction[-1]):
        with pytest.raises(ViewError, match="faithfulness or completeness"):
            views.faithfulness(wrong)


def test_minimality_is_ordered_by_what_is_lost(induction: Any) -> None:
    model, data, metric, edges = induction
    found = patching.minimality(model, edges.circuit(3), data.clean, data.corrupted, metric)
    bars = views.minimality(found, most=2).data[0]
    assert len(bars.x) == 2 and abs(bars.x[0]) >= abs(bars.x[1])
    assert "2 of 3 edges" in said(views.minimality(found, most=2))
    assert "without each edge" in said(views.circuit(found))
    with pytest.raises(ViewError, match="not int"):
        views.minimality(1)


def test_width_is_explained_and_the_ends_stand_in_the_middle() -> None:
    edges = ["embed->a0.h0<v>", "a0.h0->m0", "m0->logits"]
    found = Circuit.of(Graph(2, 4), edges)
    figure = views.circuit(found)
    assert "all lines are of one width" in figure.layout.title.subtitle.text
    assert figure.layout.title.text == "Circuit of unnamed model"
    nodes = next(one for one in figure.data if one.name == "nodes")
    at = dict(zip(nodes.text, nodes.x, strict=True))
    # As far from the first head, at 0, as from the MLPs.
    assert at["embed"] == at["logits"] == at["m0"] / 2
