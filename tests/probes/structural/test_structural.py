from __future__ import annotations

import numpy as np
import pytest
import torch

from neoscope.errors import ProbeError
from probes.structural.estimators import DepthProbe, DistanceProbe
from probes.structural.fitting import rows_of_groups
from probes.structural.scores import (
    depth_spearman,
    distance_spearman,
    root_accuracy,
    spanning_tree,
    uuas,
)
from probes.structural.trees import root_paths, tree_distances

WIDTH = 10


def _tree(rng, n):
    heads, order = np.zeros(n, int), rng.permutation(n)
    for k in range(1, n):
        heads[order[k]] = order[rng.integers(k)] + 1
    return heads


def _treebank(offset=0.0):
    """Sentences whose features are root paths and noise, rotated at random."""
    rng = np.random.default_rng(0)
    trees = [_tree(rng, int(n)) for n in rng.integers(5, WIDTH, 60)]
    paths = np.concatenate(
        [np.pad(p, ((0, 0), (0, WIDTH - len(p)))) for p in map(root_paths, trees)]
    )
    groups = np.repeat(np.arange(60), [len(tree) for tree in trees])
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    X = np.concatenate([paths, rng.normal(size=(len(paths), 6))], 1) @ rotation + offset
    return X, paths, np.concatenate(trees), groups


@pytest.fixture(scope="module")
def treebank():
    return _treebank()


@pytest.fixture(scope="module")
def distance_probe(treebank):
    X, paths, _, groups = treebank
    return DistanceProbe(16, learning_rate=0.01, progress=False).fit(X, paths, groups)


@pytest.fixture(scope="module")
def depth_probe(treebank):
    X, paths, _, groups = treebank
    probe = DepthProbe(16, learning_rate=0.03, progress=False)
    return probe.fit(X, paths.sum(1), groups=groups)


def test_distances_in_rotated_trees_are_recovered(treebank, distance_probe):
    X, _, heads, groups = treebank
    for i, found in enumerate(distance_probe.distances(X, groups)):
        np.testing.assert_allclose(found, tree_distances(heads[groups == i]), atol=0.01)
    assert uuas(distance_probe, X, heads, groups) == 1
    assert distance_spearman(distance_probe, X, heads, groups) > 0.95


def test_projected_points_have_the_distances(treebank, distance_probe):
    X, _, _, groups = treebank
    points = distance_probe.transform(X[groups == 3])
    wanted = np.square(points[:, None] - points).sum(2)
    np.testing.assert_allclose(distance_probe.distances(X, groups)[3], wanted, atol=1e-9)
    module = distance_probe.as_torch()
    values = module(torch.tensor(X[groups == 3], dtype=torch.float32))
    np.testing.assert_allclose(values.numpy(), points, atol=1e-4)


def test_a_projection_of_low_rank_has_that_many_rows_and_fits_worse(treebank, distance_probe):
    X, paths, _, groups = treebank
    low = DistanceProbe(2, learning_rate=0.01, max_epochs=20, progress=False).fit(X, paths, groups)
    assert low.projection_.shape == (2, 16) and low.transform(X).shape == (len(X), 2)
    assert min(low.losses_) > 10 * min(distance_probe.losses_)


def test_depths_in_rotated_trees_are_recovered(treebank, depth_probe):
    X, paths, heads, groups = treebank
    assert np.abs(depth_probe.predict(X) - paths.sum(1)).mean() < 0.01
    assert root_accuracy(depth_probe, X, heads, groups) == 1
    assert depth_spearman(depth_probe, X, heads, groups) > 0.9
    values = depth_probe.as_torch()(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(values[:, 0].numpy(), depth_probe.predict(X), atol=1e-3)


def test_an_offset_that_all_rows_share_does_not_drown_the_depths():
    X, paths, _, groups = _treebank(offset=100.0)
    probe = DepthProbe(16, learning_rate=0.03, progress=False).fit(X, paths.sum(1), groups=groups)
    assert np.abs(probe.predict(X) - paths.sum(1)).mean() < 0.05


def test_every_sentence_counts_the_same_where_groups_are_given():
    X, groups = np.ones((11, 1)), np.array([0] * 9 + [1, 2])
    y = np.array([1.0] * 9 + [3.0, 3.0])
    quick = {"learning_rate": 0.03, "progress": False}
    # The absolute error is least at the median: of rows 1, of sentences 3.
    assert DepthProbe(1, **quick).fit(X, y).predict(X)[0] == pytest.approx(1, abs=0.05)
    by_sentence = DepthProbe(1, **quick).fit(X, y, groups=groups)
    assert by_sentence.predict(X)[0] == pytest.approx(3, abs=0.05)


def test_float32_features_give_the_same_projection(treebank):
    X, paths, _, groups = treebank
    X = X.astype(np.float32)
    quick = {"max_epochs": 5, "progress": False}
    one = DistanceProbe(4, **quick).fit(X, paths, groups)
    two = DistanceProbe(4, **quick).fit(X.astype(np.float64), paths, groups)
    np.testing.assert_allclose(one.projection_, two.projection_, atol=1e-4)


def test_words_that_do_not_count_leave_with_their_edges(treebank, distance_probe):
    X, _, heads, groups = treebank
    # A word nobody hangs on, moved far away: its edge is wrong, the others stay.
    X = X.copy()
    leaves = [
        np.flatnonzero(groups == i)[np.setdiff1d(np.arange(n) + 1, heads[groups == i])[0] - 1]
        for i, n in enumerate(np.bincount(groups))
    ]
    X[leaves] += 50 * np.random.default_rng(1).normal(size=(len(leaves), 16))
    mask = ~np.isin(np.arange(len(X)), leaves)
    assert uuas(distance_probe, X, heads, groups) < 0.99
    assert uuas(distance_probe, X, heads, groups, mask=mask) == 1


def test_a_spanning_tree_takes_edges_of_length_zero():
    distances = np.array([[0, 0, 5], [0, 0, 1], [5, 1, 0]], float)
    assert sorted(spanning_tree(distances).tolist()) == [[0, 1], [1, 2]]


def test_groups_need_not_stand_together():
    rows = rows_of_groups(["b", "a", "b", "a"], 4)
    assert [each.tolist() for each in rows] == [[0, 2], [1, 3]]


def test_what_cannot_be_compared_is_said(treebank, distance_probe):
    X, paths, heads, groups = treebank
    with pytest.raises(ProbeError, match=r"groups has shape \(3,\)"):
        distance_probe.distances(X, [0, 1, 2])
    with pytest.raises(ProbeError, match="none of two rows"):
        DistanceProbe().fit(X, paths, np.arange(len(X)))
    with pytest.raises(ProbeError, match="heads has shape"):
        uuas(distance_probe, X, heads[1:], groups)
    with pytest.raises(ProbeError, match="True where a word counts"):
        uuas(distance_probe, X, heads, groups, mask=np.ones(len(X)))
    with pytest.raises(ProbeError, match="no sentence has 50 to 60 words"):
        distance_spearman(distance_probe, X, heads, groups, lengths=(50, 60))
