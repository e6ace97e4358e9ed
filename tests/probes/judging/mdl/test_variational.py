from __future__ import annotations

import json

import numpy as np
import pytest

from neoscope.errors import ProbeError
from probes.judging import variational_codelength


def test_random_labels_are_not_compressed_and_hardly_expanded() -> None:
    rng = np.random.default_rng(0)
    found = variational_codelength(rng.normal(size=(1200, 8)), rng.integers(4, size=1200))
    assert 0.98 < found.compression < 1.005


def test_planted_features_are_compressed() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 20))
    y = (X[:, :4] * 5 + rng.gumbel(size=(2000, 4))).argmax(1)
    found = variational_codelength(X, y)
    assert found.compression > 2
    assert found.model_bits < found.bits / 2


def test_the_code_is_just_above_the_evidence() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = (x + rng.logistic(size=60) * 0.5 > 0).astype(int)
    found = variational_codelength(x[:, None], y, standardize=False)
    prior, bias = found.notes["prior_scale"], found.notes["bias_scale"]
    w, b = (np.linspace(-8, 8, 321) * scale for scale in (prior, bias))
    sign = 2 * y - 1
    nats = np.zeros((len(w), len(b)))
    for one, s in zip(x, sign, strict=True):
        nats -= np.logaddexp(0, -s * (w[:, None] * one + b))
    for value, scale in ((w[:, None], prior), (b[None], bias)):
        step = value.ravel()[1] - value.ravel()[0]
        nats += np.log(step / scale / np.sqrt(2 * np.pi)) - (value / scale) ** 2 / 2
    evidence = -np.logaddexp.reduce(nats.ravel()) / np.log(2) + found.notes["scale_bits"]
    assert evidence <= found.bits < evidence + 0.3


def test_the_names_of_classes_and_a_rotation_of_features_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6)) * np.geomspace(1, 5, 6)
    y = (X[:, :3] + rng.gumbel(size=(500, 3))).argmax(1)
    first = variational_codelength(X, y, standardize=False)
    renamed = variational_codelength(X, np.array(["z", "a", "m"])[y], standardize=False)
    turned = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rotated = variational_codelength(X @ turned, y, standardize=False)
    assert renamed.bits == pytest.approx(first.bits, rel=1e-3)
    assert rotated.bits == pytest.approx(first.bits, rel=1e-3)


def test_two_runs_give_the_same_number() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 5)), rng.integers(2, size=200)
    assert variational_codelength(X, y).bits == variational_codelength(X, y).bits


def test_stopping_early_makes_the_code_longer_and_says_so() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 10))
    y = (X[:, 0] > 0).astype(int)
    early, late = (variational_codelength(X, y, max_iter=n) for n in (3, 200))
    assert not early.notes["converged"] and late.notes["converged"]
    assert early.bits > late.bits


def test_several_labels_share_one_prior() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 5))
    y = (X[:, :3] + 0.2 * rng.normal(size=(800, 3)) > 0).astype(int)
    found = variational_codelength(X, y)
    assert found.uniform_bits == 2400 and found.compression > 2


def test_constant_features_cost_the_code_of_frequencies() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(3000) < 0.1).astype(int)
    found = variational_codelength(np.ones((3000, 4)), y)
    share = y.mean()
    entropy = -3000 * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    # Half a log2 of the rows for the one number that is learnt, and the grid of its scale.
    assert entropy < found.bits < entropy + np.log2(3000) / 2 + found.notes["scale_bits"] + 3


def test_the_record_is_plain_json() -> None:
    rng = np.random.default_rng(0)
    found = variational_codelength(rng.normal(size=(50, 2)), rng.integers(2, size=50))
    record = json.loads(json.dumps(found.record()))
    assert record["code"] == "variational" and record["bits"] == found.bits
    assert found.data_bits + found.model_bits == pytest.approx(found.bits)


@pytest.mark.parametrize(
    ("y", "told"),
    [(np.linspace(0.1, 1, 20), "codelengths are of classes"), (np.zeros(20, int), "nothing")],
)
def test_what_has_no_code_is_refused(y: np.ndarray, told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        variational_codelength(np.zeros((20, 1)), y)


def test_a_feature_that_is_not_a_number_is_named() -> None:
    X = np.zeros((20, 2))
    X[7, 1] = np.nan
    with pytest.raises(ProbeError, match="row 7"):
        variational_codelength(X, np.arange(20) % 2)


def test_many_features_and_few_rows_stay_finite() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 200)) * np.geomspace(1e-3, 1e3, 200) + 100
    found = variational_codelength(X, rng.integers(3, size=60))
    assert 0.7 < found.compression < 1.01
