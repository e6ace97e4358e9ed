from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import probes
from neoscope.errors import ProbeError
from probes.solve.logistic import LogisticFolds

Array = NDArray[Any]


def badly_scaled(n: int, d: int, k: int, seed: int = 0) -> tuple[Array, Array]:
    """Correlated features of scales 1 to 100, far from zero, and classes with some noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(0, 2, d) + 10
    Z = StandardScaler().fit_transform(X)
    y = (Z @ rng.normal(size=(d, k)) / 3 + rng.gumbel(size=(n, k))).argmax(1)
    return X, y


def reference(
    X: Array, y: Array, C: float, *, standardize: bool = True, weight: Any = None, **options: Any
) -> tuple[Array, Array]:
    """scikit-learn's coefficients and intercepts, in the features' own units."""
    scaler = StandardScaler(with_mean=standardize, with_std=standardize)
    Z = scaler.fit(X, sample_weight=weight).transform(X)
    model = LogisticRegression(C=C, tol=1e-10, max_iter=20_000, **options)
    model.fit(Z, y, sample_weight=weight)
    if not standardize:
        return model.coef_, model.intercept_
    coef = model.coef_ / scaler.scale_
    return coef, model.intercept_ - coef @ scaler.mean_


def objective(coef: Array, intercept: Array, X: Array, y: Array, C: float) -> float:
    """scikit-learn's objective, from its definition."""
    scores = X @ coef.T + intercept
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], 1)
    top = scores.max(1)
    each = np.log(np.exp(scores - top[:, None]).sum(1)) + top - scores[np.arange(len(y)), y]
    return float(C * each.sum() + np.square(coef).sum() / 2)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("standardize", [True, False])
def test_coefficients_are_scikit_learns(k: int, C: float, standardize: bool) -> None:
    X, y = badly_scaled(300, 8, k)
    if not standardize:
        X = StandardScaler().fit_transform(X) * np.linspace(0.5, 2, 8)
    probe = probes.LogisticProbe(C, standardize=standardize).fit(X, y)
    coef, intercept = reference(X, y, C, standardize=standardize)
    np.testing.assert_allclose(probe.coef_, coef, atol=1e-4 * np.abs(coef).max())
    np.testing.assert_allclose(probe.intercept_, intercept, atol=1e-4 * np.abs(coef).max())


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("intercept", [True, False])
def test_weights_and_intercepts_are_scikit_learns(k: int, intercept: bool) -> None:
    X, y = badly_scaled(300, 6, k)
    weight = np.random.default_rng(1).uniform(0.0, 3.0, 300)
    options = {"fit_intercept": intercept, "class_weight": {0: 2.0}}
    probe = probes.LogisticProbe(0.5, **options).fit(X, y, sample_weight=weight)
    coef, _ = reference(X, y, 0.5, weight=weight, **options)
    np.testing.assert_allclose(probe.coef_, coef, atol=1e-4 * np.abs(coef).max())
    if not intercept:
        # What is centred stays so: the mean row says nothing.
        mean = np.average(X, 0, weights=weight)
        np.testing.assert_allclose(probe._scores(mean[None]), 0, atol=1e-9)


@pytest.mark.parametrize("k", [2, 4])
def test_objective_is_never_above_scikit_learns(k: int) -> None:
    X = StandardScaler().fit_transform(badly_scaled(200, 30, k)[0])
    y = badly_scaled(200, 30, k)[1]
    for C in (1e-4, 1.0, 1e4):
        probe = probes.LogisticProbe(C, standardize=False).fit(X, y)
        theirs = objective(*reference(X, y, C, standardize=False), X, y, C)
        ours = objective(probe.coef_, probe.intercept_, X, y, C)
        assert ours <= theirs * (1 + 1e-9)
        assert ours >= theirs * (1 - 1e-4)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_problems_solved_together_are_those_solved_alone(
    k: int, intercept: bool, dtype: Any
) -> None:
    X, y = badly_scaled(400, 12, k)
    X = X.astype(dtype)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, 400)
    folds = [np.arange(250), np.arange(100, 400), np.arange(0, 400, 2)]
    strengths = [1e-2, 1.0, 30.0]
    probe = probes.LogisticProbe(fit_intercept=intercept)
    joint = probe.fit_folds(X, y, folds, strengths, sample_weight=weight, exact=True)
    assert joint.converged.all()
    for number, rows in enumerate(folds):
        said = joint.scores(number, X.astype(np.float64))
        for place, C in enumerate(strengths):
            alone = probes.LogisticProbe(C, fit_intercept=intercept)
            alone.fit(X[rows].astype(np.float64), y[rows], sample_weight=weight[rows])
            expected = alone._scores(X.astype(np.float64))
            np.testing.assert_allclose(said[place], expected, atol=2e-3 * np.abs(expected).max())


