"""The compiled induction circuit, read layer by layer: what it knows where is known exactly."""

from __future__ import annotations

import numpy as np

import neoscope as ns
import probes
from neoscope.organism.compiled import INDUCTION_TRUTH, repeated

CHANCE = 0.2


def test_each_feature_is_decodable_from_the_layer_that_writes_it_and_not_before() -> None:
    model, ids = ns.load("induction"), repeated(60)
    sites = ["blocks.0.hook_resid_pre", "resid_post"]
    _, cache = model.run_with_cache(ids, sites=sites, return_type=None)
    # Within the second copy: each word has stood before, and so has what followed it.
    at = np.arange(INDUCTION_TRUTH.period + 2, ids.shape[1] - 1)
    states = {
        probes.Place("resid_pre", 0): cache["resid_pre", 0],
        probes.Place("resid_post", 0): cache["resid_post", 0],
        probes.Place("resid_post", 1): cache["resid_post", 1],
    }
    features = {place: x[:, at].flatten(0, 1).numpy() for place, x in states.items()}
    texts = np.repeat(np.arange(len(ids)), len(at))
    labels = {"token": ids[:, at], "previous": ids[:, at - 1], "next": ids[:, at + 1]}
    written = {"token": 0, "previous": 1, "next": 2}
    for name, label in labels.items():
        data = probes.ProbeData(features, label.flatten().numpy(), texts, label=name)
        found = probes.sweep(data, cv=2, n_bootstrap=10, controls=False)
        for number, place in enumerate(found.places):
            accuracy = place.task.scores["accuracy"]
            if number >= written[name]:
                assert accuracy == 1.0, (name, place.place)
            else:
                assert accuracy < CHANCE, (name, place.place)
