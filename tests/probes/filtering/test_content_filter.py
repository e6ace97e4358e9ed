"""A filter withholds what it should, fails closed, and writes down what it withheld and why."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoscope.edits import ablate
from neoscope.errors import ProbeError
from neoscope.model import HookedGPTNeo
from probes.applying.predicting import apply_texts
from probes.filtering import lines
from probes.filtering.calibration import FilterCalibration
from probes.filtering.content_filter import ContentFilter
from probes.filtering.review import ReviewItem
from probes.filtering.screened import Screened, Withheld
from probes.keeping.saving import digest
from probes.linear.logistic import LogisticProbe
from probes.linear.ridge import RidgeProbe
from tests.probes.filtering.conftest import texts

pytestmark = pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")


def test_texts_of_the_class_are_withheld_and_others_pass(content: ContentFilter) -> None:
    given = texts("ok")[:5] + texts("bad")[:5]
    done = content.screen(given, progress=False)
    assert done.kept == given[:5]
    assert [item.row for item in done.withheld] == [5, 6, 7, 8, 9]
    assert all(item.reason.startswith("bad with probability 0.") for item in done.withheld)
    said = apply_texts(content.probe, content.model, given, progress=False)
    assert said.probabilities is not None
    np.testing.assert_allclose(done.scores, said.probabilities[:, 0], atol=1e-6)
    assert repr(done) == "Screened(5 of 10 texts kept, 5 withheld as 'bad' from 0.5)"
    assert repr(content) == "ContentFilter(LogisticProbe, reject='bad', from 0.5)"
    assert done.to_dataframe()["kept"].tolist() == [True] * 5 + [False] * 5


def test_ranking_puts_the_least_like_the_class_first(content: ContentFilter) -> None:
    given = texts("bad")[:3] + texts("ok")[:3]
    ranked = content.rerank([*given, ""], progress=False)
    assert sorted(ranked) == sorted(given)
    assert set(ranked[:3]) == set(given[3:])
    done = content.screen(given, progress=False)
    assert done.ranked == ranked[:3]
    assert content.rerank([], progress=False) == []


def test_what_cannot_be_scored_is_withheld(content: ContentFilter) -> None:
    given = ["", None, 3, " film" * 400, texts("ok")[0]]
    content.threshold = 1.0
    done = content.screen(given, progress=False)
    assert done.kept == given[4:]
    reasons = [item.reason for item in done.withheld]
    assert all(reason.startswith("cannot be scored: ") for reason in reasons)
    for reason, said in zip(reasons, ("empty", "null", "not a string", "longer than"), strict=True):
        assert said in reason
    assert np.isnan(done.scores[:4]).all()
    assert content.screen(["", None], progress=False).kept == []
    assert content.screen([], progress=False).kept == []


def test_states_that_are_not_finite_are_withheld(
    content: ContentFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probes.filtering import content_filter

    read = content_filter.text_features

    def broken(*args: Any, **options: Any) -> Any:
        found = read(*args, **options)
        found.values[1] = np.inf
        return found

    monkeypatch.setattr(content_filter, "text_features", broken)
    done = content.screen(texts("ok")[:3], progress=False)
    assert done.withheld[0].row == 1 and len(done.withheld) == 1
    assert "not finite" in done.withheld[0].reason


def test_audit_says_what_was_withheld_and_why(content: ContentFilter, tmp_path: Path) -> None:
    audit = tmp_path / "withheld.jsonl"
    given = [texts("ok")[0], texts("bad")[0], "", "<b>hated</b> \u2028 \ud800", None]
    content.threshold = 0.0
    content.screen(given, audit=audit, progress=False)
    content.screen(texts("bad")[:1], audit=audit, progress=False)
    records = [json.loads(line) for line in audit.read_bytes().decode().split("\n")[:-1]]
    assert [record["text"] for record in records] == [*given, given[1]]
    first = records[1]
    assert first["event"] == "withheld" and first["class"] == "bad" and first["threshold"] == 0.0
    assert first["probe"] == digest(content.probe)
    assert first["model"] == content.model.fingerprint()
    assert first["reason"].startswith("bad with probability")
    assert records[2]["score"] is None
    assert first["id"] == records[5]["id"] != records[2]["id"]
    assert first["time"].endswith("+00:00")


def test_nothing_is_let_pass_when_the_audit_cannot_be_written(
    content: ContentFilter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise ProbeError("disk full")

    with pytest.raises(ProbeError, match=r"the folder .* does not exist"):
        content.screen(texts("ok"), audit=tmp_path / "no" / "a.jsonl", progress=False)
    with pytest.raises(ProbeError, match="it is no ordinary file"):
        content.screen(texts("ok"), audit=tmp_path, progress=False)
    monkeypatch.setattr(lines, "append", fail)
    with pytest.raises(ProbeError, match="disk full"):
        content.screen(texts("ok")[:2], audit=tmp_path / "a.jsonl", progress=False)


@pytest.mark.parametrize(
    "content_of_file",
    ["text,label\na,b\n", '{"text": "a"}\n', "text,label", '{"event": "kept"}\n', "once\nmore\n"],
)
def test_file_of_something_else_is_no_audit(
    content_of_file: str, content: ContentFilter, tmp_path: Path
) -> None:
    audit = tmp_path / "a.csv"
    audit.write_text(content_of_file)
    with pytest.raises(ProbeError, match=r"no lines? of an audit|holds no lines"):
        content.screen(texts("bad")[:1], audit=audit, progress=False)
    assert audit.read_text() == content_of_file


def test_audit_is_looked_at_again_where_others_wrote(
    content: ContentFilter, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    for _ in range(2):
        content.screen(texts("bad")[:1], audit=audit, progress=False)
    with audit.open("a") as file:
        file.write('{"text": "mine"}\n')
    with pytest.raises(ProbeError, match="line 3 is no line of an audit"):
        content.screen(texts("bad")[:1], audit=audit, progress=False)
    audit.write_bytes(b'{"event": "wi')  # a crash cut the first line short
    content.screen(texts("bad")[:1], audit=audit, progress=False)
    assert len(audit.read_bytes().splitlines()) == 2


def test_what_could_not_be_scored_is_not_said_to_be_of_the_class(content: ContentFilter) -> None:
    done = content.screen([texts("ok")[0], texts("bad")[0], "", None], progress=False)
    assert repr(done) == (
        "Screened(1 of 4 texts kept, 1 withheld as 'bad' from 0.5, 2 withheld that could not be "
        "scored)"
    )


def test_half_a_surrogate_pair_is_shown_as_letters(content: ContentFilter) -> None:
    done = content.screen(["a\ud83d"], progress=False)
    assert done.to_dataframe()["text"].tolist() == ["a\\ud83d"]
    done._repr_html_().encode("utf-8")


@pytest.mark.parametrize("kind", [Screened, Withheld, FilterCalibration, ReviewItem])
def test_help_explains_every_field(kind: Any) -> None:
    said = inspect.getdoc(kind)
    assert said is not None
    for field in dataclasses.fields(kind):
        assert re.search(rf"^    {field.name}: .", said, re.M), field.name


# ---- calibration ------------------------------------------------------------------------------


def test_calibration_sets_a_threshold_that_keeps_its_promise(
    probe: LogisticProbe, model: HookedGPTNeo
) -> None:
    content = ContentFilter(probe, model, reject="bad")
    with pytest.raises(ProbeError, match="no threshold: call calibrate"):
        content.screen(["x"])
    given, labels = texts("bad") + texts("ok"), ["bad"] * 60 + ["ok"] * 60
    found = content.calibrate(given, labels, progress=False)
    assert content.threshold == found.threshold and content.calibration is found
    assert (found.n_positive, found.n_negative, found.n_unscored) == (60, 60, 0)
    assert found.false_negatives == 0 and found.fnr_interval[1] <= 0.05
    done = content.screen(given, progress=False)
    assert not set(done.kept) & set(given[:60])
    stopped = sum(item.row >= 60 for item in done.withheld)
    assert found.fpr == pytest.approx(stopped / 60)
    looser = content.calibrate(given, labels, max_false_negative_rate=0.2, progress=False)
    assert looser.threshold > found.threshold
    assert 0 < looser.false_negatives <= 12
    again = ContentFilter(probe, model, reject="bad", threshold=found)
    assert again.threshold == found.threshold


def test_equal_texts_count_once(content: ContentFilter) -> None:
    given, labels = texts("bad")[:20] * 3, ["bad"] * 60
    with pytest.raises(ProbeError, match=r"^20 different texts .* needs 59"):
        content.calibrate(given, labels, progress=False)
    assert content.threshold == 0.5


def test_texts_that_cannot_be_scored_do_not_count(content: ContentFilter) -> None:
    given = [*texts("bad")[:59], "", " film" * 400, texts("ok")[0]]
    found = content.calibrate(given, ["bad"] * 61 + ["ok"], progress=False)
    assert (found.n_positive, found.n_unscored, found.n_negative) == (59, 2, 1)
    without = content.calibrate(given[:59], ["bad"] * 59, progress=False)
    assert math.isnan(without.fpr)
    assert without.threshold == pytest.approx(found.threshold, rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["bad"], "there are 1 labels for 2 texts"),
        (["bad", "okay"], "label 'okay' is none of the probe's; did you mean 'ok'"),
        (["bad", None], "label 'None' is none of the probe's"),
    ],
)
def test_labels_are_checked(content: ContentFilter, labels: list[Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        content.calibrate(texts("bad")[:2], labels, progress=False)


# ---- what is no filter ------------------------------------------------------------------------


def test_probe_must_know_the_class(probe: LogisticProbe, model: HookedGPTNeo) -> None:
    with pytest.raises(ProbeError, match=r"no class 'bat'; did you mean 'bad'.* it has bad, ok"):
        ContentFilter(probe, model, reject="bat")
    with pytest.raises(ProbeError, match="needs a fitted probe of classes; found RidgeProbe"):
        ContentFilter(RidgeProbe(), model, reject="bad")
    with pytest.raises(ProbeError, match=r"threshold=1\.5 is no probability"):
        ContentFilter(probe, model, reject="bad", threshold=1.5)


def test_calibration_of_another_probe_is_refused(
    content: ContentFilter, model: HookedGPTNeo
) -> None:
    found = content.calibrate(texts("bad"), ["bad"] * 60, progress=False)
    other = LogisticProbe().fit(np.eye(128)[:4], ["ok", "bad"] * 2)
    with pytest.raises(ProbeError, match=r"calibration is of another probe .*calibrate anew"):
        ContentFilter(other, model, reject="bad", threshold=found)
    with pytest.raises(ProbeError, match=r"of another reject \(bad, not ok\)"):
        ContentFilter(content.probe, model, reject="ok", threshold=found)


def test_model_that_was_changed_is_refused(content: ContentFilter, model: HookedGPTNeo) -> None:
    with model.edits(ablate("z", layer=0)), pytest.raises(ProbeError, match="hooks or edits"):
        content.screen(texts("ok")[:1], progress=False)
    other = HookedGPTNeo.from_config(model.config, seed=3)
    other.tokenizer = model.tokenizer
    with pytest.raises(ProbeError, match="another model's"):
        ContentFilter(content.probe, other, reject="bad", threshold=0.5)
    anyway = ContentFilter(content.probe, other, reject="bad", threshold=0.0, any_source=True)
    assert len(anyway.screen(texts("ok")[:1], progress=False).withheld) == 1


def test_one_of_several_labels_can_be_withheld(model: HookedGPTNeo, probe: LogisticProbe) -> None:
    from neoscope.export import FeatureSpec, extract

    given = texts("ok")[:30] + texts("bad")[:30]
    both = np.array([[1, 0]] * 30 + [[0, 1]] * 30)
    X = extract(model, given, FeatureSpec(layers=2), progress=False)["resid_post_2_mean"]
    several = LogisticProbe().fit(X, both)
    several.card_ = probe.card_
    content = ContentFilter(several, model, reject=1, threshold=0.5)
    assert content.screen(given, progress=False).kept == given[:30]
    found = content.calibrate(given, both, max_false_negative_rate=0.1, progress=False)
    assert (found.n_positive, found.n_negative) == (30, 30)


def test_shown_text_is_escaped(content: ContentFilter) -> None:
    content.threshold = 0.0
    shown = content.screen(["<script>alert(1)</script>"], progress=False)._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
