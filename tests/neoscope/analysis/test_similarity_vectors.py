"""Anisotropy, outlier dimensions and effective rank: identities, planted truths, streaming."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.similar import source as similar_source
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.export import FeatureSpec, extract, to_store
from neoscope.organism.compiled import OUTLIER_TRUTH, outlier_prompts
from neoscope.store import FeatureStore

TRUTH = OUTLIER_TRUTH


def mean_over_pairs(X: Any) -> float:
    """Mean cosine over all pairs of different rows, the slow way."""
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = units @ units.T
    return float(cosines[~np.eye(len(X), dtype=bool)].mean())


def zscore(X: Any) -> Any:
    return (X - X.mean(0)) / X.std(0)


@pytest.fixture(scope="module")
def planted() -> ActivationCache:
    return ns.load("outliers").run_with_cache(outlier_prompts())[1]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(3, 60), d=st.integers(2, 20), offset=st.floats(0, 100), seed=st.integers(0, 99)
)
def test_anisotropy_is_the_mean_over_all_pairs(n: int, d: int, offset: float, seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(n, d)) + offset
    found = analysis.anisotropy(X)
    assert found.raw[0] == pytest.approx(mean_over_pairs(X), abs=1e-9)
    assert found.centred[0] == pytest.approx(mean_over_pairs(X - X.mean(0)), abs=1e-9)
    assert found.standardised[0] == pytest.approx(mean_over_pairs(zscore(X)), abs=1e-9)


def test_norms_are_those_of_the_rows() -> None:
    X = np.random.default_rng(0).normal(size=(50, 4)) + 3
    norms = np.linalg.norm(X, axis=1)
    found = analysis.anisotropy(X)
    said = [found.mean_norm, found.sd_norm, found.min_norm, found.max_norm, found.norm_of_mean]
    expected = [norms.mean(), norms.std(), norms.min(), norms.max(), np.linalg.norm(X.mean(0))]
    np.testing.assert_allclose(np.concatenate(said), expected)


def test_rows_without_a_direction_are_counted_and_left_out() -> None:
    X = np.random.default_rng(0).normal(size=(20, 4)) + 3
    found = analysis.anisotropy(np.concatenate([X, np.zeros((2, 4))]))
    assert found.n_zero[0] == 2
    assert found.raw[0] == pytest.approx(mean_over_pairs(X))


def test_planted_outliers_make_the_anisotropy_and_centring_takes_it_away(
    planted: ActivationCache,
) -> None:
    found = analysis.anisotropy(planted)
    for layer in range(4):
        before = layer < TRUTH.first_layer
        cosine = TRUTH.cosine_before if before else TRUTH.cosine
        assert found.raw[layer] == pytest.approx(cosine, abs=1e-6)
        assert found.centred[layer] == pytest.approx(TRUTH.cosine_centred, abs=1e-5)
        assert found.standardised[layer] == pytest.approx(TRUTH.cosine_standardised, abs=1e-5)
        norm = TRUTH.norm_before if before else TRUTH.norm
        assert found.mean_norm[layer] == pytest.approx(norm, rel=1e-6)


def test_planted_outliers_own_their_shares(planted: ActivationCache) -> None:
    found = analysis.outlier_dimensions(planted)
    assert found.dims("resid_post_0") == ()
    for layer in range(TRUTH.first_layer, 4):
        assert found.dims(f"resid_post_{layer}") == TRUTH.dims
        np.testing.assert_allclose(found.share[layer, list(TRUTH.dims)], TRUTH.shares, atol=1e-6)
        others = np.delete(found.share[layer], TRUTH.dims)
        np.testing.assert_allclose(others, TRUTH.other_share, atol=1e-6)
        means = found.mean[layer, list(TRUTH.dims)]
        np.testing.assert_allclose(means, TRUTH.sizes, rtol=1e-6)
        np.testing.assert_allclose(found.sd[layer], TRUTH.std, rtol=1e-4)
    np.testing.assert_allclose(found.share[0], TRUTH.share_before, atol=1e-6)
    assert "resid_post_1: 3 own 100.0%" in found.heading()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 60), d=st.integers(2, 20), seed=st.integers(0, 99))
def test_contributions_sum_to_the_mean_cosine(n: int, d: int, seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(n, d)) + 1
    found = analysis.outlier_dimensions(X)
    assert found.contribution.sum() == pytest.approx(mean_over_pairs(X), abs=1e-9)
    assert found.cosine[0] == pytest.approx(analysis.anisotropy(X).raw[0], abs=1e-12)
    assert found.share.sum() == pytest.approx(1)
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    products = units[:, None] * units[None]
    expected = products[~np.eye(n, dtype=bool)].mean(0)
    np.testing.assert_allclose(found.contribution[0], expected, atol=1e-9)


def test_a_single_planted_offset_owns_nearly_all() -> None:
    X = np.random.default_rng(0).normal(size=(500, 40))
    X[:, 7] += 100
    found = analysis.outlier_dimensions(X)
    assert found.dims() == (7,)
    assert found.share[0, 7] == pytest.approx(1, abs=1e-3)
    assert found.sigmas[0, 7] > 100
    assert found.summary().iloc[0].dim == 7


def test_kurtosis_is_that_of_each_dimension() -> None:
    from scipy.stats import kurtosis

    rng = np.random.default_rng(0)
    X = np.stack([rng.normal(size=900), rng.laplace(size=900) + 50, np.full(900, 0.1)], axis=1)
    found = analysis.outlier_dimensions(X).kurtosis[0]
    np.testing.assert_allclose(found[:2], kurtosis(X[:, :2]), rtol=1e-6)
    assert np.isnan(found[2])


@pytest.mark.parametrize("k", [1, 3, 8])
def test_effective_rank_of_an_isotropic_subspace_is_its_dimension(k: int) -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(20, 20)))[0][:k]
    rows = np.concatenate([basis, -basis]) * 3 + rng.normal(size=20) * 100
    found = analysis.effective_rank(rows)
    for measure in (found.effective_rank, found.spectral_rank, found.participation_ratio):
        assert measure[0] == pytest.approx(k, rel=1e-4)
    assert found.components[0, 2] == k


def test_effective_rank_follows_the_spectrum() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 10)) * np.geomspace(1, 0.01, 10) + 5
    singular = np.linalg.svd(X - X.mean(0), compute_uv=False)
    found = analysis.effective_rank(X)
    p = singular / singular.sum()
    assert found.effective_rank[0] == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    e = singular**2
    assert found.participation_ratio[0] == pytest.approx(e.sum() ** 2 / (e**2).sum())
    assert found.components[0, 1] == np.argmax(np.cumsum(e) / e.sum() >= 0.9) + 1
    assert "no rank exceeds 4" in analysis.effective_rank(X[:5]).heading()
    assert analysis.effective_rank(np.full((5, 3), 0.1)).effective_rank[0] == 0


def test_a_streamed_store_gives_what_memory_gives(tmp_path: Path, monkeypatch: Any) -> None:
    texts = [sentence.text for sentence in ns.organism.sentences("facts", 25)]
    model, spec = ns.load("organism"), FeatureSpec("resid_post", layers=[0, 3])
    to_store(model, texts, tmp_path / "f", spec, progress=False, shard_rows=6)
    store = FeatureStore.open(tmp_path / "f")
    features = extract(model, texts, spec, progress=False)
    expected = [f(features) for f in (analysis.anisotropy, analysis.outlier_dimensions,
                                      analysis.effective_rank)]  # fmt: skip
    monkeypatch.setattr(similar_source, "BLOCK_ROWS", 4)
    monkeypatch.setattr(similar_source, "MOST_BYTES", 1)
    streamed = [f(store) for f in (analysis.anisotropy, analysis.outlier_dimensions,
                                   analysis.effective_rank)]  # fmt: skip
    for one, other in zip(streamed, expected, strict=True):
        a, b = one.to_dataframe(), other.to_dataframe()
        numbers = a.select_dtypes("number").columns
        np.testing.assert_allclose(a[numbers], b[numbers], atol=2e-4, rtol=1e-4)


def test_results_are_kept_and_shown(planted: ActivationCache, tmp_path: Path) -> None:
    for f in (analysis.anisotropy, analysis.outlier_dimensions, analysis.effective_rank):
        found = f(planted)
        assert str(found).count("\n") >= 4
        assert max(map(len, str(found).splitlines())) <= 80
        for suffix in ("json", "safetensors"):
            again = analysis.load(found.save(tmp_path / f"x.{suffix}"))
            assert type(again) is type(found)
            for field in dataclasses.fields(found):
                a, b = getattr(again, field.name), getattr(found, field.name)
                np.testing.assert_array_equal(a, b)


def test_arguments_that_mean_nothing_are_refused(planted: ActivationCache) -> None:
    with pytest.raises(AnalysisError, match="threshold=0"):
        analysis.outlier_dimensions(planted, threshold=0)
    with pytest.raises(AnalysisError, match="threshold='6'; expected a number"):
        analysis.outlier_dimensions(planted, threshold="6")
    with pytest.raises(AnalysisError, match="columns of several widths: a"):
        analysis.outlier_dimensions({"a": np.ones((4, 2)), "b": np.ones((4, 3))})
    with pytest.raises(AnalysisError, match="at least 2"):
        analysis.effective_rank(np.ones((1, 3)))


def test_heading_tells_the_outliers_of_every_column(planted: ActivationCache) -> None:
    assert "resid_post_0" not in analysis.outlier_dimensions(planted).heading()
    many = {f"x_{i}": np.random.default_rng(i).normal(size=(50, 32)) for i in range(6)}
    for i in (1, 2, 3, 4):
        many[f"x_{i}"][:, 7] += 90
    found = analysis.outlier_dimensions(many).heading()
    assert "x_1: 1 own" in found
    assert found.endswith("and 1 other")
    assert analysis.outlier_dimensions(many["x_0"]).heading().endswith("sigma: none")


def test_an_offset_costs_no_more_digits_than_it_must() -> None:
    X = np.random.default_rng(0).normal(size=(400, 8))
    plain, moved = analysis.effective_rank(X), analysis.effective_rank(X + 1e9)
    np.testing.assert_allclose(moved.effective_rank, plain.effective_rank, rtol=1e-5)
    far = analysis.effective_rank(X + 1e13)
    np.testing.assert_allclose(far.effective_rank, plain.effective_rank, rtol=1e-2)
    found = analysis.anisotropy(X + 1e13)
    assert abs(found.centred[0]) < 0.01
