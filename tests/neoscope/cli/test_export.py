"""``neoscope export``: every option reaches the store, and the end is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.cli.export.options import FeatureDtype, OnError, Pool, Truncation, read_positions
from neoscope.export import FeatureSpec, LocalEngine, to_store
from neoscope.export.spec import POOLS, TRUNCATIONS
from neoscope.export.table import ON_ERROR
from neoscope.store import FeatureStore
from tests.neoscope.cli.exporting import export, shards, texts


def test_defaults_are_the_mean_of_the_last_layer_of_every_text(corpus: Path, out: Path) -> None:
    result = export(corpus, out)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    store = FeatureStore.open(out)
    assert store.columns == ("id", "text", "label", "at", "resid_post_3_mean")
    model = ns.load("organism")
    _, cache = model.run_with_cache(texts(90)[7], sites=["resid_post"])
    expected = cache["resid_post", 3][0].mean(0).numpy()
    np.testing.assert_allclose(store.to_numpy("resid_post_3_mean")[7], expected, atol=1e-5)
    assert f"{out}: 90 rows, " in result.stdout
    assert "  resid_post_3_mean  float32 x 128\n  beside id, text, label, at\n" in result.stdout


def test_the_way_to_read_it_that_is_printed_works(corpus: Path, out: Path) -> None:
    import polars

    said = re.search(r"read it with (\S+) or neoscope\.(\S+)\n", export(corpus, out).stdout)
    assert said is not None
    assert eval(said[1], {"polars": polars}).shape == (90, 5)
    assert eval(said[2], {"store": ns.store}).shape == (90, 5)


def test_command_writes_what_the_library_writes(corpus: Path, out: Path, tmp_path: Path) -> None:
    options = ["--layers", "0,-1", "--pool", "mean,last", "--positions", "1:", "--normalize"]
    more = ["--keep", "label", "--shard-rows", "40", "--feature-dtype", "float16"]
    assert export(corpus, out, *options, *more).exit_code == 0
    spec = FeatureSpec(
        layers=[0, -1],
        pool=["mean", "last"],
        positions=slice(1, None),
        normalize=True,
        dtype="float16",
    )
    model, other = ns.load("organism"), tmp_path / "other"
    to_store(model, corpus, other, spec, keep=["label"], shard_rows=40, progress=False)
    assert shards(out) == shards(other)


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        (["--layers", "all", "--keep", ""], [f"resid_post_{i}_mean" for i in range(4)]),
        (["--sites", "hidden,loss", "--keep", ""], ["hidden_mean", "loss_mean"]),
        (["--sites", "result", "--keep", ""], ["result_3_mean"]),
        (["--pool", "token", "--positions", "at", "--keep", ""], ["resid_post_3_token"]),
        (["--id-column", "id", "--keep", "label"], ["label", "resid_post_3_mean"]),
    ],
)
def test_options_choose_columns(
    options: list[str], columns: list[str], corpus: Path, out: Path
) -> None:
    assert export(corpus, out, *options).exit_code == 0
    assert list(FeatureStore.open(out).columns[1:]) == columns


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
def test_other_formats_are_read_by_the_library(file_format: str, corpus: Path, out: Path) -> None:
    result = export(corpus, out, "--format", file_format)
    assert result.exit_code == 0
    assert "polars" not in result.stdout
    assert len(FeatureStore.open(out)) == 90


def test_json_is_all_that_is_printed(corpus: Path, out: Path) -> None:
    result = export(corpus, out, "--json", "--shard-rows", "40", env={"FORCE_COLOR": "1"})
    assert (result.exit_code, result.stderr) == (0, "")
    done = json.loads(result.stdout)
    assert (done["rows"], done["input_rows"], done["resumed_rows"], done["shards"]) == (
        90,
        90,
        0,
        3,
    )
    assert (
        done["bytes"]
        == done["written_bytes"]
        == sum(path.stat().st_size for path in out.glob("part-*"))
    )
    assert done["columns"][-1]["name"] == "resid_post_3_mean"


def test_every_kind_of_row_is_counted(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "rows.jsonl"
    rows = [{"text": "The keys are"}, {"text": None}, {"text": "keys " * 200}, {"text": ""}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = export(source, out, "--on-error", "skip")
    assert result.exit_code == 0
    assert f"{out}: 2 rows, " in result.stdout
    assert "input: 4 rows, 131 tokens; this run took " in result.stdout
    assert "1 text cut on the right (73 tokens)\n" in result.stdout
    assert "2 texts left out, for reasons that _manifest.json lists\n" in result.stdout
    result = export(source, tmp_path / "nulled", "--on-error", "null", "--json")
    done = json.loads(result.stdout)
    assert (done["rows"], done["nulled"], done["skipped"], done["truncated"]) == (4, 2, 0, 1)


def test_texts_that_were_cut_are_one_plain_warning(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "long.txt"
    source.write_text("keys" + " keys" * 199 + "\n")
    result = export(source, out)
    assert result.stderr == (
        "warning: 1 text was longer than the model reads at once and cut on the right (72 tokens); "
        "--truncation stride reads them whole\n"
    )
    assert export(source, tmp_path / "windows", "--truncation", "stride").stderr == ""


def test_ray_engine_is_given_what_was_asked_for(
    corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def engine(**options: Any) -> LocalEngine:
        asked.update(options)
        return LocalEngine()

    monkeypatch.setattr("neoscope.export.RayEngine", engine, raising=False)
    options = ["--engine", "ray", "--workers", "3", "--ray-address", "auto"]
    assert export(corpus, out, *options).exit_code == 0
    assert asked == {"workers": 3, "address": "auto"}


def test_choices_are_those_of_the_library() -> None:
    assert tuple(Pool) == POOLS
    assert tuple(Truncation) == TRUNCATIONS
    assert tuple(OnError) == ON_ERROR
    for dtype in FeatureDtype:
        FeatureSpec(dtype=dtype.value)


@pytest.mark.parametrize(
    ("value", "positions"),
    [
        (None, None),
        ("0,-1", [0, -1]),
        ("1-3", [1, 2, 3]),
        ("1:", slice(1, None)),
        ("-5:-1", slice(-5, -1)),
        ("where", "where"),
        ("a:b", "a:b"),
    ],
)
def test_positions_are_numbers_a_slice_or_a_column(value: str | None, positions: object) -> None:
    assert read_positions(value) == positions


def test_a_log_is_told_how_far_it_is_in_whole_lines(
    corpus: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neoscope.progress.LINE_SECONDS", 0.0)
    said = export(corpus, out).stderr
    assert "\r" not in said
    assert re.search(r"^90 of 90 rows in \d+ s, .* written", said.splitlines()[-1])
