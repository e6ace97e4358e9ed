from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.cache import ActivationCache
from neoscope.errors import ProbeError
from probes.data.dataset import ProbeData
from probes.data.places import Place

TEXTS = ["The keys are new.", "Mary smiled."]


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("organism")


@pytest.fixture(scope="module", params=["right", "left"])
def cache(model: Any, request: pytest.FixtureRequest) -> ActivationCache:
    tokens = model.tokenize(TEXTS, padding_side=request.param)
    _, cache = model.run_with_cache(tokens)
    return cache


def test_labelled_tokens_are_rows(cache: ActivationCache) -> None:
    labels = [["D", "N", "V", None, "P"], ["N", "V", -100]]
    data = ProbeData.from_cache(cache, labels, site=["resid_post", "z"], layers=[0, -1])
    assert (
        data.y.tolist() == ["D", "N", "V", "P", "N", "V"]
        and data.groups.tolist() == [0] * 4 + [1] * 2
    )
    assert data.words is not None and [w.strip() for w in data.words[:2]] == ["The", "keys"]
    assert [str(place) for place in data.places] == ["resid_post 0", "resid_post 3", "z 0", "z 3"]
    assert cache.tokens is not None
    real = cache.tokens.mask.numpy()
    flat = cache["resid_post", 3].numpy()[real]
    np.testing.assert_array_equal(data.matrix(Place("resid_post", 3)), flat[[0, 1, 2, 4, 5, 6]])


def test_labels_may_be_a_tensor_of_all_columns(cache: ActivationCache) -> None:
    labels = torch.full((2, 5), -100)
    assert cache.tokens is not None
    labels[cache.tokens.mask] = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    data = ProbeData.from_cache(cache, labels)
    assert data.y.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("pool", ["last", "first", "mean"])
def test_labelled_texts_are_rows(model: Any, cache: ActivationCache, pool: str) -> None:
    data = ProbeData.from_cache(cache, ["a", "b"], pool=pool)
    direct = ProbeData.from_texts(model, TEXTS, ["a", "b"], pool=pool)
    assert data.places == direct.places and data.types is not None
    assert data.types.tolist() == ["new", "smiled"] and data.source.model == direct.source.model
    for place in data.places:
        np.testing.assert_allclose(data.matrix(place), direct.matrix(place), atol=2e-5)
    np.testing.assert_allclose(
        data.baseline("embeddings"), direct.baseline("embeddings"), atol=1e-6
    )


def test_heads_are_parts_of_z(cache: ActivationCache) -> None:
    data = ProbeData.from_cache(cache, ["a", "b"], site="z", layers=2, heads=True)
    for place in data.places:
        expected = cache.last("z", 2)[:, place.head]
        np.testing.assert_array_equal(data.matrix(place), expected)


def test_a_saved_cache_does_as_well(cache: ActivationCache, tmp_path: Path) -> None:
    cache.save(tmp_path / "c.safetensors")
    loaded = ActivationCache.load(tmp_path / "c.safetensors")
    expected = ProbeData.from_cache(cache, ["a", "b"])
    data = ProbeData.from_cache(loaded, ["a", "b"])
    assert data.source.model == expected.source.model
    place = Place("resid_post", 1)
    np.testing.assert_array_equal(data.matrix(place), expected.matrix(place))


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        (["a"], {}, "1 labels for a cache of 2 texts"),
        ([["a"] * 5, ["b"]], {}, "text 1 has 3 tokens in 5 columns, but 1 labels"),
        ([[None] * 5, [None] * 3], {}, "no token has a label"),
        (["a", "b"], {"pool": "max"}, "pool='max' is unknown"),
        (["a", "b"], {"site": "resid_pots"}, "did you mean"),
        (["a", "b"], {"layers": [7]}, "layer 7 does not exist"),
        (["a", "b"], {"site": "pattern"}, "one vector a token"),
        (["a", "b"], {"heads": True}, "resid_post has none"),
        (["a", None], {}, "row 1 has none"),
    ],
)
def test_what_a_cache_lacks_is_named(
    cache: ActivationCache, labels: Any, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_cache(cache, labels, **more)


def test_a_site_that_was_not_kept_is_named(model: Any) -> None:
    _, cache = model.run_with_cache(TEXTS, sites=["resid_pre"])
    with pytest.raises(
        ProbeError, match="'resid_post' is not in the cache; did you mean 'resid_pre'"
    ):
        ProbeData.from_cache(cache, ["a", "b"])


def test_what_is_no_cache_is_refused() -> None:
    with pytest.raises(ProbeError, match=r"expected a cache of model\.run_with_cache, found dict"):
        ProbeData.from_cache({}, ["a", "b"])
