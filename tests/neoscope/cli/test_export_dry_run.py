"""``neoscope export --dry-run`` foretells the run and touches nothing."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest

import neoscope as ns
from neoscope.export import FeatureSpec
from neoscope.export.estimating import Estimate, estimate
from tests.neoscope.cli.exporting import export, refused, shards, texts


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--layers", "all", "--pool", "mean,last", "--format", "npy"),
        ("--pool", "none", "--feature-dtype", "float16"),
        ("--sites", "hidden,loss", "--format", "safetensors", "--keep", ""),
        ("--shard-rows", "60", "--truncation", "stride", "--max-length", "16"),
    ],
    ids=" ".join,
)
def test_dry_run_foretells_the_run(options: tuple[str, ...], tmp_path: Path, out: Path) -> None:
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(texts(400)))
    result = export(source, out, *options, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert not out.exists()
    guess = json.loads(result.stdout)
    done = json.loads(export(source, out, *options, "--json").stdout)
    assert guess["input_rows"] == done["input_rows"] == 400
    assert guess["rows"] == pytest.approx(done["rows"], rel=0.1 if "none" in options else 0)
    assert guess["tokens"] == pytest.approx(done["tokens"], rel=0.1)
    assert guess["nbytes"] == pytest.approx(done["bytes"], rel=0.2)
    assert guess["columns"] == done["columns"]
    assert 0 < guess["seconds"] < 60
    assert 1 <= guess["sample_rows"] <= 256 <= guess["read_rows"] <= 400


def test_dry_run_is_readable_and_leaves_nothing(
    corpus: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    result = export(corpus, out, "--max-length", "30", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(
        r"dry run: nothing was written\n"
        r"input     90 rows, [\d,]+ tokens\n"
        r"          \d+\.\d% of the texts are cut\n"
        r"rows      90 rows\n"
        r"  resid_post_3_mean  float32 x 128\n"
        r"  beside id, text, label, at\n"
        r"on disk   about \d+\.\d KiB \(parquet\)\n"
        r"time      about \d.* s, at [\d,]+ tokens/s, measured on 90 of the first 90 rows\n"
        r"out       .*, which is not there yet\n",
        result.stdout,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert not any((tmp_path / "temporary").iterdir())


def test_dry_run_says_what_the_folder_is_good_for(corpus: Path, out: Path) -> None:
    def said(*options: str) -> str:
        result = export(corpus, out, "--shard-rows", "40", "--dry-run", *options)
        assert result.exit_code == 0
        return result.stdout.splitlines()[-1].removeprefix("out       ")

    out.mkdir()
    assert said() == f"{out}, which is empty"
    (out / "thesis.tex").touch()
    assert said() == f"cannot be used: {out} is no feature store: it holds no _manifest.json"
    (out / "thesis.tex").unlink()
    export(corpus, out, "--shard-rows", "40")
    before = shards(out)
    assert said() == f"{out} has all rows already"
    assert "cannot be used: " in said("--pool", "max")
    assert shards(out) == before
    (out / "part-00001.parquet").unlink()
    assert said() == f"{out} has 50 of them already, and the same command goes on"


def test_dry_run_meets_the_errors_of_the_run(corpus: Path, out: Path) -> None:
    refused(
        export(corpus, out, "--positions", "99", "--dry-run"), r"row 0 \(id 'r0'\): position 99"
    )
    refused(export(corpus, out, "--layers", "4", "--dry-run"), "is --sites hidden", 2)


def test_estimate_of_what_cannot_be_counted_has_no_total() -> None:
    guess = estimate(ns.load("organism"), iter(texts(20)), FeatureSpec(layers=-1))
    assert (guess.input_rows, guess.rows, guess.nbytes, guess.seconds) == (None,) * 4
    assert guess.tokens_per_second > 0
    assert guess.sample_rows == guess.read_rows == 20


def test_estimate_knows_what_is_skipped_and_samples_all_that_was_read() -> None:
    rows: list[str | None] = [*texts(60), *[None] * 20]
    options = {"on_error": "skip", "shard_rows": 10}
    guess: Estimate = estimate(
        ns.load("organism"), rows, FeatureSpec(layers=-1), sample_rows=40, **options
    )
    assert (guess.sample_rows, guess.read_rows, guess.rows) == (40, 40, 80)
    guess = estimate(ns.load("organism"), rows, FeatureSpec(layers=-1), **options)
    assert (guess.sample_rows, guess.read_rows, guess.rows) == (80, 80, 60)
    assert guess.problems == 0.25