def test_badly_conditioned_float32_goes_on_in_float64() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(300, 1))
    X = (base + 1e-4 * rng.normal(size=(300, 6))).astype(np.float32)
    y = (X[:, 0] - X[:, 1] > 0).astype(int) ^ (rng.random(300) < 0.1)
    probe = probes.LogisticProbe(10.0, standardize=False).fit(X, y)
    coef, _ = reference(X.astype(np.float64), y, 10.0, standardize=False)
    np.testing.assert_allclose(probe.coef_, coef, atol=1e-4 * np.abs(coef).max())


def test_wide_features_have_a_partial_spectrum() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 1100)) * np.logspace(0, -2, 1100)
    y = (X[:, :3].sum(1) > 0).astype(int)
    probe = probes.LogisticProbe(1.0, standardize=False).fit(X, y)
    coef, _ = reference(X, y, 1.0, standardize=False)
    np.testing.assert_allclose(probe.coef_, coef, atol=1e-4 * np.abs(coef).max())


def test_several_labels_are_several_regressions() -> None:
    X, y = badly_scaled(250, 7, 3)
    labels = np.eye(3, dtype=int)[y] | (np.random.default_rng(3).random((250, 3)) < 0.2)
    probe = probes.LogisticProbe(2.0).fit(X, labels)
    assert probe.predict(X).shape == (250, 3)
    for column in range(3):
        alone = probes.LogisticProbe(2.0).fit(X, labels[:, column])
        np.testing.assert_allclose(probe.coef_[column], alone.coef_[0], rtol=1e-5, atol=1e-9)
        proba = alone.predict_proba(X)[:, 1]
        np.testing.assert_allclose(probe.predict_proba(X)[:, column], proba, atol=1e-8)


def test_permuted_classes_permute_the_coefficients() -> None:
    X, y = badly_scaled(250, 7, 4)
    order = np.array([2, 0, 3, 1])
    first = probes.LogisticProbe().fit(X, y)
    second = probes.LogisticProbe().fit(X, order[y])
    np.testing.assert_allclose(second.coef_[order], first.coef_, atol=1e-9)
    np.testing.assert_allclose(second.intercept_[order], first.intercept_, atol=1e-7)


def test_a_rotation_of_the_features_rotates_the_coefficients() -> None:
    X = StandardScaler().fit_transform(badly_scaled(250, 7, 3)[0])
    y = badly_scaled(250, 7, 3)[1]
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(7, 7)))[0]
    first = probes.LogisticProbe(standardize=False).fit(X, y)
    second = probes.LogisticProbe(standardize=False).fit(X @ turn, y)
    np.testing.assert_allclose(second.coef_, first.coef_ @ turn, atol=1e-7)


def test_the_exclusive_or_is_beyond_a_linear_probe() -> None:
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(25, 0)
    y = (X[:, 0] != X[:, 1]).astype(int)
    probe = probes.LogisticProbe().fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), 0.5, atol=1e-9)


def test_a_class_that_a_fold_lacks_becomes_improbable_there() -> None:
    X, y = badly_scaled(300, 5, 3)
    joint = probes.LogisticProbe().fit_folds(X, y, [np.flatnonzero(y != 2)], [1.0])
    said = joint.scores(0, X)[0]
    assert np.isfinite(said).all()
    assert (said.argmax(1) != 2).all()


