"""A sweep reads a model and a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
import probes
from neoscope import organism
from neoscope.errors import ProbeError
from neoscope.export import FeatureSpec, to_store


def test_the_organism_knows_number_above_its_random_twin() -> None:
    model = ns.load("organism")
    sentences = organism.sentences("agreement", 150, seed=3)
    texts = [one.prompt for one in sentences]
    labels = [
        "plural" if one.answer in {"are", "were", "have"} else "singular" for one in sentences
    ]
    found = probes.sweep(
        model, texts=texts, labels=labels, pool="last", layers=[0, 3], n_bootstrap=100, cv=3
    )
    last = found.places[-1]
    assert last.random_init is not None
    assert last.task.scores["accuracy"] > 0.95
    assert last.task.intervals["accuracy"].low > last.random_init.scores["accuracy"]
    assert set(found.baselines) == {"majority", "embeddings"}
    card = found.best().card_
    assert card.source.model == model.fingerprint() and card.source.pool == "last"


def test_a_store_is_swept(tmp_path: Path) -> None:
    import pandas as pd

    sentences = organism.sentences("sentiment", 80, seed=1)
    frame = pd.DataFrame(
        {"text": [one.prompt for one in sentences], "label": [one.answer for one in sentences]}
    )
    report = to_store(
        ns.load("organism"),
        frame,
        tmp_path / "features",
        FeatureSpec(layers=[1, 3], pool="last"),
        progress=False,
    )
    found = probes.sweep(report.store, labels="label", n_bootstrap=20, cv=2, layers=[3])
    assert [str(one.place) for one in found.places] == ["resid_post 3"]
    assert "no random twin" in found.notes["random-init"] and found.places[0].random_init is None
    model = ns.load("organism")
    twin = type(model).from_config(model.config, 3, tokenizer=model.tokenizer)
    spec = FeatureSpec(layers=[3], pool="last")
    other = to_store(twin, frame, tmp_path / "twin", spec, progress=False).store
    beside = probes.sweep(
        report.store, labels="label", n_bootstrap=20, cv=2, layers=[3], random_twin=other
    )
    assert beside.places[0].task == found.places[0].task and beside.places[0].random_init
    assert "random-init" not in beside.notes
    assert "random_init_accuracy" in beside.to_dataframe()
    with pytest.raises(ProbeError, match="labels= is missing"):
        probes.sweep(report.store)
    with pytest.raises(ProbeError, match="2"):
        probes.sweep(report.store, labels="label", layers=[2])


def test_heads_of_a_model_are_those_asked_for() -> None:
    sentences = organism.sentences("agreement", 60, seed=3)
    texts, labels = [one.prompt for one in sentences], [one.answer for one in sentences]
    options: dict[str, Any] = {"n_bootstrap": 5, "controls": False, "baselines": False, "cv": 2}
    found = probes.sweep(
        ns.load("organism"), texts=texts, labels=labels, sites="z", layers=[0], heads=[1], **options
    )
    assert [str(one.place) for one in found.places] == ["z 0.1"]
    with pytest.raises(ProbeError, match="77"):
        probes.sweep(ns.load("organism"), texts=texts, labels=labels, sites="z", heads=[77])
