"""What the organism knows of its language, as probes find it."""

from __future__ import annotations

import math

import pytest

import neoscope as ns
import probes
from neoscope import organism
from probes.sweeping.result import SweepResult


def swept(task: str, label: str, n: int = 240) -> SweepResult:
    """Sweep the prompt's last token, at the first and the last layer."""
    data = probes.ProbeData.from_language(
        ns.load("organism"),
        organism.sentences(task, n, seed=5),
        label,
        text="prompt",
        pool="last",
        layers=[0, 3],
    )
    return probes.sweep(data, n_bootstrap=100, cv=3)


@pytest.mark.parametrize(
    ("task", "label"),
    [("agreement", "number"), ("sentiment", "sentiment"), ("pronoun", "gender")],
)
def test_what_the_model_computes_is_found_at_its_end_and_not_in_its_twin(
    task: str, label: str
) -> None:
    found = swept(task, label)
    first, last = found.places
    assert last.task.scores["accuracy"] == 1.0
    assert first.task.scores["accuracy"] < 0.95
    assert last.random_init is not None and last.selectivity is not None
    assert last.task.scores["accuracy"] > last.random_init.intervals["accuracy"].high
    assert last.task.scores["accuracy"] > found.baselines["embeddings"].scores["accuracy"]
    # The control, one label for each last word, is the easier the fewer last words there are:
    # selectivity rises from where the word is to where the answer is.
    assert first.selectivity is not None
    assert last.selectivity.value > first.selectivity.value
    assert found.best_place.place == last.place


def test_tense_is_there_before_anything_is_learnt() -> None:
    found = swept("tense", "tense")
    last = found.places[-1]
    assert last.task.scores["accuracy"] == 1.0
    # One of two openings says it, so that even a random model carries it to the last token:
    # which is why a twin stands in the table.
    assert last.random_init is not None
    assert last.random_init.scores["accuracy"] > 0.9
    assert last.selectivity is not None and not math.isnan(last.selectivity.value)


@pytest.mark.slow
def test_part_of_speech_is_selective_above_its_twin_and_compresses() -> None:
    data = probes.ProbeData.from_language(
        ns.load("organism"), organism.sentences("filler", 150, seed=5), "pos", layers=[0, 3]
    )
    found = probes.sweep(data, n_bootstrap=100, cv=3, mdl=True)
    for place in found.places:
        assert place.task.scores["accuracy"] > 0.97
        assert place.selectivity is not None and place.selectivity.interval is not None
        assert place.random_init is not None and place.codelength is not None
        assert place.selectivity.interval.low > 0
        assert place.task.intervals["accuracy"].low > place.random_init.scores["accuracy"]
        assert place.codelength.compression > 4
    # The last layer has less room for which word it was.
    first, last = (place.control.scores["accuracy"] for place in found.places if place.control)
    assert last < first
