"""Featurizer: a scikit-learn transformer whose numbers are those of extract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from neoscope import organism
from neoscope.errors import ArgumentError, CheckpointError, ExportError, SiteError
from neoscope.export import TruncationWarning
from neoscope.export.featurizer import Featurizer
from neoscope.export.featurizer.cache import CACHE
from neoscope.export.spec import FeatureSpec
from tests.neoscope.export.featurizing import FEW, LABELS, TEXTS, features


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    CACHE.clear()
    yield
    CACHE.clear()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    ("parameters", "spec"),
    [
        ({}, FeatureSpec(layers=-1)),
        (
            {"layer": [0, 2], "pool": ["mean", "last"]},
            FeatureSpec(layers=[0, 2], pool=["mean", "last"]),
        ),
        ({"layer": None, "pool": "max"}, FeatureSpec(pool="max")),
        ({"site": "hidden", "layer": 3}, FeatureSpec("hidden")),
        ({"site": ["z", "loss"], "layer": 1}, FeatureSpec(["z", "loss"], layers=1)),
        ({"positions": slice(1, None)}, FeatureSpec(layers=-1, positions=slice(1, None))),
        (
            {"normalize": True, "dtype": "float16"},
            FeatureSpec(layers=-1, normalize=True, dtype="float16"),
        ),
    ],
)
def test_features_are_those_that_extract_gives(
    parameters: dict[str, Any], spec: FeatureSpec, cache: bool
) -> None:
    found = Featurizer("organism", cache=cache, **parameters).fit(FEW).transform(FEW)
    assert found.dtype == spec.dtype
    np.testing.assert_array_equal(found, features(spec))


def test_order_and_repetition_of_texts_do_not_matter() -> None:
    order = [3, 0, 0, 7, 3]
    expected = features(FeatureSpec(layers=-1))[order]
    for cache in (True, False):
        found = Featurizer(cache=cache).fit_transform([FEW[i] for i in order])
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_a_classifier_learns_sentiment() -> None:
    pipe = make_pipeline(Featurizer("organism", layer=2), StandardScaler(), LogisticRegression())
    test = organism.sentences("sentiment", 100)
    score = pipe.fit(TEXTS, LABELS).score(
        [s.text for s in test], [s.attributes["sentiment"] for s in test]
    )
    assert score > 0.9


def test_names_are_those_of_the_columns() -> None:
    featurizer = Featurizer(site=["loss", "resid_post"], layer=[1, 3], pool=["mean", "last"])
    names = featurizer.fit(FEW).get_feature_names_out()
    assert len(names) == featurizer.n_features_out_ == featurizer.transform(FEW).shape[1]
    assert names[:3].tolist() == ["loss_mean", "loss_last", "resid_post_1_mean_0"]
    assert names[-1] == "resid_post_3_last_127"


def test_pandas_output_keeps_the_index() -> None:
    column = pd.Series(FEW, index=[f"row {i}" for i in range(len(FEW))], name="text")
    frame = Featurizer(layer=0).set_output(transform="pandas").fit_transform(column)
    assert frame.index.tolist() == column.index.tolist()
    assert frame.columns[0] == "resid_post_0_mean_0"
    np.testing.assert_array_equal(frame.to_numpy(), features(FeatureSpec(layers=0)))


@pytest.mark.parametrize("column", ["text", ["text"]])
def test_a_column_transformer_picks_the_texts(column: Any) -> None:
    frame = pd.DataFrame({"length": [len(text) for text in FEW], "text": FEW})
    columns = ColumnTransformer(
        [("words", Featurizer(layer=1), column), ("numbers", "passthrough", ["length"])]
    )
    found = columns.set_output(transform="pandas").fit_transform(frame)
    assert found.columns[0] == "words__resid_post_1_mean_0"
    assert found.shape == (len(FEW), 129)
    np.testing.assert_array_equal(found.to_numpy()[:, -1], frame["length"])


def test_a_union_puts_features_side_by_side() -> None:
    union = FeatureUnion([("a", Featurizer(layer=0)), ("b", Featurizer(site="hidden"))])
    found = union.fit_transform(FEW)
    expected = [features(FeatureSpec(layers=0)), features(FeatureSpec("hidden"))]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-5, rtol=1e-5)
    assert union.get_feature_names_out()[-1] == "b__hidden_mean_127"


def test_a_frame_is_remembered_by_the_name_of_its_column() -> None:
    featurizer = Featurizer().fit(pd.DataFrame({"text": FEW}))
    assert featurizer.feature_names_in_.tolist() == ["text"]
    assert featurizer.n_features_in_ == 1
    featurizer.transform(FEW)
    with pytest.raises(ValueError, match="feature names should match"):
        featurizer.transform(pd.DataFrame({"other": FEW}))
    featurizer.fit(FEW)
    assert not hasattr(featurizer, "n_features_in_")


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        ([], ArgumentError, "0 sample"),
        ("one text", ArgumentError, r"found str: a list, as \[x\]"),
        (["a", None], ExportError, "row 1: the text is null"),
        (["a", float("nan")], ExportError, "row 1: the text is null"),
        ([1, 2], ExportError, "row 0: the text is int, not a string: 1 .1 more"),
        (np.zeros((3, 2)), ArgumentError, r"found 2 feature\(s\)"),
        (np.zeros((3, 1)), ExportError, "row 0: the text is float, not a string"),
        (None, ArgumentError, "found NoneType"),
    ],
    ids=str,
)
def test_what_is_no_text_is_refused_by_fit_and_transform(
    texts: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Featurizer().fit(texts)
    with pytest.raises(error, match=said):
        Featurizer().fit(FEW).transform(texts)


def test_a_text_that_cannot_be_read_is_named_by_its_own_row() -> None:
    featurizer = Featurizer().fit(FEW)
    featurizer.transform(FEW)
    with pytest.raises(ExportError, match="row 12: the text is empty"):
        featurizer.transform([*FEW, ""])


@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({"layer": 4}, SiteError, "layer 4 does not exist"),
        ({"layer": 1.5}, ArgumentError, "layer=1.5 is no layer"),
        ({"site": "resid_pots"}, SiteError, "did you mean 'resid_post'"),
        ({"pool": "meen"}, ArgumentError, "did you mean 'mean'"),
        ({"pool": "token"}, ArgumentError, "does not give every text one vector"),
        ({"pool": ["mean", "none"]}, ArgumentError, "does not give every text one vector"),
        ({"site": "pattern"}, ArgumentError, "cannot be pooled"),
        ({"batch_tokens": 0}, ArgumentError, "batch_tokens=0"),
        ({"cache": "yes"}, ArgumentError, "cache='yes' is neither"),
        ({"weights_dtype": "int8"}, ArgumentError, "int8"),
        ({"device": "moon"}, ArgumentError, "moon"),
        ({"model": 5}, ArgumentError, "model=5 is neither"),
        ({"model": "organsim"}, CheckpointError, "did you mean 'organism'"),
        ({"max_length": 10**6}, ArgumentError, "beyond the model's context"),
    ],
    ids=str,
)
def test_parameters_that_mean_nothing_are_refused_by_fit(
    parameters: dict[str, Any], error: type[Exception], said: str
) -> None:
    featurizer = Featurizer(**parameters)
    with pytest.raises(error, match=said):
        featurizer.fit(FEW)


def test_what_is_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError):
        Featurizer().transform(FEW)
    with pytest.raises(NotFittedError):
        Featurizer().get_feature_names_out()


def test_cut_texts_are_warned_of() -> None:
    with pytest.warns(TruncationWarning, match="12 texts were longer"):
        Featurizer(max_length=3).fit_transform(FEW)
