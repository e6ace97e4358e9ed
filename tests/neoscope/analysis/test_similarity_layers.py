"""CKA between layers is the same whatever holds them, and however they are read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.similar import layers as similar_layers
from neoscope.analysis.similar import source as similar_source
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.export import FeatureSpec, extract, to_store
from neoscope.store import FeatureStore
from tests.neoscope.analysis.similarity_runs import RANDOM, TEXTS, noise


@pytest.fixture(scope="module")
def cache() -> ActivationCache:
    model = ns.load("organism")
    return model.run_with_cache(TEXTS, return_type=None)[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    path = tmp_path_factory.mktemp("similar") / "features"
    spec = FeatureSpec("resid_post", pool=["mean", "last"])
    to_store(ns.load("organism"), TEXTS, path, spec, progress=False, shard_rows=7)
    return FeatureStore.open(path)


def tokens_of(cache: ActivationCache, layer: int) -> Any:
    assert cache.tokens is not None
    return cache["resid_post", layer][cache.tokens.mask].double().numpy()


def test_layers_of_a_cache_are_compared_over_real_tokens(cache: ActivationCache) -> None:
    assert cache.tokens is not None
    assert not cache.tokens.mask.all()
    found = analysis.similarity(cache)
    assert found.names == tuple(f"resid_post_{layer}" for layer in range(4))
    assert found.n_rows == sum(cache.tokens.lengths)
    for a in range(4):
        for b in range(4):
            expected = analysis.cka(tokens_of(cache, a), tokens_of(cache, b))
            assert found.cka[a, b] == pytest.approx(expected, abs=1e-9)


def test_padding_side_and_batch_axis_change_nothing(cache: ActivationCache, tmp_path: Path) -> None:
    model = ns.load("organism")
    left = model.run_with_cache(TEXTS, padding_side="left", return_type=None)[1]
    expected = analysis.similarity(cache, debiased=False).cka
    np.testing.assert_allclose(analysis.similarity(left, debiased=False).cka, expected, atol=1e-5)
    _, one = model.run_with_cache(TEXTS[0])
    _, bare = model.run_with_cache(TEXTS[0], remove_batch_dim=True)
    bare.save(tmp_path / "one.safetensors")
    again = ActivationCache.load(tmp_path / "one.safetensors")
    expected = analysis.similarity(one, sites=["resid_mid", "z"], layers=[1, 2]).cka
    for other in (bare, again):
        found = analysis.similarity(other, sites=["resid_mid", "z"], layers=[1, 2])
        np.testing.assert_array_equal(found.cka, expected)


def test_a_cache_of_some_positions_or_other_sites_is_compared() -> None:
    model = ns.load("organism")
    _, some = model.run_with_cache(TEXTS, sites=["z", "pattern", "scale"], positions=[0, -1])
    found = analysis.similarity(some)
    assert found.names == ("z_0", "z_1", "z_2", "z_3")
    assert found.n_rows == 2 * len(TEXTS)


def test_store_features_and_arrays_agree(store: FeatureStore, monkeypatch: Any) -> None:
    spec = FeatureSpec("resid_post", pool=["mean", "last"])
    features = extract(ns.load("organism"), TEXTS, spec, progress=False)
    expected = analysis.similarity(features)
    monkeypatch.setattr(similar_source, "BLOCK_ROWS", 4)
    for source in (store, dict(features.columns), features):
        found = analysis.similarity(source)
        assert found.names == expected.names
        np.testing.assert_allclose(found.cka, expected.cka, atol=1e-5)
    for module in (similar_layers, similar_source):
        monkeypatch.setattr(module, "MOST_BYTES", 1)
    seen: list[tuple[int, int]] = []
    found = analysis.similarity(store, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(found.cka, expected.cka, atol=1e-5)
    assert seen[-1] == (36 * 30, 36 * 30)


def test_a_store_is_never_in_memory_whole(store: FeatureStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(FeatureStore, "to_numpy", None)
    monkeypatch.setattr(similar_source, "BLOCK_ROWS", 4)
    opened = similar_source.open_source(store)
    assert [len(block["resid_post_0_mean"]) for block in opened.blocks()] == [4] * 7 + [2]
    analysis.similarity(store, columns=["resid_post_0_mean", "resid_post_3_mean"])


def test_a_cache_in_half_precision_is_compared_as_it_is_kept() -> None:
    half = ns.load("organism", dtype=torch.bfloat16)
    _, cache = half.run_with_cache(TEXTS, sites="resid_post", return_type=None)
    assert cache["resid_post", 0].dtype == torch.bfloat16
    expected = analysis.cka(tokens_of(cache, 0), tokens_of(cache, 2))
    assert analysis.similarity(cache).cka[0, 2] == pytest.approx(expected, abs=1e-9)


def test_two_sources_of_the_same_rows_are_compared(cache: ActivationCache) -> None:
    other = ns.load("organism-before").run_with_cache(TEXTS, return_type=None)[1]
    found = analysis.similarity(cache, other, layers=[0, 3])
    assert found.cka.shape == (2, 2)
    expected = analysis.cka(tokens_of(cache, 0), tokens_of(other, 3))
    assert found.cka[0, 1] == pytest.approx(expected, abs=1e-9)
    same = analysis.similarity(cache, cache)
    np.testing.assert_allclose(same.cka, analysis.similarity(cache).cka, atol=1e-12)
    with pytest.raises(AnalysisError, match="the same rows"):
        analysis.similarity(cache, np.ones((5, 3)) * np.arange(3))


def test_a_stack_of_layers_is_a_source() -> None:
    stack = RANDOM.normal(size=(3, 20, 6))
    found = analysis.similarity(stack)
    assert found.names == ("layer_0", "layer_1", "layer_2")
    assert found.cka[0, 2] == pytest.approx(analysis.cka(stack[0], stack[2]))


def test_a_column_that_does_not_vary_is_nan() -> None:
    X = RANDOM.normal(size=(20, 3))
    found = analysis.similarity({"x": X, "flat": np.full((20, 3), 0.1)})
    assert np.isnan(found.cka[0, 1]) and np.isnan(found.cka[1, 1])
    assert found.cka[0, 0] == pytest.approx(1)
    assert "does not vary" in found.heading()


def test_result_is_a_table_and_is_kept(cache: ActivationCache, tmp_path: Path) -> None:
    found = analysis.similarity(cache)
    table = found.to_dataframe()
    assert len(table) == 16
    row = table[(table.layer == 1) & (table.other_layer == 2)].iloc[0]
    assert row.cka == found.cka[1, 2]
    assert found.matrix().loc["resid_post_1", "resid_post_2"] == row.cka
    assert "more rows" not in str(found)
    for suffix in ("json", "safetensors"):
        again = analysis.load(found.save(tmp_path / f"x.{suffix}"))
        for field in dataclasses.fields(found):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))


def test_bad_sources_are_named(cache: ActivationCache, store: FeatureStore) -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (store, {"columns": ["resid_post_3_men"]}, "did you mean 'resid_post_3_mean'"),
        (store, {"columns": ["text"]}, "column 'text' .* holds no vectors"),
        (store, {"sites": "resid_post"}, "sites= selects from a cache; this is FeatureStore"),
        (cache, {"columns": ["x"]}, "columns= selects from a store"),
        (cache, {"sites": "pattern"}, "holds no vectors of 'pattern'"),
        (np.ones((1, 4)), {}, "has 1 row; at least 2"),
        ({"a": np.ones((5, 2)), "b": np.ones((6, 2))}, {}, "columns of 5 and 6 rows"),
        (
            {"a": np.ones(5)},
            {},
            r"no vectors, which are rows of two numbers or more; it has a \[5\]",
        ),
        (np.ones((9, 1)), {}, r"no vectors, .*; it has x \[9, 1\]"),
        (np.ones((5, 2), complex), {}, "the array holds complex128; expected real numbers"),
        ({"a": [["x", "y"]] * 5}, {}, "column 'a' holds <U1; expected real numbers"),
        ({"a": [[1.0, 2.0], [3.0]]}, {}, "column 'a' is no array"),
        ("text", {}, "the source is str"),
    ]
    for source, options, message in cases:
        with pytest.raises(AnalysisError, match=message):
            analysis.similarity(source, **options)
    with pytest.raises(ns.NeoscopeError, match="resid_post"):
        analysis.similarity(cache, sites="resid_pots")


def test_nan_names_its_row_and_column() -> None:
    X = RANDOM.normal(size=(9000, 3))
    X[8999, 2] = np.nan
    with pytest.raises(AnalysisError, match=r"row 8999 of 'x' holds nan \(dimension 2\)"):
        analysis.anisotropy(X)


def test_print_is_a_matrix_of_layers_in_eighty_columns() -> None:
    layers = {f"resid_post_{i}": x for i, x in enumerate(noise(30, *[6] * 12))}
    for n in (4, 12):
        found = analysis.similarity(dict(list(layers.items())[:n]))
        assert max(map(len, str(found).splitlines())) <= 80
        assert str(found).splitlines()[1].split()[:5] == ["resid_post", "0", "1", "2", "3"]


@pytest.mark.parametrize(
    "f",
    [
        analysis.similarity,
        analysis.anisotropy,
        analysis.outlier_dimensions,
        analysis.effective_rank,
    ],
)
def test_interruption_says_that_nothing_was_lost(f: Any) -> None:
    def press(done: int, total: int) -> None:
        raise KeyboardInterrupt

    X = noise(50, 4)[0]
    with pytest.raises(KeyboardInterrupt, match=f"{f.__name__} was interrupted.*nothing was"):
        f(X, progress=press)
    with pytest.raises(AnalysisError, match=f"{f.__name__}: progress='x'; expected"):
        f(X, progress="x")
