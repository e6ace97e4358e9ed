from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from neoscope.errors import ProbeError
from probes.means.centroid import CentroidProbe


def _blobs(classes=4, offset=0.0):
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=200)
    return rng.normal(size=(classes, 6))[y] + rng.normal(size=(200, 6)) + offset, y


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_nearest_class_mean_is_predicted(classes, offset):
    X, y = _blobs(classes, offset)
    probe = CentroidProbe().fit(X, y)
    other = NearestCentroid().fit(X, y)
    np.testing.assert_allclose(probe.centroids_, other.centroids_)
    np.testing.assert_array_equal(probe.predict(X), other.predict(X))


def test_differences_of_scores_are_those_of_squared_distances():
    X, y = _blobs()
    probe = CentroidProbe().fit(X, y)
    half = -np.square(X[:, None] - probe.centroids_).sum(2) / 2
    scores = probe.decision_function(X)
    np.testing.assert_allclose(scores - scores[:, :1], half - half[:, :1], atol=1e-9)


def test_how_frequent_a_class_is_does_not_matter():
    X, y = _blobs()
    rows = np.concatenate([np.arange(200), np.repeat(np.flatnonzero(y == 2), 9)])
    one, two = CentroidProbe().fit(X, y), CentroidProbe().fit(X[rows], y[rows])
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_batches_give_what_one_fit_gives(kind):
    X, y = _blobs(2 if kind == "binary" else 4)
    y = np.eye(4, dtype=int)[y] if kind == "multilabel" else y
    weights = np.random.default_rng(1).uniform(size=200)
    whole, parts = CentroidProbe().fit(X, y, weights), CentroidProbe()
    for rows in np.array_split(np.arange(200), 7):
        classes = None if kind == "multilabel" else np.unique(y)
        parts.partial_fit(X[rows], y[rows], classes, weights[rows])
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X))


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_a_class_of_which_nothing_was_seen_is_never_predicted(classes):
    probe = CentroidProbe().partial_fit([[0.0], [1.0]], ["b", "b"], classes)
    assert probe.predict([[-9.0], [9.0]]).tolist() == ["b", "b"]
    probe.partial_fit([[8.0]], ["a"])
    assert probe.predict([[-9.0], [9.0]]).tolist() == ["b", "a"]


def test_classes_are_named_in_the_first_batch():
    with pytest.raises(ProbeError, match="needs classes="):
        CentroidProbe().partial_fit([[0.0]], ["a"])
    probe = CentroidProbe().partial_fit([[0.0]], ["a"], ["a", "b"])
    with pytest.raises(ProbeError, match="row 0 has label 'c', which is none of the classes"):
        probe.partial_fit([[0.0]], ["c"])


def test_the_module_is_the_probe():
    X, y = _blobs()
    probe = CentroidProbe().fit(X, y)
    scores = probe.as_torch()(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(scores.numpy(), probe.decision_function(X), atol=1e-4)
