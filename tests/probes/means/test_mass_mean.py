from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from neoscope.errors import ProbeError
from probes.means.mass_mean import MassMeanProbe


def gaussians(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(6, 6)) + np.eye(6)
    delta = rng.normal(size=6)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 6)) @ mix.T + np.where(y[:, None] == 1, delta, -delta) / 2
    return X, y, delta, mix @ mix.T


def three_classes(n: int = 90, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=(3, d))[y], y


def test_accuracies_on_gaussians_are_the_closed_forms() -> None:
    X, y, delta, sigma = gaussians(40_000)
    test_X, test_y, *_ = gaussians(40_000, seed=0)
    plain = norm.cdf(delta @ delta / (2 * np.sqrt(delta @ sigma @ delta)))
    whitened = norm.cdf(np.sqrt(delta @ np.linalg.solve(sigma, delta)) / 2)
    # Four standard errors of an accuracy over 40,000 rows, and the error of the means.
    assert abs(MassMeanProbe().fit(X, y).score(test_X, test_y) - plain) < 0.012
    assert abs(MassMeanProbe(iid=True).fit(X, y).score(test_X, test_y) - whitened) < 0.012


def test_of_two_classes_the_direction_is_the_unnormalised_difference_about_the_middle() -> None:
    X, y, *_ = gaussians(100)
    probe = MassMeanProbe().fit(X, y)
    above, below = X[y == 1].mean(0), X[y == 0].mean(0)
    theta = above - below
    np.testing.assert_allclose(probe.directions(), theta[None], rtol=1e-12)
    logits = (X - (above + below) / 2) @ theta
    np.testing.assert_allclose(probe.decision_function(X), logits, atol=1e-12)
    np.testing.assert_allclose(probe.predict_proba(X)[:, 1], expit(logits), atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_iid_with_empirical_priors_is_linear_discriminant_analysis(
    classes: int, shrinkage: float
) -> None:
    X, y = three_classes()
    y = np.minimum(y, classes - 1)
    ours = MassMeanProbe(iid=True, shrinkage=shrinkage, priors="empirical").fit(X, y)
    # scikit-learn shrinks each class's covariance after scaling features to unit variance.
    theirs = LinearDiscriminantAnalysis(solver="eigen" if not shrinkage else "lsqr")
    if shrinkage:
        scatter = sum((y == k).mean() * np.cov(X[y == k].T, bias=True) for k in range(classes))
        shrunk = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / 5 * np.eye(5)
        means = np.stack([X[y == k].mean(0) for k in range(classes)])
        coef = np.linalg.solve(shrunk, means.T).T
        bias = -0.5 * (coef * means).sum(1) + np.log(np.bincount(y) / len(y))
        logits = X @ coef.T + bias
        logits = logits - logits.mean(1, keepdims=True)
        found = ours.decision_function(X)
        if classes == 2:
            np.testing.assert_allclose(found, logits[:, 1] - logits[:, 0], atol=1e-9)
        else:
            np.testing.assert_allclose(found - found.mean(1, keepdims=True), logits, atol=1e-9)
        return
    probabilities = theirs.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(ours.predict_proba(X), probabilities, atol=1e-9)


def test_multiclass_scores_are_distances_to_the_means() -> None:
    X, y = three_classes()
    probe = MassMeanProbe().fit(X, y)
    means = np.stack([X[y == k].mean(0) for k in range(3)])
    nearest = ((X[:, None] - means) ** 2).sum(2).argmin(1)
    assert (probe.predict(X) == nearest).all()
    np.testing.assert_allclose(probe.means_, means, rtol=1e-12)


@pytest.mark.parametrize("iid", [False, True])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_parts_give_the_same_probe_as_the_whole(iid: bool, kind: str) -> None:
    X, y = three_classes()
    labels = {"binary": y == 0, "multiclass": y, "multilabel": np.stack([y == 0, X[:, 0] > 0], 1)}
    target = labels[kind].astype(int)
    weights = np.random.default_rng(2).uniform(0.5, 2, len(X))
    whole = MassMeanProbe(iid=iid).fit(X, target, weights)
    parts = MassMeanProbe(iid=iid)
    for at in (slice(0, 20), slice(20, 21), slice(21, 90)):
        classes = None if kind == "multilabel" else np.unique(target)
        parts.partial_fit(X[at], target[at], classes=classes, sample_weight=weights[at])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-9, atol=1e-9)