def test_separable_classes_converge_however_weak_the_penalty() -> None:
    X = np.concatenate([np.full((40, 3), -1.0), np.full((40, 3), 1.0)])
    X += np.random.default_rng(0).normal(size=X.shape) / 10
    y = np.repeat([0, 1], 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = probes.LogisticProbe(1e8).fit(X, y)
    assert probe.converged_
    assert probe.score(X, y) == 1


def test_what_has_not_converged_says_so() -> None:
    X, y = badly_scaled(300, 8, 3)
    with pytest.warns(ConvergenceWarning, match="not converged after 1 Newton steps"):
        probe = probes.LogisticProbe(100.0, max_iter=1).fit(X, y)
    assert not probe.converged_


def test_constant_features_have_no_say() -> None:
    X, y = badly_scaled(200, 4, 2)
    X = np.concatenate([X, np.full((200, 1), 1e6)], 1)
    probe = probes.LogisticProbe().fit(X, y)
    np.testing.assert_allclose(probe.coef_[:, -1], 0, atol=1e-12)
    np.testing.assert_allclose(
        probe.coef_[:, :-1], probes.LogisticProbe().fit(X[:, :-1], y).coef_, rtol=1e-6
    )


def test_objective_and_gap_are_what_they_are_called() -> None:
    X, y = badly_scaled(200, 6, 3)
    Z = StandardScaler().fit_transform(X)
    targets = torch.eye(3, dtype=torch.float64)[torch.as_tensor(y)]
    weights = torch.ones(200, 1, dtype=torch.float64)
    made = LogisticFolds(
        torch.as_tensor(Z), targets, softmax=True, weights=weights, standardize=False
    )
    fold, penalty = torch.zeros(1, dtype=torch.long), torch.tensor([0.5], dtype=torch.float64)
    found = made.solve(fold, penalty, tol=1e-8)
    here = objective(found.coef[0].numpy(), found.intercept[0].numpy(), Z, y, 2.0) / 2.0
    assert float(found.objective[0]) == pytest.approx(here, rel=1e-10)
    assert 0 <= float(found.gap[0]) <= 1e-7 * here
    assert bool(found.converged[0])


@pytest.mark.parametrize("C", [0.0, -1.0, float("nan"), "strong", None])
def test_a_strength_that_means_nothing_is_refused(C: Any) -> None:
    X, y = badly_scaled(40, 3, 2)
    with pytest.raises(ProbeError, match="C must be a number above 0"):
        probes.LogisticProbe(C).fit(X, y)


def test_one_class_is_refused_by_name() -> None:
    with pytest.raises(ProbeError, match=r"at least 2 classes; y holds one class: \['noun'\]"):
        probes.LogisticProbe().fit(np.eye(3), ["noun"] * 3)


def test_features_with_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        probes.LogisticProbe().fit([[np.nan], [1.0]], [0, 1])


def test_several_labels_are_zeros_and_ones() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    labels = (X[:, :2] > 0).astype(int)
    for wrong in (labels * 2, labels * 2 - 1):
        with pytest.raises(ProbeError, match="a matrix of 0 and 1; y holds"):
            probes.LogisticProbe().fit(X, wrong)


def test_negative_weights_are_refused() -> None:
    X, y = badly_scaled(30, 3, 2)
    with pytest.raises(ValueError, match="egative"):
        probes.LogisticProbe().fit(X, y, sample_weight=-np.ones(30))


@pytest.mark.slow
def test_what_resists_is_come_at_from_stronger_penalties() -> None:
    # A word type is its embedding: most types can be told, so that most rows are certain, and
    # Newton's method alone takes more steps than the solver gives it at first.
    rng = np.random.default_rng(0)
    n, n_types = 3000, 1500
    types = np.minimum(rng.zipf(1.3, n), n_types) - 1
    X = rng.normal(size=(n_types, 300))[types].astype(np.float32)
    y = np.where(rng.random(n) < 0.1, rng.integers(0, 8, n), rng.integers(0, 8, n_types)[types])
    Z = X.astype(np.float64)
    probe = probes.LogisticProbe(standardize=False)
    joint = probe.fit_folds(X, y, [np.arange(n)], [1.0, 3.0])
    assert joint.converged.all()
    assert joint.n_iter.max() > 15
    exact = probe.fit_folds(X, y, [np.arange(n)], [1.0, 3.0], exact=True)
    for place, C in enumerate((1.0, 3.0)):
        coef, intercept = exact.coef[place], exact.intercept[place]
        least = objective(coef, intercept, Z, y, C)
        # The penalty makes the objective strongly convex: it is within half the squared gradient
        # of its minimum. scikit-learn's solver takes a minute to find as much.
        apart = softmax(Z @ coef.T + intercept, 1) - np.eye(8)[y]
        assert np.square(C * apart.T @ Z + coef).sum() / 2 < 1e-5 * least
        assert np.abs(apart.sum(0)).max() < 1e-4 * n
        ours = objective(joint.coef[place], joint.intercept[place], Z, y, C)
        assert ours == pytest.approx(least, rel=1e-4)


def test_strengths_that_follow_each_other_give_what_they_give_alone() -> None:
    X, y = badly_scaled(300, 8, 3)
    folds = [np.arange(200), np.arange(100, 300)]
    ready = probes.LogisticProbe().prepare_folds(X, y, folds)
    for C in (0.01, 1.0, 100.0, 0.1):
        after, alone = (
            ready.fit([C], exact=True),
            probes.LogisticProbe().fit_folds(X, y, folds, [C]),
        )
        np.testing.assert_allclose(after.coef, alone.coef, atol=1e-6 * np.abs(alone.coef).max())
