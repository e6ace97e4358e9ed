from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import ExportError, ProbeError, SiteError
from neoscope.export import TruncationWarning
from probes.data.dataset import ProbeData
from probes.data.places import Place

SENTENCES = [["The", "keys", "are", "new", "."], ["Mary", "liked", "the", "film", "."]]
TEXTS = ["The keys are new.", "Mary liked the film."]
LABELS = [["D", "N", "V", "A", "P"], ["N", "V", "D", "N", "P"]]
# The organism reads a word that it does not know letter by letter.
SPLIT, SPLIT_LABELS = [["The", "zebra", "is", "new"]], [["D", "N", "V", "A"]]


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("organism")


def test_features_are_those_of_a_run(model: Any) -> None:
    data = ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, site=["resid_post", "z"])
    assert data.n_rows == 10 and data.words is not None and data.words[1] == "keys"
    assert data.types is not None and data.types.tolist() == data.words.tolist()
    for number, text in enumerate(TEXTS):
        _, cache = model.run_with_cache(text)
        rows = np.flatnonzero(data.groups == number)
        for place in data.places:
            expected = cache[place.site, place.layer][0].flatten(1).numpy()
            np.testing.assert_allclose(data.matrix(place, rows), expected, atol=2e-5)
        embeddings = data.baseline("embeddings")
        np.testing.assert_allclose(embeddings[rows], cache["embed"][0], atol=1e-6)  # type: ignore[index]


@pytest.mark.filterwarnings("ignore::neoscope.unseen.UnseenWordWarning")
@pytest.mark.parametrize("align", ["first", "last", "mean"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_word_of_several_tokens_is_aligned(
    model: Any, align: str, folder: bool, tmp_path: Path
) -> None:
    data = ProbeData.from_words(
        model,
        SPLIT,
        SPLIT_LABELS,
        align=align,
        prepend_bos=True,
        folder=tmp_path if folder else None,
        progress=False,
    )
    tokens = model.tokenize("The zebra is new", prepend_bos=True)
    inside = [k for k, (a, b) in enumerate(tokens.offsets[0]) if a < 9 and b > 4]
    assert len(inside) > 1
    _, cache = model.run_with_cache(tokens)
    states = cache["resid_post", 2][0].numpy()
    expected = {
        "first": states[inside[0]],
        "last": states[inside[-1]],
        "mean": states[inside].mean(0),
    }
    np.testing.assert_allclose(
        data.matrix(Place("resid_post", 2), [1])[0], expected[align], atol=2e-5
    )
    assert data.source.pool == f"word {align}" and data.source.model == model.fingerprint()


def test_what_is_mapped_is_what_is_in_memory(model: Any, tmp_path: Path) -> None:
    held = ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, site=["resid_post", "embed"])
    mapped = ProbeData.from_words(
        model,
        SENTENCES,
        LABELS,
        texts=TEXTS,
        site=["resid_post", "embed"],
        folder=tmp_path,
        progress=False,
    )
    again = ProbeData.from_words(
        model,
        SENTENCES,
        LABELS,
        texts=TEXTS,
        site=["resid_post", "embed"],
        folder=tmp_path,
        progress=False,
    )
    assert held.places == mapped.places and Place("embed") in held.places
    for place in held.places:
        np.testing.assert_array_equal(held.matrix(place), mapped.matrix(place))
        np.testing.assert_array_equal(held.matrix(place, [7, 2]), again.matrix(place, [7, 2]))


def test_heads_are_columns_of_z(model: Any, tmp_path: Path) -> None:
    options = {"site": ["z", "resid_post"], "layers": [1], "progress": False}
    whole = ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, **options)
    for folder in (None, tmp_path):
        split = ProbeData.from_words(
            model, SENTENCES, LABELS, texts=TEXTS, heads=True, folder=folder, **options
        )
        heads = [place for place in split.places if place.head is not None]
        assert len(heads) == model.config.n_heads and Place("resid_post", 1) in split.places
        joined = np.concatenate([split.matrix(place) for place in heads], 1)
        np.testing.assert_array_equal(joined, whole.matrix(Place("z", 1)))
    with pytest.raises(ProbeError, match="resid_post has none; sites of heads"):
        ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, heads=True)


def test_words_without_a_label_make_no_row(model: Any) -> None:
    labels = [["D", None, "V", float("nan"), "P"], LABELS[1]]
    data = ProbeData.from_words(model, SENTENCES, labels, texts=TEXTS, layers=0)
    assert data.notes["unlabelled"] == 2
    assert data.words is not None and data.words[:3].tolist() == ["The", "are", "."]


