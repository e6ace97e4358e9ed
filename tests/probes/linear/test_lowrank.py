from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from neoscope.errors import ProbeError
from probes.linear.lowrank import LowRankProbe


def _classes(rank=3, classes=6, n=600):
    """Classes whose logits depend on `rank` directions of ten."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10)) * rng.uniform(0.1, 10, 10) + 50
    Z = StandardScaler().fit_transform(X)
    logits = 4 * Z @ rng.normal(size=(10, rank)) @ rng.normal(size=(rank, classes))
    return X, (logits + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_full_rank_is_logistic_regression(C):
    X, y = _classes()
    scaler = StandardScaler().fit(X)
    truth = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(scaler.transform(X), y)
    probe = LowRankProbe(10, C=C).fit(X, y)
    np.testing.assert_allclose(probe.coef_ * scaler.scale_, truth.coef_, atol=1e-4)
    np.testing.assert_allclose(
        probe.predict_proba(X), truth.predict_proba(scaler.transform(X)), atol=1e-5
    )


def test_two_classes_need_one_dimension():
    X, y = _classes(classes=2)
    scaler = StandardScaler().fit(X)
    truth = LogisticRegression(tol=1e-10, max_iter=5000).fit(scaler.transform(X), y)
    probe = LowRankProbe(1).fit(X, y)
    np.testing.assert_allclose(probe.coef_ * scaler.scale_, truth.coef_, atol=1e-4)


def test_the_weights_have_the_rank_asked_for():
    X, y = _classes()
    probe = LowRankProbe(2).fit(X, y)
    assert np.linalg.matrix_rank(probe.coef_) == 2
    assert probe.projection_.shape == (2, 10) and probe.readout_.shape == (6, 2)
    np.testing.assert_allclose(probe.readout_ @ probe.projection_, probe.coef_)


def test_the_rank_of_the_task_is_enough_and_less_is_not():
    X, y = _classes(rank=3)
    scores = {rank: LowRankProbe(rank).fit(X, y).score(X, y) for rank in (1, 3, 6)}
    assert scores[1] < scores[3] - 0.1 and scores[3] > scores[6] - 0.03


def test_several_labels_share_the_projection():
    X, _ = _classes()
    Z = StandardScaler().fit_transform(X)
    y = (np.stack([Z[:, 0], -Z[:, 0], Z[:, 1], Z[:, 0] + Z[:, 1]], 1) > 0).astype(int)
    probe = LowRankProbe(2, C=100.0).fit(X, y)
    assert (probe.predict(X) == y).mean() > 0.97


def test_float32_features_and_other_names_of_classes_change_nothing():
    X, y = _classes()
    X = X.astype(np.float32)
    plain = LowRankProbe(2).fit(X.astype(np.float64), y).predict_proba(X)
    np.testing.assert_allclose(LowRankProbe(2).fit(X, y).predict_proba(X), plain, atol=1e-5)
    order = np.roll(np.arange(6), 1)
    permuted = LowRankProbe(2).fit(X, order[y]).predict_proba(X)
    np.testing.assert_allclose(permuted[:, order], plain, atol=1e-4)


def test_the_module_is_the_probe():
    X, y = _classes()
    probe = LowRankProbe(2).fit(X, y)
    scores = probe.as_torch()(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(scores.numpy(), probe.decision_function(X), atol=1e-3)


def test_too_few_iterations_are_said():
    X, y = _classes()
    with pytest.warns(ConvergenceWarning, match="not converged after 2 iterations"):
        assert not LowRankProbe(2, max_iter=2).fit(X, y).converged_


def test_an_argument_that_means_nothing_is_named():
    X, y = _classes()
    with pytest.raises(ProbeError, match="rank must be a whole number from 1 on, not 0"):
        LowRankProbe(0).fit(X, y)
    with pytest.raises(ProbeError, match="C must be a number above 0"):
        LowRankProbe(C=-1.0).fit(X, y)
