from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from neoscope.errors import ProbeError
from probes.erasure import (
    Eraser,
    LeaceFitter,
    fit_leace,
    fit_leace_layers,
    fit_mean_projection,
)
from tests.probes.erasure.cases import KINDS, rows


def gap(erased: np.ndarray, y: np.ndarray) -> float:
    """Largest distance of a class's mean from the mean."""
    mean = erased.mean(0)
    return max(float(np.abs(erased[y == k].mean(0) - mean).max()) for k in np.unique(y))


@pytest.mark.parametrize("fit", [fit_leace, fit_mean_projection])
@pytest.mark.parametrize("kind", KINDS)
def test_class_means_are_equal_afterwards(kind: str, fit: object) -> None:
    X, y = rows(kind)
    erased = fit(X, y)(X)  # type: ignore[operator]
    assert gap(erased, y) < 1e-8
    assert gap(X, y) > 0.1


@pytest.mark.parametrize("fit", [fit_leace, fit_mean_projection])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_projection_of_rank_classes_minus_one_that_keeps_the_mean(
    kind: str, fit: object
) -> None:
    X, y = rows(kind)
    eraser: Eraser = fit(X, y)  # type: ignore[operator]
    size = np.abs(X - X.mean(0)).max()
    erased = eraser(X)
    assert eraser.rank == 3
    assert np.linalg.matrix_rank(np.eye(X.shape[1]) - eraser.matrix()) == 3
    np.testing.assert_allclose(eraser.right @ eraser.left, np.eye(3), atol=1e-7)
    np.testing.assert_allclose(eraser(erased), erased, atol=1e-9 * max(size, 1.0))
    np.testing.assert_allclose(erased.mean(0), X.mean(0, dtype=np.float64), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["plain", "offset", "dependent", "constant", "outliers", "few"])
def test_it_changes_no_more_than_the_orthogonal_projection(kind: str) -> None:
    X, y = rows(kind)
    changed = [float(((fit(X, y)(X) - X) ** 2).sum()) for fit in (fit_leace, fit_mean_projection)]
    assert changed[0] <= changed[1] * (1 + 1e-9)


def test_it_is_the_papers_formula() -> None:
    X, y = rows()
    z = np.eye(4)[y]
    centred, cross = X - X.mean(0), (X - X.mean(0)).T @ (z - z.mean(0)) / len(X)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(X))
    whiten, unwhiten = (vectors * values**p @ vectors.T for p in (-0.5, 0.5))
    u = np.linalg.svd(whiten @ cross)[0][:, :3]
    expected = np.eye(12) - unwhiten @ u @ u.T @ whiten
    np.testing.assert_allclose(fit_leace(X, y).matrix(), expected, atol=1e-9)


def test_no_linear_probe_does_better_than_a_constant() -> None:
    X, y = rows()
    erased = fit_leace(X, y)(X)
    share = np.bincount(y) / len(y)
    probe = LogisticRegression(C=1e6, max_iter=2000, tol=1e-10).fit(erased, y)
    loss = -probe.predict_log_proba(erased)[np.arange(len(y)), y].mean()
    assert loss == pytest.approx(-(share * np.log(share)).sum(), abs=1e-6)
    ridge = Ridge(alpha=1e-6).fit(erased, np.eye(4)[y])
    np.testing.assert_allclose(ridge.predict(erased), np.tile(share, (len(y), 1)), atol=1e-8)


def test_quantities_are_erased_too() -> None:
    X, _ = rows()
    z = X @ np.random.default_rng(1).normal(size=(12, 2))
    eraser = fit_leace(X, z)
    erased = eraser(X)
    assert eraser.rank == 2
    covariance = (erased - erased.mean(0)).T @ (z - z.mean(0)) / len(z)
    assert np.abs(covariance).max() < 1e-9
    assert fit_leace(X, z[:, 0]).rank == 1


def test_a_stream_of_batches_is_the_whole() -> None:
    X, y = rows()
    fitter = LeaceFitter(12, 4)
    for at in (slice(0, 1), slice(1, 300), slice(300, 600)):
        fitter.update(X[at], y[at])
    assert fitter.n_rows == 600
    np.testing.assert_allclose(fitter.eraser().matrix(), fit_leace(X, y).matrix(), atol=1e-10)
    one_hot = LeaceFitter(12, 4).update(X, np.eye(4)[y]).eraser()
    np.testing.assert_allclose(one_hot.matrix(), fit_leace(X, y).matrix(), atol=1e-9)


