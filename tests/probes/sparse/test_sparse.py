from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import neoscope as ns
from neoscope.config import NeoConfig
from neoscope.errors import ProbeError
from probes.sparse.curve import sparse_curve
from probes.sparse.neurons import SparseProbe
from probes.sparse.selection import f_statistic, mean_difference

PLANTED = 37
SELECTIONS = ["mean_difference", "f_statistic", "adaptive"]


@pytest.fixture(scope="module")
def planted():
    """Neurons of a random model of which one fires on token ids below 10, and on nothing else."""
    torch.manual_seed(0)
    config = NeoConfig(n_layers=2, d_model=32, n_heads=2, n_ctx=16, d_vocab=60)
    model = ns.HookedGPTNeo.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.shape == (60, 32):
                weight[:, 0] = -1.0
                weight[:10, 0] = 1.0
            if name.endswith("1.mlp.weight_in"):
                weight[PLANTED] = 0
                weight[PLANTED, 0] = 2.0
    tokens = torch.randint(60, (40, 12))
    _, cache = model.run_with_cache(tokens)
    neurons = cache["post", 1].reshape(480, -1).numpy()
    return neurons, (tokens < 10).reshape(-1).numpy(), np.repeat(np.arange(40), 12)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_one_neuron_is_enough_where_one_was_planted(planted, selection):
    X, y, groups = planted
    curve = sparse_curve(X, y, (1, 2, 4), probe=SparseProbe(selection=selection), groups=groups)
    assert curve.selected[0] == (PLANTED,) and curve.f1[0] == 1
    assert all(len(chosen) == k for k, chosen in zip(curve.ks, curve.selected, strict=True))
    assert curve.f1_all_positive < 0.5 and curve.n_train + curve.n_test == 480
    assert list(curve.to_dataframe()["k"]) == [1, 2, 4]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_held_out_rows_choose_nothing(selection):
    # More noise than rows: on the rows that chose, the best neuron looks good.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 400)), rng.integers(2, size=60)
    assert SparseProbe(4, selection=selection).fit(X, y).score(X, y) > 0.7
    probe = SparseProbe(selection=selection)
    f1 = [
        sparse_curve(X, y, (4,), probe=probe, seed=seed, test_size=0.5).f1[0] for seed in range(6)
    ]
    assert np.mean(f1) < 0.6


def test_logistic_regression_is_fitted_on_what_was_chosen(planted):
    X, y, _ = planted
    probe = SparseProbe(3, C=0.1).fit(X, y)
    chosen = X[:, probe.selected_].astype(np.float64)
    scaler = StandardScaler().fit(chosen)
    truth = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000).fit(scaler.transform(chosen), y)
    np.testing.assert_allclose(
        probe.coef_[:, probe.selected_] * scaler.scale_, truth.coef_, atol=1e-4
    )
    assert np.count_nonzero(probe.coef_) == 3
    np.testing.assert_allclose(
        probe.predict_proba(X), truth.predict_proba(scaler.transform(chosen)), atol=1e-4
    )


def test_units_matter_to_differences_of_means_and_not_to_f():
    rng = np.random.default_rng(0)
    y = np.repeat([0.0, 1.0], 100)
    X = rng.normal(size=(200, 3))
    X[:, 1] += 3 * y
    X[:, 2] *= 1000
    targets, weights = y[:, None], np.ones(200)
    assert mean_difference(X, targets, weights).argmax() == 2
    assert f_statistic(X, targets, weights).argmax() == 1


def test_f_ranks_as_the_analysis_of_variance():
    from sklearn.feature_selection import f_classif

    rng = np.random.default_rng(0)
    y = rng.integers(4, size=300)
    X = rng.normal(size=(300, 12)) + 0.3 * rng.normal(size=(4, 12))[y] + 5
    found = f_statistic(X, np.eye(4)[y], np.ones(300))
    np.testing.assert_allclose(found * 296 / 3, f_classif(X, y)[0])


def test_a_constant_scores_nothing_and_a_perfect_neuron_everything():
    y = np.repeat([0.0, 1.0], 10)
    X = np.stack([np.full(20, 0.1), y, np.random.default_rng(0).normal(size=20)], 1)
    scores = f_statistic(X, y[:, None], np.ones(20))
    assert scores[0] == 0 and scores.argmax() == 1


@pytest.mark.parametrize("selection", SELECTIONS)
def test_each_of_many_classes_and_of_several_labels_finds_its_neuron(selection):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=400)
    X = rng.normal(size=(400, 30))
    X[:, [4, 11, 23]] += 8 * np.eye(3)[y]
    for labels in (y, np.eye(3, dtype=int)[y]):
        probe = SparseProbe(3, selection=selection).fit(X, labels)
        assert set(probe.selected_) == {4, 11, 23}
        assert (probe.predict(X) == labels).mean() > 0.97


def test_a_rare_class_is_found_more_often_when_classes_are_balanced(planted):
    X, y, _ = planted
    rare = np.concatenate([np.flatnonzero(~y), np.flatnonzero(y)[:8]])
    noisy = X[rare] + np.random.default_rng(0).normal(size=X[rare].shape) * 2
    plain = SparseProbe(1).fit(noisy, y[rare]).predict(noisy).mean()
    balanced = SparseProbe(1, class_weight="balanced").fit(noisy, y[rare]).predict(noisy).mean()
    assert balanced > plain


def test_the_module_is_the_probe(planted):
    X, y, _ = planted
    probe = SparseProbe(2).fit(X, y)
    scores = probe.as_torch()(torch.tensor(X))
    np.testing.assert_allclose(scores[:, 0].numpy(), probe.decision_function(X), atol=1e-3)


def test_what_means_nothing_is_named(planted):
    X, y, _ = planted
    with pytest.raises(ProbeError, match="did you mean 'f_statistic'"):
        SparseProbe(selection="f_statistics").fit(X, y)
    with pytest.raises(ProbeError, match=r"k is 129, but X has 128 feature\(s\)"):
        SparseProbe(129).fit(X, y)
    with pytest.raises(ProbeError, match="X has 480 rows, but y has 479"):
        sparse_curve(X, y[1:])
    with pytest.raises(ProbeError, match="ks holds no number"):
        sparse_curve(X, y, ())
