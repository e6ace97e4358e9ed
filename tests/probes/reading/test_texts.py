from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import neoscope as ns
from neoscope.errors import ArgumentError, ExportError, ProbeError
from probes.data.dataset import ProbeData
from probes.data.places import Place
from probes.reading.texts import last_words

TEXTS = ["I liked the film.", "The keys are new.", "I liked the film.", "Mary smiled."]
LABELS = ["good", "none", "good", "none"]


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("organism")


@pytest.mark.parametrize("pool", ["mean", "last"])
@pytest.mark.parametrize("mapped", [False, True])
def test_features_are_those_of_a_run(model: Any, pool: str, mapped: bool, tmp_path: Path) -> None:
    data = ProbeData.from_texts(
        model, TEXTS, LABELS, pool=pool, folder=tmp_path if mapped else None, progress=False
    )
    assert [str(place) for place in data.places] == [f"resid_post {k}" for k in range(4)]
    for row, text in enumerate(TEXTS):
        _, cache = model.run_with_cache(text)
        for place in [*data.places, Place("embed")]:
            states = cache[str(place.site), place.layer][0].numpy()
            expected = states.mean(0) if pool == "mean" else states[-1]
            embeddings = data.baseline("embeddings")
            got = data.matrix(place)[row] if place.layer is not None else embeddings[row]  # type: ignore[index]
            np.testing.assert_allclose(got, expected, atol=2e-5)


def test_equal_texts_share_a_group_and_types_are_last_words(model: Any) -> None:
    data = ProbeData.from_texts(model, TEXTS, LABELS, layers=-1)
    assert data.groups.tolist() == [0, 1, 0, 2]
    assert data.types is not None and data.types.tolist() == ["film", "new", "film", "smiled"]
    assert data.type_name == "last word" and data.places == (Place("resid_post", 3),)
    assert data.source.pool == "mean" and data.source.model_name == "organism"
    named = ProbeData.from_texts(model, TEXTS, LABELS, layers=0, groups=list("aabb"), types=LABELS)
    assert named.n_groups == 2 and named.type_name == "type"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Well, it's OK!!", "ok"),
        ("don't", "don't"),
        ("...", "..."),
        ("naïve 😀", "naïve"),
        ("a_b", "b"),
    ],
)
def test_a_last_word_is_no_punctuation(text: str, word: str) -> None:
    assert last_words([text]) == [word]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_a_frame_is_its_columns(model: Any, kind: Any) -> None:
    frame = kind({"says": TEXTS, "mood": LABELS, "doc": [1, 1, 2, 2], "t": list("abcd")})
    data = ProbeData.from_frame(
        model, frame, text="says", label="mood", group="doc", type="t", layers=0, pool="last"
    )
    assert data.label == "mood" and data.n_groups == 2 and data.source.pool == "last"
    assert data.types is not None and data.types.tolist() == list("abcd")
    with pytest.raises(
        ProbeError, match="label='moode': the frame has no such column; did you mean"
    ):
        ProbeData.from_frame(model, frame, text="says", label="moode")


def test_several_columns_are_several_labels(model: Any) -> None:
    frame = pd.DataFrame({"text": TEXTS, "a": [0, 1, 0, 1], "b": [1, 1, 0, 0]})
    data = ProbeData.from_frame(model, frame, label=["a", "b"], layers=0)
    assert data.kind == "multilabel" and data.y.tolist() == [[0, 1], [1, 1], [0, 0], [1, 0]]


