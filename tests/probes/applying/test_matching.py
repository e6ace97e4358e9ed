"""A probe refuses features of another model, site, layer, head or pooling, and reads its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import ExportError, ProbeError
from neoscope.export import FeatureSpec, TruncationWarning, extract
from neoscope.model import HookedGPTNeo
from probes.applying.matching import check_source
from probes.applying.predicting import Applied, apply, apply_texts
from probes.data.dataset import ProbeData
from probes.data.places import Place, Source
from probes.keeping.card import ProbeCard
from probes.linear.logistic import LogisticProbe
from probes.linear.ridge import RidgeProbe

SOURCE = Source("a" * 32, "organism", "mean", {"prepend_bos": False, "max_length": None})
PLACE = Place("z", 2, 1)
WORDS = ("film", "store", "castle", "horse")
GOOD = [f"{name} liked the {word}." for name in ("Mary", "John", "Anna") for word in WORDS]
TEXTS = GOOD + [text.replace("liked", "hated") for text in GOOD]
LABELS = ["good"] * len(GOOD) + ["bad"] * len(GOOD)


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return ns.load("organism")


def carded(place: Place = PLACE, source: Source = SOURCE) -> LogisticProbe:
    probe = LogisticProbe()
    probe.card_ = ProbeCard(place, source)
    return probe


def trained(data: ProbeData, place: Place, probe: Any = None) -> Any:
    probe = (probe or LogisticProbe()).fit(data.matrix(place), data.y)
    probe.card_ = ProbeCard(place, data.source)
    return probe


# ---- what is refused --------------------------------------------------------------------------


def test_its_own_features_are_taken() -> None:
    check_source(carded(), PLACE, SOURCE)
    more = {"prepend_bos": False, "max_length": 64, "anything": 1}
    check_source(carded(), PLACE, Source("a" * 32, "elsewhere/neo", "mean", more))


@pytest.mark.parametrize(
    ("place", "source", "said"),
    [
        (PLACE, Source("b" * 32, "neo", "mean"), "another model's instead of fingerprint aaaaaaaa"),
        (PLACE, Source(None, "organism", "mean"), "an unknown model instead of fingerprint aaaa"),
        (Place("v", 2, 1), SOURCE, "site v instead of z"),
        (Place("z", 3, 1), SOURCE, "layer 3 instead of 2"),
        (Place("z", 2, 0), SOURCE, "head 0 instead of 1"),
        (Place("z", 2), SOURCE, "head None instead of 1"),
        (PLACE, Source("a" * 32, "organism", "last"), "pooled by last instead of mean"),
        (PLACE, Source("a" * 32), "pooled by None instead of mean"),
        (PLACE, Source("a" * 32, "o", "mean", {"prepend_bos": True}), "prepend_bos=True instead"),
        (Place("X"), Source(), "an unknown model .*; site X instead of z; layer None .*; pooled"),
    ],
)
def test_other_features_are_refused(place: Place, source: Source, said: str) -> None:
    with pytest.raises(ProbeError, match=said) as caught:
        check_source(carded(), place, source)
    assert "was trained on z 2.1 (mean) of organism (fingerprint aaaaaaaaaaaa)" in str(caught.value)
    assert f"these features are {place}" in str(caught.value)
    assert "any_source=True" in str(caught.value)
    check_source(carded(), place, source, any_source=True)


def test_the_same_model_in_another_dtype_is_named_as_such() -> None:
    with pytest.raises(ProbeError, match="both are called 'organism', but a model whose weights"):
        check_source(carded(), PLACE, Source("c" * 32, "organism", "mean"))
    with pytest.raises(ProbeError) as caught:
        check_source(carded(), PLACE, Source("c" * 32, "elsewhere", "mean"))
    assert "both are called" not in str(caught.value)


def test_what_the_card_does_not_know_is_not_asked() -> None:
    check_source(LogisticProbe(), PLACE, SOURCE)
    check_source(carded(source=Source()), PLACE, SOURCE)


# ---- data -------------------------------------------------------------------------------------


def test_probe_finds_its_place_among_others(model: HookedGPTNeo) -> None:
    data = ProbeData.from_texts(model, TEXTS, LABELS, layers=[1, 3], progress=False)
    probe = trained(data, Place("resid_post", 3))
    said = apply(probe, data)
    X = data.matrix(Place("resid_post", 3))
    np.testing.assert_array_equal(said.labels, probe.predict(X))
    np.testing.assert_array_equal(said.probabilities, probe.predict_proba(X))
    assert said.classes == ("bad", "good")
    assert apply(probe, data, rows=[5, 2]).ids == [5, 2]
    with pytest.raises(ProbeError, match="layer 1 instead of 3"):
        apply(probe, data, place=Place("resid_post", 1))
    with pytest.raises(ProbeError, match="layer 1 instead of 3"):
        apply(probe, data.select(layers=[1]))
    apply(probe, data.select(layers=[1]), any_source=True)
    with pytest.raises(ProbeError, match=r"resid_mid 3 is not there; the data has resid_post 1, "):
        apply(probe, data, place=Place("resid_mid", 3))
    with pytest.raises(ProbeError, match="there are no rows"):
        apply(probe, data, rows=[])


def test_array_from_anywhere_is_refused_by_a_probe_that_knows_better(model: HookedGPTNeo) -> None:
    data = ProbeData.from_texts(model, TEXTS, LABELS, layers=[3], progress=False)
    probe = trained(data, Place("resid_post", 3))
    bare = ProbeData(data.matrix(Place("resid_post", 3)), LABELS)
    with pytest.raises(ProbeError, match="nobody knows which model"):
        apply(probe, bare)
    probe.card_ = None
    assert len(apply(probe, bare)) == len(TEXTS)


# ---- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "options"),
    [
        (Place("resid_post", 2), {}),
        (Place("z", 1, 3), {"heads": True, "pool": "last"}),
        (Place("embed"), {"prepend_bos": True, "dtype": "float16"}),
        (Place("hidden"), {"truncation": "stride", "max_length": 3}),
    ],
    ids=str,
)
def test_texts_are_read_as_in_training(
    place: Place, options: dict[str, Any], model: HookedGPTNeo
) -> None:
    layers = "all" if place.layer is None else [place.layer]
    data = ProbeData.from_texts(
        model, TEXTS, LABELS, site=place.site, layers=layers, progress=False, **options
    )
    probe = trained(data, place)
    said = apply_texts(probe, model, TEXTS, progress=False)
    np.testing.assert_array_equal(said.probabilities, apply(probe, data).probabilities)
    np.testing.assert_array_equal(said.labels, apply(probe, data).labels)


def test_another_or_edited_model_is_refused(model: HookedGPTNeo) -> None:
    data = ProbeData.from_texts(model, TEXTS, LABELS, layers=[2], progress=False)
    probe = trained(data, Place("resid_post", 2))
    other = HookedGPTNeo.from_config(model.config, seed=1)
    other.tokenizer = model.tokenizer
    with pytest.raises(ProbeError, match="another model's instead of fingerprint"):
        apply_texts(probe, other, TEXTS[:2], progress=False)
    apply_texts(probe, other, TEXTS[:2], any_source=True, progress=False)
    with model.edits(ablate("z", layer=0)), pytest.raises(ProbeError, match="hooks or edits in"):
        apply_texts(probe, model, TEXTS[:2], progress=False)


def test_texts_that_cannot_be_read_are_named_or_left_out(model: HookedGPTNeo) -> None:
    X = extract(model, TEXTS, FeatureSpec(layers=2), progress=False)["resid_post_2_mean"]
    probe = LogisticProbe().fit(X, LABELS)
    probe.card_ = ProbeCard(Place("resid_post", 2), Source(model.fingerprint(), None, "mean"))
    given = [TEXTS[0], "", None, TEXTS[-1]]
    with pytest.raises(ExportError, match="row 1: the text is empty"):
        apply_texts(probe, model, given, progress=False)
    said = apply_texts(probe, model, given, ids=list("abcd"), on_error="null", progress=False)
    assert said.labels.tolist() == ["good", None, None, "bad"]
    assert sorted(said.problems) == [1, 2]
    assert said.probabilities is not None and np.isnan(said.probabilities[1]).all()
    assert [row["id"] for row in said.records()] == ["a", "b", "c", "d"]
    assert said.records()[1] == {
        "id": "b", "label": None, "probabilities": None, "problem": said.problems[1],
    }  # fmt: skip
    assert repr(said) == "Applied(4 rows: 1 bad, 1 good; 2 could not be read)"
    frame = said.to_dataframe()
    assert list(frame.columns) == ["id", "label", "p_bad", "p_good", "problem"]
    for bad in ([""], []):
        with pytest.raises((ProbeError, ExportError), match=r"none of the 1|no texts"):
            apply_texts(probe, model, bad, on_error="null", progress=False)
    with pytest.raises(ProbeError, match="ids has 1 value for 2 texts"):
        apply_texts(probe, model, TEXTS[:2], ids=[1])
    with pytest.warns(TruncationWarning):
        apply_texts(probe, model, " film" * 400, progress=False)


def test_results_are_written_as_lines(tmp_path: Path) -> None:
    said = Applied(np.array([1.5, np.nan]), None, None, [0, 1], {1: "the text is \u2028 empty"})
    assert said.save(tmp_path / "said.jsonl") == tmp_path / "said.jsonl"
    lines = (tmp_path / "said.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines[0] == '{"id": 0, "label": 1.5}'
    assert lines[1].startswith('{"id": 1, "label": null, "problem": ')
    assert len(lines) == 3


def test_regressor_and_several_labels_say_what_they_find(model: HookedGPTNeo) -> None:
    data = ProbeData.from_texts(model, TEXTS, np.arange(len(TEXTS)) / 7, layers=[2], progress=False)
    place = Place("resid_post", 2)
    said = apply_texts(trained(data, place, RidgeProbe()), model, TEXTS[:3], progress=False)
    assert said.probabilities is None and said.classes is None
    assert said.labels.dtype.kind == "f"
    both = np.array([[1, 0], [1, 1], [0, 1]] * 8)
    data = ProbeData.from_texts(model, TEXTS, both, layers=[2], progress=False)
    said = apply_texts(trained(data, place), model, TEXTS[:3], progress=False)
    assert said.labels.shape == (3, 2)
    assert "label_1" in said.to_dataframe().columns
    assert said.records()[0]["label"] == said.labels[0].tolist()


@pytest.mark.parametrize(
    ("place", "source", "said"),
    [
        (Place("X"), Source(), "trained on bare arrays"),
        (Place("resid_post", 1), Source(pool="word last"), r"resid_post 1 \(word last\), which is"),
    ],
)
def test_probe_of_something_else_reads_no_texts(
    place: Place, source: Source, said: str, model: HookedGPTNeo
) -> None:
    with pytest.raises(ProbeError, match=said):
        apply_texts(carded(place, source), model, TEXTS[:1])


# ---- edits ------------------------------------------------------------------------------------


def test_features_of_an_edited_model_are_no_features_of_the_clean_one(
    model: HookedGPTNeo,
) -> None:
    def read() -> ProbeData:
        return ProbeData.from_texts(model, TEXTS, LABELS, layers=[2], progress=False)

    clean, place = read(), Place("resid_post", 2)
    with model.edits(ablate("resid_post", layer=1)):
        edited = read()
        _, cache = model.run_with_cache(TEXTS)
        cached = ProbeData.from_cache(cache, LABELS, pool="mean", layers=[2])
    assert clean.source.model == edited.source.model
    for data in (edited, cached):
        said = r"hooks or edits in force \(.*: an edited model instead of the unedited"
        with pytest.raises(ProbeError, match=said):
            trained(clean, place).apply(data)
        assert len(trained(clean, place).apply(data, any_source=True)) == len(TEXTS)
        with pytest.raises(ProbeError, match="an unedited model instead of the edited"):
            trained(data, place).apply(clean)
    probe = trained(edited, place)
    with pytest.raises(ProbeError, match="an unedited model instead"):
        apply_texts(probe, model, TEXTS[:2], progress=False)
    with model.edits(ablate("resid_post", layer=1)):
        said_of = apply_texts(probe, model, TEXTS, progress=False)
    np.testing.assert_array_equal(said_of.labels, probe.apply(edited).labels)


@pytest.mark.parametrize("data", [np.zeros((3, 2)), ["a text"], None])
def test_only_data_are_applied_to(data: Any) -> None:
    with pytest.raises(ProbeError, match=r"expected ProbeData, found .*probe\.predict"):
        carded().apply(data)


@pytest.mark.parametrize("any_source", [False, True])
def test_a_name_is_no_model(any_source: bool) -> None:
    with pytest.raises(ProbeError, match=r"load one with neoscope\.load\('organism'\)"):
        apply_texts(carded(Place("resid_post", 2)), "organism", TEXTS[:2], any_source=any_source)