def test_layers_share_their_labels() -> None:
    X, y = rows()
    stack = np.stack([X, X[:, ::-1], X**3])
    words = np.array(["noun", "verb", "adj", "adv"])[y]
    for eraser, layer in zip(fit_leace_layers(stack, words), stack, strict=True):
        np.testing.assert_allclose(eraser.matrix(), fit_leace(layer, y).matrix(), atol=1e-10)


def test_blocks_of_rows_and_many_classes_change_nothing() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 100, 9000)
    X = (rng.normal(size=(9000, 20)) + rng.normal(size=(100, 20))[y]).astype(np.float32)
    eraser = fit_leace(X, y)
    assert eraser.rank == 20  # a hundred means span all twenty dimensions: nothing is left
    assert gap(eraser(X), y) < 1e-8
    exact = fit_leace(X.astype(np.float64), y % 3)
    np.testing.assert_allclose(fit_leace(X, y % 3).matrix(), exact.matrix(), atol=1e-6)


def test_what_carries_nothing_is_left_alone() -> None:
    X, y = np.repeat(rows()[0][:50], 2, axis=0), np.arange(100) % 2
    eraser = fit_leace(X, y)
    assert eraser.rank == 0
    assert (eraser(X) == X).all()


def test_read_only_and_memory_mapped_rows_are_read(tmp_path: object) -> None:
    X, y = rows("float32")
    np.save(f"{tmp_path}/x.npy", X)
    mapped = np.load(f"{tmp_path}/x.npy", mmap_mode="r")
    assert (fit_leace(mapped, y).matrix() == fit_leace(X, y).matrix()).all()


def test_it_agrees_with_the_concept_erasure_package() -> None:
    torch, ce = pytest.importorskip("torch"), pytest.importorskip("concept_erasure")
    X, y = rows()
    exact = {"shrinkage": False, "svd_tol": 1e-9, "constrain_cov_trace": False}
    theirs = ce.LeaceEraser.fit(torch.tensor(X), torch.eye(4).double()[y], **exact)
    np.testing.assert_allclose(fit_leace(X, y).matrix(), theirs.P.numpy(), atol=1e-8)


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        (np.ones((4, 2)), [0, 0, 0, 0], "one class"),
        (np.ones((4, 2)), [0, 1, 0], "4 rows of features but 3 labels"),
        (np.array([[0.0, 1], [np.nan, 1], [0, 1]]), [0, 1, 0], "row 1"),
        (np.ones((3, 2)), [0.1, 0.1, 0.1], r"all 3 rows have \[0.1\]"),
        (np.ones(4), [0, 1, 0, 1], r"expected numbers \[rows, features\]"),
        (np.array([[0.0, 1], [0, 1]]), np.array([0.5, np.inf]), "row 1 is not finite"),
    ],
)
def test_bad_input_is_refused(X: np.ndarray, y: object, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        fit_leace(X, y)


def test_a_layer_with_bad_values_is_named() -> None:
    X, y = rows()
    bad = X.copy()
    bad[7, 3] = np.inf
    with pytest.raises(ProbeError, match=r"layer 1.*row 7"):
        fit_leace_layers([X, bad], y)


def test_class_numbers_are_never_taken_for_quantities() -> None:
    X, y = rows()
    with pytest.raises(ProbeError, match="n_labels"):
        LeaceFitter(12, 1).update(X, y)
    with pytest.raises(ProbeError, match="from 0 to 2"):
        LeaceFitter(12, 3).update(X, y)
    with pytest.raises(ProbeError, match="at least 2 rows"):
        LeaceFitter(12, 3).eraser()


@pytest.mark.parametrize(
    ("n_labels", "labels"),
    [(4, np.zeros(600, int)), (4, np.eye(4)[np.full(600, 2)]), (1, np.full(600, 0.1))],
)
def test_a_stream_of_one_class_is_refused_and_may_go_on(n_labels: int, labels: np.ndarray) -> None:
    X, y = rows()
    fitter = LeaceFitter(12, n_labels).update(X, labels)
    with pytest.raises(ProbeError, match="all 600 rows so far have the same label"):
        fitter.eraser()
    further = y if n_labels > 1 else y / 2
    assert fitter.update(X, further).eraser().rank > 0
