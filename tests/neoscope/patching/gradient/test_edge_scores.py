"""Tables, files, audits and circuits out of edge scores."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope import organism
from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.faithfulness import faithfulness
from neoscope.patching.circuits.graph import Edge
from neoscope.patching.gradient.audit import spearman
from neoscope.patching.gradient.edge_scores import EdgeScores
from neoscope.patching.gradient.edges import eap, eap_ig
from neoscope.patching.metrics import logit_diff
from tests.neoscope.patching.gradient.edge_oracle import (
    ANSWER,
    WRONG,
    exact_effects,
    model,
    pairs,
)


def scores(n: int = 2) -> EdgeScores:
    return eap_ig(model(), *pairs(n), logit_diff(ANSWER, WRONG))


def last(logits: Tensor) -> Tensor:
    return logits[0, -1, ANSWER] - logits[0, -1, WRONG]


def test_the_table_has_every_edge_once() -> None:
    found = scores()
    table = found.to_dataframe()
    assert table["edge"].tolist() == [str(edge) for edge in found.graph.edges]
    for edge, score, stderr in zip(table["edge"], table["score"], table["stderr"], strict=True):
        assert score == found[edge] == found.mean[found.graph.index(edge)]
        assert stderr == found.stderr[found.graph.index(edge)]
    assert np.isnan(found.mean[~found.graph.reach]).all()
    assert np.isfinite(found.mean[found.graph.reach]).all()


def test_the_top_is_sorted_as_asked() -> None:
    found = scores()
    everything = found.to_dataframe()["score"].to_numpy()
    assert found.top(5)["score"].abs().tolist() == sorted(np.abs(everything))[::-1][:5]
    assert found.top(3, by="positive")["score"].tolist() == sorted(everything)[::-1][:3]
    assert found.top(3, by="negative")["score"].tolist() == sorted(everything)[:3]
    assert (found.top(1000, by="positive")["score"] > 0).all()
    with pytest.raises(PatchingError, match="did you mean 'positive'"):
        found.top(3, by="positiv")


def test_an_unknown_edge_is_refused() -> None:
    with pytest.raises(PatchingError, match="is no sender"):
        scores()["a7.h0->logits"]


def test_it_says_what_it_is() -> None:
    said = repr(scores())
    assert "EAP-IG, 5 step(s), denoise, logit_diff in logits, 2 pair(s), 100 edges" in said
    assert scores().top(1)["edge"][0] in said


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_holds_all_of_it(tmp_path: Path, kept: bool) -> None:
    found = scores()
    if not kept:
        found = EdgeScores(
            **{f.name: getattr(found, f.name) for f in fields(found)} | {"values": None}
        )
    path = found.save(tmp_path / "edges.safetensors")
    read = EdgeScores.load(path)
    for field in fields(found):
        ours, theirs = getattr(found, field.name), getattr(read, field.name)
        if field.name == "exact":
            assert theirs is None
        elif isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs, equal_nan=True)
        else:
            assert ours == theirs
    assert repr(read) == repr(found)
    assert read.circuit(10).edges == found.circuit(10).edges


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = scores().save(tmp_path / "edges.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PatchingError, match="is damaged or no EdgeScores"):
        EdgeScores.load(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(PatchingError, match="is damaged or no EdgeScores"):
        EdgeScores.load(path)


def test_a_circuit_says_how_many_edges_were_pruned(tmp_path: Path) -> None:
    circuit = scores().circuit(12, "top")
    gone = 12 - len(circuit)
    assert gone > 0 and circuit.n_chosen == 12
    said = f"12 were chosen, {gone} lay on no path from embed to logits"
    assert said in repr(circuit)
    assert Circuit.load(circuit.save(tmp_path / "c.json")) == circuit == circuit.pruned()
    assert "chosen" not in repr(circuit.without(circuit.edges[0]))
    assert "chosen" not in repr(scores().circuit(100))


def test_an_audit_holds_scores_against_exact_effects() -> None:
    clean, corrupted = pairs()
    found = scores()

    def exact(edges: list[Edge]) -> np.ndarray:
        return exact_effects(clean, corrupted, edges, last).double().numpy()

    audit = found.audit(8, exact=exact)  # type: ignore[arg-type]
    assert len(audit.labels) == 16 and audit.n_cells == 100
    assert list(audit.labels[:8]) == found.top(8)["edge"].tolist()
    edges = [found.graph.edge(label) for label in audit.labels]
    assert np.allclose(audit.exact, exact(edges).mean(0))
    assert np.allclose(audit.approximate, [found[edge] for edge in edges], atol=1e-6)
    assert audit.rank_correlation > 0.5


def test_an_audit_runs_the_same_experiment_by_itself() -> None:
    clean, corrupted = pairs()
    found = scores()
    assert found.exact is not None
    exact = found.exact(found.graph.edges)
    expected = exact_effects(clean, corrupted, found.graph.edges, last).numpy()
    assert np.abs(exact - expected).max() < 1e-5
    assert found.audit(4, 1).labels == found.audit(4, seed=1, exact=found.exact).labels


def test_all_edges_of_the_organism_agree_with_brute_force() -> None:
    clean, corrupted, answer, wrong = organism.pairs("ioi", 6).ids()
    data = (ns.load("organism"), clean, corrupted, logit_diff(answer, wrong))
    first, along = eap(*data), eap_ig(*data)
    assert first.exact is not None
    exact = first.exact(first.graph.edges).mean(0)
    at = tuple(np.array([first.graph.index(edge) for edge in first.graph.edges]).T)
    best = set(np.argsort(-np.abs(exact))[:50])
    for found, correlation in ((first, 0.98), (along, 0.99)):
        guess = found.mean[at]
        assert np.corrcoef(guess, exact)[0, 1] > correlation
        assert spearman(np.abs(guess), np.abs(exact)) > 0.85
        assert len(best & set(np.argsort(-np.abs(guess))[:50])) >= 40
    assert faithfulness(data[0], along.circuit(50), *data[1:]).value == pytest.approx(1, abs=0.1)


def test_scores_of_the_logits_follow_exact_effects() -> None:
    clean, corrupted = pairs(1)
    found = scores(1)
    edges = [edge for edge in found.graph.edges if edge.receiver == "logits"]
    exact = exact_effects(clean, corrupted, edges, last)[0].numpy()
    approximate = np.array([found[edge] for edge in edges])
    assert np.corrcoef(exact, approximate)[0, 1] > 0.8


def test_summed_scores_can_be_audited() -> None:
    clean, corrupted = pairs()
    found = scores()
    summed = EdgeScores(
        **{f.name: getattr(found, f.name) for f in fields(found)} | {"values": None}
    )

    def exact(edges: list[Edge]) -> np.ndarray:
        return exact_effects(clean, corrupted, edges, last).double().numpy()

    one, other = found.audit(3, exact=exact), summed.audit(3, exact=exact)  # type: ignore[arg-type]
    assert one.labels == other.labels
    assert np.allclose(one.exact, other.exact)


def test_loaded_scores_know_no_model(tmp_path: Path) -> None:
    read = EdgeScores.load(scores().save(tmp_path / "edges.safetensors"))
    with pytest.raises(PatchingError, match="know no model"):
        read.audit()
