from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone

from neoscope.errors import ProbeError
from probes.linear.logistic import LogisticProbe
from probes.mlp.fitting import hold_out
from probes.mlp.perceptron import MLPProbe, MLPRegressorProbe

QUICK = {"learning_rate": 0.01, "max_epochs": 20, "progress": False}


def _xor(seed, n=400):
    X = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    return X, (X[:, 0] > 0) ^ (X[:, 1] > 0)


def _blobs(seed=0, n=300, classes=3):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    return rng.normal(size=(classes, 5))[y] * 1.5 + rng.normal(size=(n, 5)), y


def test_xor_is_chance_to_a_linear_probe_and_solved_by_one_hidden_layer():
    X, y = _xor(0)
    unseen, truth = _xor(1)
    assert LogisticProbe().fit(X, y).score(unseen, truth) < 0.62
    assert MLPProbe((16,), **QUICK).fit(X, y).score(unseen, truth) > 0.95


@pytest.mark.parametrize("classes", [2, 3])
def test_permuting_classes_permutes_outputs(classes):
    X, y = _blobs(classes=classes)
    order = np.roll(np.arange(classes), 1)
    plain = MLPProbe((8,), **QUICK).fit(X, y).predict_proba(X)
    permuted = MLPProbe((8,), **QUICK).fit(X, order[y]).predict_proba(X)
    np.testing.assert_allclose(permuted[:, order], plain, atol=1e-6)


def test_each_of_several_labels_is_learned():
    X, first = _xor(0)
    y = np.stack([first, X[:, 0] > 0], 1).astype(int)
    probe = MLPProbe((32,), **QUICK).fit(X, y)
    assert (probe.predict(X) == y).mean() > 0.95
    assert probe.predict_proba(X).shape == (400, 2)


def test_training_stops_when_held_out_rows_no_longer_gain():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1200, 20)), rng.integers(2, size=1200)
    probe = MLPProbe(patience=3, progress=False).fit(X, y)
    assert probe.stopped_ and probe.n_epochs_ == len(probe.losses_) < 30
    # Noise cannot be learned: the epoch that is kept is hardly worse than knowing nothing.
    assert min(probe.losses_) < 0.72
    few = clone(probe).set_params(max_epochs=1, validation=0.0).fit(X, y)
    assert not few.stopped_ and few.n_epochs_ == 1


def test_held_out_rows_hold_every_class_in_proportion_and_leave_a_rare_one_to_train_on():
    y = np.repeat([0, 1, 2], [50, 30, 1])
    targets = np.eye(3)[y]
    train, held = hold_out(targets, 0.1, 0, "multiclass")
    assert np.bincount(y[held], minlength=3).tolist() == [5, 3, 0]
    assert sorted([*train, *held]) == list(range(81))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_groups_are_held_out_whole_and_leave_every_class_to_train_on(kind):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    y = rng.integers(2 if kind == "binary" else 3, size=len(groups))
    y[groups == 7] = 3 if kind == "multiclass" else y[groups == 7]
    targets = {"binary": y[:, None], "regression": y[:, None] / 7}.get(kind, np.eye(4)[y])
    train, held = hold_out(targets, 0.2, 0, kind, groups)
    assert not set(groups[train]) & set(groups[held])
    assert sorted([*train, *held]) == list(range(len(groups)))
    assert len(held) / len(groups) == pytest.approx(0.2, abs=0.05)
    assert set(y[train]) == set(y)


def test_words_of_a_sentence_do_not_judge_each_other():
    # A sentence is told by its features: rows of one stop training too late if they are held out.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 20)
    X = rng.normal(size=(60, 8))[groups] + 0.01 * rng.normal(size=(1200, 8))
    y = rng.integers(2, size=60)[groups]
    options = {"learning_rate": 0.01, "patience": 3, "max_epochs": 40, "progress": False}
    alone, together = MLPProbe(**options).fit(X, y), MLPProbe(**options).fit(X, y, groups=groups)
    assert min(alone.losses_) < 0.2 < 0.6 < min(together.losses_)
    assert together.n_epochs_ < alone.n_epochs_
    with pytest.raises(ProbeError, match="groups: 3 values for 1200 rows"):
        MLPProbe(**options).fit(X, y, groups=[0, 1, 2])


