from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import ProbeError
from neoscope.export import FeatureSpec, to_store
from neoscope.store import FeatureStore
from probes.data.dataset import ProbeData
from probes.data.places import Place

TEXTS = ["I liked the film.", "The keys are new.", "I liked the film.", "Mary smiled."]
ROWS = [{"text": text, "mood": "ab"[k % 2], "doc": k // 2} for k, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("organism")


@pytest.fixture(scope="module")
def texts(model: Any, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    spec = FeatureSpec(["resid_post", "z", "embed"], pool=["mean", "last"])
    folder = tmp_path_factory.mktemp("store") / "texts"
    return to_store(model, ROWS, folder, spec, progress=False).store


@pytest.fixture(scope="module")
def tokens(model: Any, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("store") / "tokens"
    return to_store(model, TEXTS, folder, FeatureSpec(pool="none"), progress=False).store


def test_rows_of_a_store_are_rows_of_the_data(model: Any, texts: FeatureStore) -> None:
    data = ProbeData.from_store(texts.path, "mood", pool="last", groups="doc")
    assert Place("embed") not in data.places and len(data.places) == 8
    assert data.label == "mood" and data.n_groups == 2 and data.type_name == "last word"
    assert (data.source.model, data.source.pool) == (model.fingerprint(), "last")
    assert data.source.more["prepend_bos"] is False
    np.testing.assert_array_equal(
        data.matrix(Place("resid_post", 2)), texts.to_numpy("resid_post_2_last")
    )
    np.testing.assert_array_equal(data.baseline("embeddings"), texts.to_numpy("embed_last"))
    assert ProbeData.from_store(texts, [0, 1, 0, 1], pool="mean").groups.tolist() == [0, 1, 0, 2]


def test_some_rows_sites_layers_and_heads(texts: FeatureStore) -> None:
    some = texts.select(rows=[3, 0])
    data = ProbeData.from_store(some, "mood", pool="mean", site="z", layers=[-1], heads=4)
    assert [str(place) for place in data.places] == [f"z 3.{k}" for k in range(4)]
    joined = np.concatenate([data.matrix(place) for place in data.places], 1)
    np.testing.assert_array_equal(joined, texts.to_numpy("z_3_mean")[[3, 0]])


@pytest.fixture(scope="module")
def twin(model: Any, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The same rows as a model with random weights reads them."""
    other = type(model).from_config(model.config, 7, tokenizer=model.tokenizer)
    folder = tmp_path_factory.mktemp("store") / "twin"
    spec = FeatureSpec(["resid_post", "z", "embed"], pool=["mean", "last"])
    return to_store(other, ROWS, folder, spec, progress=False).store


def test_a_second_store_is_the_random_twin(texts: FeatureStore, twin: FeatureStore) -> None:
    options: dict[str, Any] = {"pool": "last", "random_twin": twin.path}
    data = ProbeData.from_store(texts, "mood", **options)
    for view in (data, data.select("resid_post", layers=[1]), data.take([2, 0])):
        other = view.baseline("random-init")
        assert isinstance(other, ProbeData) and other.n_rows == view.n_rows
        expected = twin.to_numpy("resid_post_1_last")[[2, 0] if view.n_rows == 2 else slice(None)]
        np.testing.assert_array_equal(other.matrix("resid_post 1"), expected)
    assert ProbeData.from_store(texts, "mood", pool="last").baseline("random-init") is None


def test_what_is_no_twin_is_refused(
    texts: FeatureStore, tokens: FeatureStore, twin: FeatureStore
) -> None:
    options: dict[str, Any] = {"pool": "last", "site": "resid_post"}
    with pytest.raises(ProbeError, match="made by the same model as the data"):
        ProbeData.from_store(texts, "mood", random_twin=texts, **options)
    four = tokens.select(rows=[0, 1, 2, 3])
    with pytest.raises(ProbeError, match=r"random_twin: .* has no features of pool='last'"):
        ProbeData.from_store(texts, "mood", random_twin=four, **options)
    with pytest.raises(ProbeError, match="random_twin has 3 rows, and the data have 4"):
        ProbeData.from_store(texts, "mood", random_twin=twin.select(rows=[0, 1, 2]), **options)
    with pytest.raises(ProbeError, match=r"random_twin: row 0 is .*Mary.*must be of the same rows"):
        ProbeData.from_store(texts, "mood", random_twin=twin.select(rows=[3, 1, 2, 0]), **options)


def test_tokens_are_grouped_by_their_text(tokens: FeatureStore) -> None:
    words = tokens.to_arrow(["token"])["token"].to_pylist()
    data = ProbeData.from_store(tokens, [len(word) > 3 for word in words])
    assert data.n_groups == 4 and data.type_name == "token" and data.source.pool == "token"
    assert data.words is not None and data.words.tolist() == words
    np.testing.assert_array_equal(
        data.matrix(Place("resid_post", 1), [7]), tokens.to_numpy("resid_post_1")[[7]]
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "features of several poolings: choose pool= of mean, last"),
        ({"pool": "lats"}, "did you mean 'last'"),
        ({"pool": "last", "site": "resid_pre"}, "no site is called 'resid_pre' here; did you mean"),
        ({"pool": "last", "layers": [7]}, "layer 7 is not here; layers that are: 0, 1, 2, 3"),
        ({"pool": "last", "labels": "mod"}, "labels='mod'.*did you mean 'mood'"),
        ({"pool": "last", "groups": "dok"}, "groups='dok'.*did you mean 'doc'"),
        ({"pool": "last", "labels": ["a", "b"]}, "2 labels for the 4 rows of"),
        ({"pool": "last", "site": "z", "heads": 3}, "128 numbers a row cannot be those of 3 heads"),
        ({"pool": "last", "site": "resid_post", "heads": 4}, "resid_post has none"),
    ],
)
def test_what_a_store_lacks_is_named(texts: FeatureStore, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_store(texts, **{"labels": "mood", **more})