def test_a_class_that_no_part_has_shown_is_not_predicted() -> None:
    X, y = three_classes()
    probe = MassMeanProbe().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert set(probe.predict(X)) == {0, 1}
    assert np.isfinite(probe.predict_log_proba(X)).all()


@pytest.mark.parametrize("iid", [False, True])
def test_several_labels_are_several_probes(iid: bool) -> None:
    X, y = three_classes()
    both = np.stack([y == 0, X[:, 0] > 0], 1).astype(int)
    together = MassMeanProbe(iid=iid).fit(X, both)
    for column in range(2):
        alone = MassMeanProbe(iid=iid).fit(X, both[:, column])
        np.testing.assert_allclose(together.coef_[column], alone.coef_[0], rtol=1e-9)
        np.testing.assert_allclose(together.intercept_[column], alone.intercept_[0], rtol=1e-9)


def test_a_label_that_all_rows_have_is_always_predicted() -> None:
    X, y = three_classes()
    both = np.stack([np.ones(len(y)), y == 0], 1).astype(int)
    assert MassMeanProbe().fit(X, both).predict(X)[:, 0].all()


def test_fewer_rows_than_features_use_the_pseudo_inverse() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 40)), np.arange(12) % 2
    probe = MassMeanProbe(iid=True).fit(X, y)
    centred = X - np.stack([X[y == 0].mean(0), X[y == 1].mean(0)])[y]
    theta = X[y == 1].mean(0) - X[y == 0].mean(0)
    expected = np.linalg.pinv(centred.T @ centred / 12, rcond=1e-12, hermitian=True) @ theta
    np.testing.assert_allclose(probe.coef_[0], expected, rtol=1e-6, atol=1e-8)


def test_oas_is_scikit_learns() -> None:
    X, y = three_classes(30)
    centred = X - np.stack([X[y == k].mean(0) for k in range(3)])[y]
    _, share = oas(centred, assume_centered=True)
    chosen = MassMeanProbe(iid=True, shrinkage="oas").fit(X, y)
    same = MassMeanProbe(iid=True, shrinkage=float(share)).fit(X, y)
    np.testing.assert_allclose(chosen.coef_, same.coef_, rtol=1e-9)


def test_a_far_offset_changes_nothing() -> None:
    X, y = three_classes()
    near, far = MassMeanProbe(iid=True).fit(X, y), MassMeanProbe(iid=True).fit(X + 1e6, y)
    np.testing.assert_allclose(far.predict_proba(X + 1e6), near.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"priors": "equals"}, "equal"),
        ({"shrinkage": 2.0}, "from 0 to 1"),
        ({"shrinkage": "oaz"}, "a share from 0 to 1, or 'oas', not 'oaz'; did you mean 'oas'"),
        ({"shrinkage": -0.1}, "a share from 0 to 1, or 'oas', not -0.1"),
        ({"shrinkage": True}, "a share from 0 to 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    X, y = three_classes()
    with pytest.raises(ProbeError, match=said):
        MassMeanProbe(iid=True, **options).fit(X, y)


def test_what_partial_fit_cannot_know_is_asked_for() -> None:
    X, y = three_classes()
    with pytest.raises(ProbeError, match="classes="):
        MassMeanProbe().partial_fit(X, y)
    probe = MassMeanProbe().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ProbeError, match="row 0 has label"):
        probe.partial_fit(X, y + 7)
    with pytest.raises(ProbeError, match="first call"):
        probe.partial_fit(X, y, classes=[0, 1])


def test_weights_that_leave_one_class_are_refused() -> None:
    X, y = three_classes()
    with pytest.raises(ProbeError, match="one class"):
        MassMeanProbe().fit(X, y, sample_weight=(y == 0).astype(float))


def test_as_torch_gives_the_same_logits() -> None:
    import torch

    X, y = three_classes()
    probe = MassMeanProbe(iid=True).fit(X, y)
    module = probe.as_torch()
    out = module(torch.as_tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(out, probe.decision_function(X), rtol=1e-4, atol=1e-3)