def test_balanced_classes_count_the_same_however_many_rows_they_have():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-0.5, 1, (270, 1)), rng.normal(0.5, 1, (30, 1))])
    y = np.repeat([0, 1], [270, 30])
    share = [
        MLPProbe((8,), class_weight=how, **QUICK).fit(X, y).predict(X).mean()
        for how in (None, "balanced")
    ]
    assert share[0] < 0.1 and 0.2 < share[1] < 0.6


def test_the_seed_alone_decides():
    X, y = _blobs()
    state = torch.random.get_rng_state()
    one, two, other = (MLPProbe(seed=seed, **QUICK).fit(X, y) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert not np.allclose(one.coefs_[0], other.coefs_[0])
    assert torch.equal(state, torch.random.get_rng_state())


def test_float32_features_give_the_same_probe():
    X, y = _blobs()
    X = X.astype(np.float32)
    one = MLPProbe(**QUICK).fit(X, y).predict_proba(X)
    two = MLPProbe(**QUICK).fit(X.astype(np.float64), y).predict_proba(X)
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_batches_find_what_one_batch_finds(tmp_path):
    X, y = _xor(0, 3000)
    file = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, X.shape)
    file[:] = X
    file.flush()
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    options = {"batch_size": 128, "learning_rate": 0.01, "max_epochs": 12, "progress": False}
    probe = MLPProbe((16,), **options).fit(mapped, y)
    assert probe.coefs_[0].dtype == np.float32
    assert probe.score(X, y) > 0.95


@pytest.mark.parametrize("classes", [2, 3])
def test_the_module_is_the_probe(classes):
    X, y = _blobs(classes=classes)
    probe = MLPProbe((8, 4), **QUICK).fit(X, y)
    scores = probe.as_torch()(torch.tensor(X, dtype=torch.float32)[None])
    assert scores.shape == (1, 300, 1 if classes == 2 else 3) and not scores.requires_grad
    wanted = probe.decision_function(X).reshape(300, -1)
    np.testing.assert_allclose(scores[0].numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("several", [False, True])
def test_a_regressor_follows_a_curve_in_its_own_units(several):
    X = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    y = 1000 + 50 * X[:, 0] ** 2
    y = np.stack([y, -X[:, 1]], 1) if several else y
    probe = MLPRegressorProbe((32,), **QUICK).fit(X, y)
    assert probe.predict(X).shape == y.shape and probe.score(X, y) > 0.95
    values = probe.as_torch()(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(
        values.numpy(), probe.predict(X).reshape(400, -1), rtol=1e-4, atol=1e-2
    )


def test_weights_of_rows_are_heard_by_the_regressor():
    X, y = np.zeros((40, 1)), np.repeat([0.0, 1.0], 20)
    weights = np.repeat([3.0, 1.0], 20)
    probe = MLPRegressorProbe((4,), **QUICK).fit(X, y, weights)
    assert probe.predict([[0.0]])[0] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden": (4, 4, 4)}, "1 or 2 layers"),
        ({"hidden": (0,)}, "a size in hidden must be a whole number from 1 on, not 0"),
        ({"validation": "atuo"}, "did you mean 'auto'"),
        ({"validation": 1.5}, "share of the rows below 1"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"seed": None}, "seed must be a whole number"),
    ],
)
def test_an_argument_that_means_nothing_is_named(wrong, message):
    X, y = _blobs(n=20)
    with pytest.raises(ProbeError, match=message):
        MLPProbe(**wrong).fit(X, y)


def test_weights_that_leave_one_class_are_refused():
    X, y = _xor(0, 20)
    with pytest.raises(ProbeError, match=r"leave one class: \[True\]"):
        MLPProbe().fit(X, y, y.astype(float))


def test_a_diverging_descent_says_so():
    X, y = _blobs(n=40)
    with pytest.raises(ProbeError, match="learning_rate below"):
        MLPRegressorProbe(learning_rate=1e300, progress=False).fit(X, y)
