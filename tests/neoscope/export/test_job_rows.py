"""to_store: rows that cannot be used, and inputs that are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from neoscope import HookedGPTNeo, load, organism
from neoscope.errors import ExportError, StoreError
from neoscope.export import FeatureSpec, TruncationWarning
from neoscope.store import FeatureStore
from tests.neoscope.export import exporting
from tests.neoscope.export.exporting import LAST, contents, export


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return load("organism")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [sentence.text for sentence in organism.sentences("filler", 100, seed=1)]


def test_another_input_is_refused(model: HookedGPTNeo, texts: list[str], tmp_path: Path) -> None:
    export(model, texts, tmp_path / "f", LAST)
    before = contents(tmp_path / "f")
    changed = [*texts[:40], "The keys are", *texts[41:]]
    with pytest.raises(StoreError, match="rows 32 to 47 of the input differ"):
        export(model, changed, tmp_path / "f", LAST)
    with pytest.raises(StoreError, match="another input"):
        export(model, texts[:64], tmp_path / "f", LAST)
    assert contents(tmp_path / "f") == before


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(None, "null"), ("", "empty"), (5, "not a string"), ("a\ud800b", "valid")],
    ids=["null", "empty", "number", "surrogate"],
)
def test_bad_row_fails_skips_or_stays_null(
    model: HookedGPTNeo, tmp_path: Path, bad: Any, reason: str
) -> None:
    rows = [{"id": f"r{i}", "text": "The keys are"} for i in range(40)]
    rows[19]["text"] = bad
    with pytest.raises(ExportError, match=rf"(?s)row 19 \(id 'r19'\).*{reason}.*on_error"):
        export(model, rows, tmp_path / "fail", LAST)
    assert len(FeatureStore.open(tmp_path / "fail", partial=True)) == 16
    skipped = export(model, rows, tmp_path / "skip", LAST, on_error="skip")
    assert skipped.skipped == 1 and len(skipped.store) == 39
    listed = [s for shard in skipped.store.manifest["shards"] for s in shard["facts"]["skipped"]]
    assert [(item["row"], item["id"]) for item in listed] == [(19, "r19")]
    nulled = export(model, rows, tmp_path / "null", LAST, on_error="null")
    values = nulled.store.to_numpy("resid_post_3_mean")
    assert np.isnan(values[19]).all() and np.isfinite(np.delete(values, 19, 0)).all()
    table = pq.read_table(sorted((tmp_path / "null").glob("*.parquet"))[1])
    assert table["resid_post_3_mean"].null_count == 1


def test_a_failing_row_costs_no_finished_work(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    rows: list[Any] = list(texts)
    rows[70] = None
    with pytest.raises(ExportError, match="row 70"):
        export(model, rows, tmp_path / "f", LAST)
    assert len(FeatureStore.open(tmp_path / "f", partial=True)) == 64


def test_the_advice_for_a_bad_row_goes_on_with_what_is_whole(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    rows: list[Any] = list(texts)
    rows[70] = None
    with pytest.raises(ExportError, match="on_error='skip'"):
        export(model, rows, tmp_path / "f", LAST)
    report = export(model, rows, tmp_path / "f", LAST, on_error="skip")
    assert report.resumed_rows == 64 and report.rows == 99
    export(model, rows, tmp_path / "undisturbed", LAST, on_error="skip")
    assert contents(tmp_path / "f") == contents(tmp_path / "undisturbed")
    with pytest.raises(StoreError, match=r"shard 4 .* was made with on_error='skip', now 'null'"):
        export(model, rows, tmp_path / "f", LAST, on_error="null")


def test_an_input_without_a_usable_row_is_an_error(model: HookedGPTNeo, tmp_path: Path) -> None:
    rows = [{"text": i} for i in range(40)]
    with pytest.raises(ExportError, match=r"none of the 40 rows .* Row 0: the text is int"):
        export(model, rows, tmp_path / "f", LAST, on_error="skip")


def test_cut_texts_are_counted_and_warned_of_once(model: HookedGPTNeo, tmp_path: Path) -> None:
    rows = ["The boys like the lamps", "The boys"] * 10
    spec = FeatureSpec(layers=-1, max_length=4)
    with pytest.warns(TruncationWarning, match=r"10 texts were longer .* \(10 tokens\)") as caught:
        report = export(model, rows, tmp_path / "f", spec)
    assert len(caught) == 1 and caught[0].filename == exporting.__file__
    assert report.truncated == 10
    assert report.store.manifest["summary"]["truncated"] == 10


def test_clashing_column_names_are_refused(model: HookedGPTNeo, tmp_path: Path) -> None:
    rows = [{"text": "The keys", "resid_post_3_mean": 1}]
    with pytest.raises(ExportError, match=r"'resid_post_3_mean'.*keep="):
        export(model, rows, tmp_path / "f", LAST)
    assert len(export(model, rows, tmp_path / "g", LAST, keep=["text"]).store) == 1


def test_huge_and_odd_texts(model: HookedGPTNeo, tmp_path: Path) -> None:
    rows = ["keys " * 200_000, "\0" * 50, "🙂" * 20, "The keys"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = export(model, rows, tmp_path / "f", LAST)
    assert report.truncated >= 1
    assert np.isfinite(report.store.to_numpy("resid_post_3_mean")).all()
