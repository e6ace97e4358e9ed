"""What a sweep is not asked is named before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

import neoscope as ns
import probes
from neoscope.errors import ProbeError
from probes.sweeping import running
from tests.probes.sweeping.cases import planted


def test_bad_input_is_named() -> None:
    data = planted(200)
    with pytest.raises(ProbeError, match="a sweep reads ProbeData, a FeatureStore or a model"):
        probes.sweep([1, 2])
    with pytest.raises(ProbeError, match="texts= and labels="):
        probes.sweep(ns.load("organism"), labels=[1])
    with pytest.raises(ProbeError, match="has its own labels"):
        probes.sweep(data, labels=[1])
    with pytest.raises(ProbeError, match="no option 'control'; did you mean 'controls'"):
        probes.sweep(data, control=True)
    with pytest.raises(ProbeError, match="give one of its objects"):
        probes.sweep(data, probes.LogisticProbe)
    with pytest.raises(ProbeError, match=r"asks for a classifier.*LogisticProbe"):
        probes.sweep(data, probes.RidgeProbe())
    with pytest.raises(ProbeError, match="did you mean 'accuracy'"):
        probes.sweep(data, metric="acuracy")
    with pytest.raises(ProbeError, match="cv=1"):
        probes.sweep(data, cv=1)
    with pytest.raises(ProbeError, match="folds"):
        probes.sweep(data, cv=500)
    rows = np.arange(data.n_rows)
    with pytest.raises(ProbeError, match="group 5 leaks"):
        probes.sweep(data, cv=[(rows[:55], rows[55:100])])
    with pytest.raises(ProbeError, match="leave some out"):
        probes.sweep(data, cv=[(rows[:100], rows[100:])])
    features = {place: data.matrix(place) for place in data.places}
    features[data.places[1]][17, 3] = np.inf
    broken = probes.ProbeData(features, data.y, data.groups)
    with pytest.raises(ProbeError, match=r"resid_post 1.*row 17"):
        probes.sweep(broken, controls=False, n_bootstrap=10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cv": "a"}, "neither a number of folds nor pairs of rows"),
        ({"cv": 3.5}, "neither a number of folds nor pairs of rows"),
        ({"strengths": []}, "strengths is empty"),
        ({"strengths": "a"}, "no list of numbers"),
        ({"strengths": 1.0}, "no list of numbers"),
        ({"strengths": [-1.0]}, "each of strengths must be a number from 0 on"),
        ({"seed": -1}, "seed must be a whole number from 0 on"),
        ({"n_bootstrap": 0}, "n_bootstrap must be a whole number from 1 on"),
        ({"confidence": 95.0}, "confidence=95.0; expected a share"),
    ],
)
def test_options_that_mean_nothing_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        running.check_options(
            **{
                "cv": 5,
                "strengths": None,
                "n_bootstrap": 9,
                "confidence": 0.9,
                "seed": 0,
                **options,
            }
        )


def test_probes_that_cannot_do_what_is_asked_are_refused() -> None:
    data = planted(200)
    with pytest.raises(ProbeError, match="is no estimator"):
        probes.sweep(data, "logistic")
    with pytest.raises(ProbeError, match="DistanceProbe is neither"):
        probes.sweep(data, probes.DistanceProbe())
    with pytest.raises(ProbeError, match="mdl=True needs probabilities"):
        probes.sweep(data, LinearSVC(), mdl=True)
    with pytest.raises(ProbeError, match="metric='log_loss' needs probabilities"):
        probes.sweep(data, LinearSVC(), metric="log_loss")


def test_rare_classes_are_named_where_nothing_tests_them() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"] * 50 + ["c"])
    found = probes.sweep(
        probes.ProbeData(rng.normal(size=(101, 3)), y), controls=False, n_bootstrap=10
    )
    assert found.notes["untested"] == ["c"]
    with pytest.raises(ProbeError, match="can be tested on: most classes have one group only"):
        probes.sweep(probes.ProbeData(rng.normal(size=(40, 3)), np.arange(40).astype(str)), cv=2)