def test_sentences_are_groups_and_equal_ones_share_theirs(model: Any) -> None:
    data = ProbeData.from_words(
        model,
        [*SENTENCES, SENTENCES[0]],
        [*LABELS, LABELS[0]],
        texts=[*TEXTS, TEXTS[0]],
        layers=0,
    )
    assert data.groups.tolist() == [0] * 5 + [1] * 5 + [0] * 5
    own = ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, layers=0, groups=["x", "x"])
    assert own.n_groups == 1 and own.group_names.tolist() == ["x"]


def test_words_beyond_what_is_read_make_no_row(model: Any, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.warns(TruncationWarning):
            data = ProbeData.from_words(
                model, SENTENCES, LABELS, texts=TEXTS, max_length=3, folder=folder, progress=False
            )
        assert data.notes["cut_off"] == 4 and data.n_rows == 6
    with pytest.raises(ExportError, match="more than 3"):
        ProbeData.from_words(
            model, SENTENCES, LABELS, texts=TEXTS, max_length=3, truncation="error"
        )


def test_spans_may_be_entities(model: Any) -> None:
    data = ProbeData.from_spans(
        model, TEXTS, [[(4, 8)], [(0, 4), (15, 19)]], [["plural"], ["singular", "singular"]]
    )
    assert data.words is not None and data.words.tolist() == ["keys", "Mary", "film"]
    with pytest.raises(ProbeError, match=r"text 0, span 0: characters \[4, 99\)"):
        ProbeData.from_spans(model, TEXTS, [[(4, 99)], []], [["a"], []])


def test_the_random_twin_reads_the_same_rows(model: Any) -> None:
    data = (
        ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS)
        .select(layers=[2])
        .take([3, 1, 8])
    )
    twin = data.baseline("random-init", seed=5)
    assert isinstance(twin, ProbeData) and twin.places == data.places
    assert twin.y.tolist() == data.y.tolist() and twin.source.model != data.source.model
    again = data.baseline("random-init", seed=5)
    place = Place("resid_post", 2)
    np.testing.assert_array_equal(twin.matrix(place), again.matrix(place))  # type: ignore[union-attr]


def test_several_labels_a_word(model: Any) -> None:
    labels = [[[k % 2, int(k > 2)] for k in range(5)]] * 2
    assert (
        ProbeData.from_words(model, SENTENCES, labels, texts=TEXTS, layers=0).kind == "multilabel"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"labels": LABELS[:1]}, "2 texts, but 1 lists of labels"),
        ({"labels": [LABELS[0], LABELS[1][:4]]}, "sentence 1 has 5 words, but 4 labels"),
        ({"types": [["a"] * 5, ["a"]]}, "sentence 1 has 5 words, but 1 types"),
        ({"groups": [0]}, "groups: 1 value for 2 rows"),
        ({"align": "lats"}, "did you mean 'last'"),
        ({"labels": [[None] * 5] * 2}, "no word has a label"),
        ({"labels": [["N"] * 5] * 2}, "at least 2 classes"),
        ({"prepend_box": True}, "did you mean 'prepend_bos'"),
        ({"sentences": []}, "there are no texts"),
    ],
)
def test_what_does_not_agree_is_said_before_the_model_runs(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_words(None, **{"sentences": SENTENCES, "labels": LABELS, **more})


def test_a_site_or_layer_that_is_not_there_is_named(model: Any) -> None:
    with pytest.raises(SiteError, match="did you mean 'resid_post'"):
        ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, site="resid_pots")
    with pytest.raises(SiteError, match="layer 9 does not exist"):
        ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, layers=[9])
    with pytest.raises(ProbeError, match="different numbers of values"):
        ProbeData.from_words(model, SENTENCES, LABELS, texts=TEXTS, site="pattern")


def test_a_sentence_without_words_is_named(model: Any) -> None:
    with pytest.raises(ProbeError, match="sentence 1 has no words; leave it out"):
        ProbeData.from_words(model, [["a", "b"], []], [["x", "y"], []])


def test_spans_are_called_spans(model: Any) -> None:
    with pytest.raises(ProbeError, match=r"text 0, span 0: characters \[0, 9\) are not"):
        ProbeData.from_spans(model, ["a b"], [[(0, 9)]], [["x"]])
    with pytest.raises(ProbeError, match="text 0 has 1 spans, but 2 labels"):
        ProbeData.from_spans(model, ["a b"], [[(0, 1)]], [["x", "y"]])
    with pytest.raises(ProbeError, match="no span has a label"):
        ProbeData.from_spans(model, ["a b"], [[(0, 1)]], [[None]])


def test_iterators_are_gone_through_once(model: Any) -> None:
    spans = (iter([(0, 3), (4, 8)]) for _ in range(2))
    labels = (iter(["x", "y"]) for _ in range(2))
    data = ProbeData.from_spans(model, iter(["The keys", "The door"]), spans, labels, layers=0)
    twin = data.baseline("random-init")
    assert isinstance(twin, ProbeData)
    assert data.y.tolist() == twin.y.tolist() == ["x", "y", "x", "y"]
