"""The gates let an oracle pass and a random model fail: the measuring itself is right."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch

from neoscope import NeoConfig
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism import asking, gates, initial
from neoscope.organism.language import sentences
from neoscope.organism.language.vocabulary import vocabulary
from tests.neoscope.organism.language_oracle import Oracle

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def twin() -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(initial.random_twin())


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a model that knows the language; beartype asks for a real one, and is unwrapped."""
    for module in (asking, gates):
        for name in (
            "_logits",
            "asked",
            "continued",
            "filler_excess",
            "find_induction_head",
            "induction_scores",
            "measure",
        ):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, inspect.unwrap(getattr(module, name)))
    return Oracle()


def test_oracle_passes_all_gates(oracle: Any) -> None:
    report = gates.measure(oracle, n=60)
    assert report.ok, [gate for gate in report.gates if not gate.holds]
    assert report.induction_head == (2, 3)
    values = {(gate.task, gate.figure): gate.value for gate in report.gates}
    assert values["ioi", "mean logit difference"] == 10.0
    assert values["induction", "beyond the window, share left without head 2.3"] == 0.0
    shares = [gate.value for gate in report.gates if gate.at_least and gate.gate < 1]
    assert set(shares) == {1.0}
    record = report.record()
    assert record["ok"] and record["induction_head"] == [2, 3]
    assert all(gate["holds"] for gate in record["gates"])


def test_filler_loss_of_the_grammar_is_its_entropy(oracle: Any) -> None:
    excess, counted = asking.filler_excess(oracle, 80, seed=3)
    assert abs(excess) < 1e-5
    documents = asking.filler_documents(80, seed=3)
    assert counted == sum(len(ids) - first for ids, _, first in documents)
    assert all(len(ids) == len(known) <= 128 for ids, known, _ in documents)


def test_less_certain_oracle_fails_where_certainty_counts(
    oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = oracle.run_with_hooks

    def colder(ids: torch.Tensor, **options: Any) -> torch.Tensor:
        return whole(ids, **options) / 4

    monkeypatch.setattr(oracle, "run_with_hooks", colder)
    failed = {(g.task, g.figure) for g in gates.measure(oracle, n=24).gates if not g.holds}
    assert failed == {
        ("ioi", "mean logit difference"),
        ("filler", "loss above the grammar's entropy, nats a word"),
    }


def test_losing_a_head_is_measured_on_far_repeats_only(oracle: Any) -> None:
    near = sentences("induction", 30, length=(8, 20))
    far = sentences("far-induction", 30, length=(8, 20))
    assert asking.continued(oracle, near) == asking.continued(oracle, near, (2, 3)) == 1.0
    assert asking.continued(oracle, far, (2, 2)) == 1.0
    assert asking.continued(oracle, far, (2, 3)) == 0.0
    assert asking.find_induction_head(oracle, n=4) == (2, 3)
    scores = asking.induction_scores(oracle, far)
    assert scores[2] == [0.0, 0.0, 0.0, 1.0] and not any(map(any, scores[:2] + scores[3:]))


def test_asking_compares_the_right_words(oracle: Any) -> None:
    top, above, diffs = asking.asked(oracle, sentences("facts", 20))
    assert top == above == [True] * 20
    assert diffs == [10.0] * 20


def test_random_twin_fails(twin: HookedGPTNeo) -> None:
    report = gates.measure(twin, n=40, induction_head=(2, 0))
    assert not report.ok
    passed = {(gate.task, gate.figure) for gate in report.gates if gate.holds}
    # Where nothing comes out right, nothing is left or lost without a head.
    assert passed <= {("induction", "beyond the window, share left without head 2.0")}
    assert len(report.gates) == 14
    excess = report.gates[-1].value
    assert 0 < excess < 3 * math.log(len(vocabulary()))


def test_padding_changes_nothing(twin: HookedGPTNeo) -> None:
    items = sentences("ioi", 12)
    together = asking.asked(twin, items)[2]
    alone = [asking.asked(twin, [item])[2][0] for item in items]
    assert together == pytest.approx(alone, abs=1e-5)


def test_ablation_leaves_no_trace(twin: HookedGPTNeo) -> None:
    items = sentences("far-induction", 4)
    before = asking.continued(twin, items)
    asking.continued(twin, items, (2, 1))
    assert asking.continued(twin, items) == before


def test_another_vocabulary_is_refused() -> None:
    other = HookedGPTNeo.from_config(
        NeoConfig(n_layers=1, d_model=8, n_heads=2, n_ctx=16, d_vocab=10)
    )
    with pytest.raises(ArgumentError, match=r"vocabulary of 10; .* needs its own, of 750"):
        gates.measure(other)
    with pytest.raises(ArgumentError, match="n is 0; expected a whole number"):
        gates.measure(other, n=0)


def test_what_cannot_be_asked_is_refused(twin: HookedGPTNeo) -> None:
    with pytest.raises(ArgumentError, match=r"\(filler\) has no wrong answer"):
        asking.asked(twin, sentences("filler", 1))
    with pytest.raises(ArgumentError, match=r"\(ioi\) has no wrong answer"):
        asking.asked(twin, sentences("ioi", 1, control=True))
    with pytest.raises(ArgumentError, match=r"\(tense\) repeats no span"):
        asking.continued(twin, sentences("tense", 1))