def test_a_missing_label_of_a_frame_is_named(model: Any) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": ["a", None, "b", "a"]})
    with pytest.raises(ProbeError, match="labels: row 1 has none"):
        ProbeData.from_frame(model, frame)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"labels": LABELS[:3]}, "4 texts, but 3 labels"),
        ({"labels": ["a"] * 4}, "at least 2 classes"),
        ({"texts": [], "labels": []}, "the data is empty"),
        ({"texts": ["a", "b", None, "c"]}, "texts: row 2 is NoneType"),
        ({"texts": "abcd"}, "expected a list, found str"),
        ({"pool": "none"}, "from_words and from_cache have a row a token"),
        ({"pool": "meen"}, "did you mean 'mean'"),
        ({"groups": [1]}, "groups: 1 value for 4 rows"),
        ({"batch_token": 3}, "did you mean 'batch_tokens'"),
    ],
)
def test_what_does_not_agree_is_said_before_the_model_runs(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_texts(None, **{"texts": TEXTS, "labels": LABELS, **more})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("organism", r"found 'organism': load one with neoscope\.load\('organism'\)"),
        (Path("folder"), r"neoscope\.load\('folder'\)"),
        (3, r"found 'int': load one with neoscope\.load"),
    ],
)
def test_a_name_is_no_model(given: Any, said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_texts(given, TEXTS, LABELS)
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_words(given, [["a", "b"]], [[0, 1]])


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "row 1.* the text is empty"),
        ("the " * 200, "tokens, more than 128.*truncation='truncate'"),
    ],
)
def test_what_is_advised_can_be_done(
    model: Any, text: str, said: str, mapped: bool, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        ProbeData.from_texts(
            model, ["a", text], [0, 1], truncation="error", folder=tmp_path if mapped else None
        )
    assert str(caught.value).endswith("; leave such texts out")


def test_patterns_are_not_advised_to_be_left_unpooled(model: Any) -> None:
    with pytest.raises(ArgumentError, match=r"attn_to_previous or attn_entropy$"):
        ProbeData.from_texts(model, TEXTS, LABELS, site="pattern")
    with pytest.raises(ProbeError, match="of patterns take attn_to_first"):
        ProbeData.from_words(model, [["The", "keys"], ["Mary"]], [[0, 1], [1]], site="pattern")


def test_iterators_are_gone_through_once(model: Any) -> None:
    data = ProbeData.from_texts(
        model, iter(TEXTS), iter(LABELS), groups=iter("aabb"), types=iter("abcd"), layers=0
    )
    assert data.y.tolist() == LABELS and data.n_groups == 2
    twin = data.baseline("random-init")
    assert isinstance(twin, ProbeData) and twin.y.tolist() == LABELS
    assert twin.types is not None and twin.types.tolist() == list("abcd")


@pytest.mark.parametrize(
    ("frame", "kind"), [([TEXTS], "list"), ("a.csv", "str"), (np.ones((2, 2)), "ndarray")]
)
def test_what_is_no_frame_is_refused(model: Any, frame: Any, kind: str) -> None:
    with pytest.raises(ProbeError, match=f"a frame or a mapping of columns, found {kind}$"):
        ProbeData.from_frame(model, frame)


def test_an_arrow_table_is_a_frame(model: Any) -> None:
    frame = pa.table({"text": TEXTS, "label": LABELS})
    assert ProbeData.from_frame(model, frame, layers=0).y.tolist() == LABELS
    with pytest.raises(ProbeError, match=r"it has text, label$"):
        ProbeData.from_frame(model, frame, label="c")


def test_several_labels_are_called_as_their_columns(model: Any) -> None:
    frame = {"text": TEXTS, "past": [0, 1, 0, 1], "plural": [1, 1, 1, 0]}
    data = ProbeData.from_frame(model, frame, label=["past", "plural"], layers=0)
    assert data.notes["label_names"] == ["past", "plural"]
    assert "plural 3, past 2" in repr(data)
    assert "label_plural" in data.take([0, 1]).to_dataframe().columns


def test_a_misspelt_option_is_told_the_nearest_of_all_parameters(model: Any) -> None:
    with pytest.raises(ProbeError, match="no option 'sites'; did you mean 'site'"):
        ProbeData.from_texts(model, TEXTS, LABELS, sites="q")
