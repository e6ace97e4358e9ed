"""to_store: what it writes, what it refuses, and how it goes on."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from neoscope import HookedGPTNeo, load, organism
from neoscope.edits import ablate
from neoscope.errors import ArgumentError, ExportError, SiteError, StoreError
from neoscope.export import FeatureSpec, Progress, to_store
from neoscope.export import job as job_module
from neoscope.export.engines import LocalEngine
from neoscope.store import FeatureStore
from tests.neoscope.export.exporting import LAST, contents, export


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return load("organism")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [sentence.text for sentence in organism.sentences("filler", 100, seed=1)]


def test_rows_keep_their_id_and_all_other_columns(model: HookedGPTNeo, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"text": ["The keys", "The film was"], "label": [1, 0], "who": ["a", "b"], "id": [7, 3]}
    )
    report = export(model, frame, tmp_path / "f", LAST)
    back = report.store.to_pandas()
    pd.testing.assert_frame_equal(
        back[["id", "text", "label", "who"]], frame[["id", "text", "label", "who"]]
    )
    assert report.rows == 2 and report.tokens == 5


def test_features_are_the_models_own(model: HookedGPTNeo, texts: list[str], tmp_path: Path) -> None:
    spec = FeatureSpec(["resid_post", "hidden"], layers=[1, -1], pool=["mean", "last"])
    store = export(model, texts, tmp_path / "f", spec).store
    assert store.features == ("resid_post_1_mean", "resid_post_1_last", "resid_post_3_mean",
                              "resid_post_3_last", "hidden_mean", "hidden_last")  # fmt: skip
    for row in (0, 41, 99):
        hidden, cache = model.run_with_cache(texts[row], return_type="hidden")
        expected = {"resid_post_1_mean": cache["resid_post", 1][0].mean(0),
                    "resid_post_3_last": cache["resid_post", 3][0, -1],
                    "hidden_mean": hidden[0].mean(0)}  # fmt: skip
        for name, value in expected.items():
            found = store.to_numpy(name)[row]
            np.testing.assert_allclose(found, value.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_a_models_name_is_as_good_as_the_model(model: HookedGPTNeo, tmp_path: Path) -> None:
    to_store("organism", ["The keys are"], tmp_path / "name", LAST, progress=False)
    to_store(model, ["The keys are"], tmp_path / "model", LAST, progress=False)
    assert contents(tmp_path / "name") == contents(tmp_path / "model")


def test_complete_export_runs_nothing_again(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(model, texts, tmp_path / "f", LAST)
    before = contents(tmp_path / "f")
    monkeypatch.setattr(HookedGPTNeo, "forward", lambda *_, **__: pytest.fail("ran the model"))
    report = export(model, texts, tmp_path / "f", LAST)
    assert report.resumed_rows == report.rows == 100 and report.nbytes == 0
    assert contents(tmp_path / "f") == before


def test_altered_shard_alone_is_written_anew(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    export(model, texts, tmp_path / "f", LAST)
    before = contents(tmp_path / "f")
    shard = tmp_path / "f" / "part-00002.parquet"
    shard.write_bytes(before[shard.name][:-9] + b"XXXXXXXXX")
    assert any("part-00002" in problem for problem in FeatureStore.open(tmp_path / "f").verify())
    report = export(model, texts, tmp_path / "f", LAST)
    assert report.resumed_rows == 100 - 16
    assert [line.split(":")[0] for line in report.damaged] == ["part-00002.parquet"]
    assert contents(tmp_path / "f") == before


def test_interrupted_export_keeps_whole_shards_and_goes_on(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    class Interrupted(LocalEngine):
        def __call__(self, *args: Any) -> Iterator[Any]:
            for n, shard in enumerate(super().__call__(*args)):
                if n == 3:
                    raise KeyboardInterrupt
                yield shard

    export(model, texts, tmp_path / "whole", LAST)
    with pytest.raises(KeyboardInterrupt) as caught:
        export(model, texts, tmp_path / "f", LAST, engine=Interrupted())
    assert "goes on" in str(caught.value.__notes__)
    assert len(FeatureStore.open(tmp_path / "f", partial=True)) == 48
    with pytest.raises(StoreError, match="not complete: 3 shards with 48 rows are whole"):
        FeatureStore.open(tmp_path / "f")
    assert export(model, texts, tmp_path / "f", LAST).resumed_rows == 48
    assert contents(tmp_path / "f") == contents(tmp_path / "whole")


def test_another_model_spec_or_option_is_refused_with_the_difference(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    export(model, texts, tmp_path / "f", LAST)
    with pytest.raises(StoreError, match=r"(?s)spec\.pool.*mean.*last"):
        export(model, texts, tmp_path / "f", FeatureSpec(layers=-1, pool="last"))
    with pytest.raises(StoreError, match="model"):
        export(load("organism-random"), texts, tmp_path / "f", LAST)
    with pytest.raises(StoreError, match="file_format"):
        export(model, texts, tmp_path / "f", LAST, file_format="npy")


def test_progress_counts_rows_tokens_and_bytes(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    seen: list[Progress] = []
    report = export(model, texts, tmp_path / "f", LAST, progress=seen.append)
    assert seen[-1].rows == seen[-1].total_rows == 100
    assert seen[-1].tokens == report.tokens and seen[-1].nbytes == report.nbytes > 0
    assert all(a.rows <= b.rows and a.tokens <= b.tokens for a, b in itertools.pairwise(seen))
    before = len(seen)
    export(model, texts, tmp_path / "f", LAST, progress=seen.append)
    assert seen[before].resumed_rows > 0 and seen[-1].resumed_rows == 100


def test_edited_or_hooked_model_is_refused(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    with model.edits(ablate("z", layer=0)), pytest.raises(ExportError, match="edits in force"):
        export(model, texts, tmp_path / "f", LAST)
    assert not (tmp_path / "f").exists()


def test_bad_arguments_touch_nothing(model: HookedGPTNeo, texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"on_error='ski' .* did you mean 'skip'"):
        export(model, texts, tmp_path / "f", LAST, on_error="ski")
    with pytest.raises(SiteError, match="layers 0 to 3"):
        export(model, texts, tmp_path / "f", FeatureSpec(layers=4))
    with pytest.raises(ExportError, match="column 'body'"):
        export(model, pd.DataFrame({"text": texts}), tmp_path / "f", LAST, text_column="body")
    assert not (tmp_path / "f").exists()


def test_full_disk_is_told_and_resumed(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(model, texts, tmp_path / "whole", LAST)
    real, calls = job_module.StoreWriter.write, []

    def full(self: Any, *args: Any) -> int:
        calls.append(args)
        if len(calls) == 4:
            raise StoreError("the disk is full")
        return real(self, *args)

    monkeypatch.setattr(job_module.StoreWriter, "write", full)
    with pytest.raises(StoreError, match="disk is full"):
        export(model, texts, tmp_path / "f", LAST)
    monkeypatch.undo()
    assert export(model, texts, tmp_path / "f", LAST).resumed_rows == 48
    assert contents(tmp_path / "f") == contents(tmp_path / "whole")


def test_same_text_alone_and_in_any_company(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    spec = FeatureSpec(["resid_post", "surprisal"], pool=["mean", "max", "weighted_mean"])
    together = export(model, texts, tmp_path / "a", spec, batch_tokens=4096).store
    parted = export(model, texts, tmp_path / "b", spec, batch_tokens=1, shard_rows=7).store
    for name in together.features:
        np.testing.assert_allclose(
            together.to_numpy(name), parted.to_numpy(name), rtol=1e-5, atol=1e-5
        )


def test_manifest_names_no_time_or_place(
    model: HookedGPTNeo, texts: list[str], tmp_path: Path
) -> None:
    export(model, texts, tmp_path / "f", LAST)
    said = (tmp_path / "f" / "_manifest.json").read_text()
    assert str(tmp_path) not in said
    manifest = json.loads(said)
    assert manifest["about"]["model"] == "organism" and manifest["complete"] is True


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n# A model", "mit"),
        ("# A model", None),
        ("---\nlicense: [\n---\n", None),
    ],
    ids=["said", "unsaid", "broken"],
)
def test_licence_of_the_weights_stands_in_every_shard(
    tmp_path: Path, card: str, licence: str | None
) -> None:
    shutil.copytree(organism.path(), tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text(card)
    export(load(tmp_path / "model"), ["The keys"], tmp_path / "f", LAST)
    said = pq.read_schema(tmp_path / "f" / "part-00000.parquet").metadata[b"neoscope"]
    assert json.loads(said)["about"]["licence"] == licence


def test_moved_store_goes_on(model: HookedGPTNeo, texts: list[str], tmp_path: Path) -> None:
    export(model, texts, tmp_path / "f", LAST)
    shutil.move(tmp_path / "f", tmp_path / "g")
    assert export(model, texts, tmp_path / "g", LAST).resumed_rows == 100
