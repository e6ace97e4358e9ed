from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import probes
from neoscope.errors import ProbeError

Array = NDArray[Any]


def made(n: int = 200, d: int = 9, outputs: int = 2) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.logspace(0, 3, d) + 5
    Y = X @ rng.normal(size=(d, outputs)) / 100 + rng.normal(size=(n, outputs))
    return X, Y, rng.uniform(0.0, 2.0, n)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [1e-3, 3.0, 1e4])
def test_predictions_are_scikit_learns(standardize: bool, intercept: bool, alpha: float) -> None:
    X, Y, weight = made()
    scaler = StandardScaler(with_mean=standardize, with_std=standardize)
    Z = scaler.fit(X, sample_weight=weight).transform(X)
    theirs = Ridge(alpha, fit_intercept=intercept).fit(Z, Y, sample_weight=weight)
    ours = probes.RidgeProbe(alpha, fit_intercept=intercept, standardize=standardize)
    ours.fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(Z), atol=1e-8)
    np.testing.assert_allclose(
        ours.coef_ * scaler.scale_ if standardize else ours.coef_, theirs.coef_, atol=1e-8
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
def test_folds_solved_together_are_those_solved_alone(weighted: bool, intercept: bool) -> None:
    X, Y, weight = made()
    weight = weight if weighted else np.ones(len(X))
    folds = [np.arange(120), np.arange(50, 200), np.arange(0, 200, 3)]
    strengths = [0.0, 1.0, 50.0]
    joint = probes.RidgeProbe(fit_intercept=intercept).fit_folds(
        X, Y, folds, strengths, sample_weight=weight
    )
    for number, rows in enumerate(folds):
        said = joint.scores(number, X)
        for place, alpha in enumerate(strengths):
            alone = probes.RidgeProbe(alpha, fit_intercept=intercept)
            alone.fit(X[rows], Y[rows], sample_weight=weight[rows])
            np.testing.assert_allclose(said[place], alone.predict(X), atol=1e-7)


def test_without_a_penalty_the_shortest_solution_is_taken() -> None:
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(10, 30)), rng.normal(size=10)
    probe = probes.RidgeProbe(0.0, standardize=False).fit(X, y)
    centred = X - X.mean(0)
    np.testing.assert_allclose(probe.coef_, np.linalg.pinv(centred) @ (y - y.mean()), atol=1e-8)
    np.testing.assert_allclose(probe.predict(X), y, atol=1e-8)


def test_float32_features_are_summed_in_float64() -> None:
    rng = np.random.default_rng(2)
    X = (1000 + rng.normal(size=(5000, 4))).astype(np.float32)
    y = (X.astype(np.float64) - 1000) @ np.arange(1.0, 5.0)
    probe = probes.RidgeProbe(1e-6, standardize=False).fit(X, y)
    np.testing.assert_allclose(probe.coef_, np.arange(1.0, 5.0), atol=1e-5)


def test_one_output_is_a_vector() -> None:
    X, Y, _ = made()
    probe = probes.RidgeProbe().fit(X, Y[:, 0])
    assert probe.coef_.shape == (9,)
    assert isinstance(probe.intercept_, float)
    assert probe.predict(X).shape == (200,)
    assert probe.directions().shape == (1, 9)


@pytest.mark.parametrize("alpha", [-1.0, float("inf"), "strong"])
def test_a_penalty_that_means_nothing_is_refused(alpha: Any) -> None:
    X, Y, _ = made(20)
    with pytest.raises(ProbeError, match="alpha must be a number from 0 on"):
        probes.RidgeProbe(alpha).fit(X, Y)


@pytest.mark.parametrize("standardize", [True, False])
def test_batches_added_up_are_the_whole(standardize: bool) -> None:
    X, Y, weight = made()
    whole = probes.RidgeProbe(2.0, standardize=standardize).fit(X, Y, sample_weight=weight)
    parts = probes.RidgeProbe(2.0, standardize=standardize)
    for rows in (slice(0, 7), slice(7, 120), slice(120, 200)):
        parts.partial_fit(X[rows], Y[rows], sample_weight=weight[rows])
    np.testing.assert_allclose(parts.predict(X), whole.predict(X), atol=1e-8)
    with pytest.raises(ValueError, match="features"):
        parts.partial_fit(X[:, :3], Y)
    whole.forget()
    with pytest.raises(ProbeError, match="no sums of its rows to go on from"):
        whole.partial_fit(X, Y)
