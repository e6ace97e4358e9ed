"""``neoscope lens`` shows, prints and keeps what the library reads, and trains what it reads by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.lens.result import LensResult
from neoscope.analysis.lens.words import thinned
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.cli import app
from neoscope.model import HookedGPTNeo
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
TEXT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    lines = [s.text for s in ns.organism.sentences("filler", 60, seed=0)]
    path.write_text("\n".join(lines))
    return path


def lens(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["lens", *args], **options)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def expected(model: HookedGPTNeo, texts: Any, **options: Any) -> LensResult:
    with torch.no_grad():
        return analysis.logit_lens(model.run_with_cache(texts)[1], **options)


def same(found: Any, wanted: LensResult) -> None:
    assert isinstance(found, LensResult)
    assert found.labels == wanted.labels
    assert found.tokens == wanted.tokens
    np.testing.assert_allclose(found.kl, wanted.kl, atol=1e-5)
    np.testing.assert_allclose(found.top_probability, wanted.top_probability, atol=1e-5)


def test_table_shows_layers_down_and_tokens_across() -> None:
    result = lens("--target", " Mary", env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert TEXT in lines
    rows = [line.split() for line in lines]
    last = [row for row in rows if row[:1] == ["3"]]
    assert last[0][-1] == "Mary"
    assert last[1] == ["3", "1"]
    assert last[2][1] == "0.000"
    said = " ".join(result.stdout.split())
    assert "of 14 positions, bold from 50%; --positions chooses others, --out keeps all" in said
    assert "known to fail" in result.stdout


def test_positions_that_fit_are_spread_and_end_with_the_last() -> None:
    places = list(range(30))
    width = dict.fromkeys(places, 8)
    found = thinned(places, width, 60)
    assert len(found) == 6
    assert found[0] == 0
    assert found[-1] == 29
    assert found == sorted(found)
    assert thinned(places, width, 1000) == places
    assert thinned(places, width, 3) == [29]


def test_json_is_what_the_library_says(model: HookedGPTNeo) -> None:
    result = lens("--text", TEXT, "--text", "The keys", "--json", "-k", "3")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    wanted = expected(model, [TEXT, "The keys"], k=3)
    assert [row["layer"] for row in facts["calibration"]] == list(wanted.labels)
    np.testing.assert_allclose([row["kl"] for row in facts["rows"]], wanted.kl, atol=1e-5)
    assert facts["rows"][-1]["top"][-1] == wanted.top_tokens[-1, -1].tolist()
    assert facts["tokens"][-1] == {"text": 1, "position": 1, "token": " keys"}
    assert facts["trained"] is None


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_options_reach_the_lens(model: HookedGPTNeo, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"lens.{suffix}"
    result = lens(
        "--text", TEXT, "--layers", "1,-1", "--positions", "-1", "--target", " Mary",
        "--mean-corrected", "--prepend-bos", "--out", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        cache = model.run_with_cache(TEXT, prepend_bos=True)[1]
    wanted = analysis.logit_lens(
        cache, layers=[1, -1], positions=-1, targets=" Mary", mean_corrected=True
    )
    same(analysis.load(out), wanted)
    assert f"wrote {out}" in result.stdout.replace("\n", "")


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "components", "attn_out", "heads"])
def test_every_site(model: HookedGPTNeo, tmp_path: Path, site: str) -> None:
    file, out = tmp_path / "texts.txt", tmp_path / "lens.json"
    file.write_text(f"{TEXT}\n\nThe keys\n")
    result = lens("--file", str(file), "--site", site, "--out", str(out))
    assert result.exit_code == 0, result.output
    same(analysis.load(out), expected(model, [TEXT, "The keys"], site=site))


def test_train_then_read_through_it(model: HookedGPTNeo, corpus: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "lens", tmp_path / "read.json"
    options = ("--steps", "4", "--batch-tokens", "200", "--bias-only", "--seed", "3")
    result = lens("--train", str(folder), "--data", str(corpus), *options, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "debiased lens: 4 steps" in result.stdout
    assert "held out" in result.stdout
    assert "known to fail" not in result.stdout
    texts = corpus.read_text().splitlines()
    wanted = TunedLens.train(
        model, texts, steps=4, batch_tokens=200, bias_only=True, seed=3, progress=False
    )
    trained = TunedLens.load(folder)
    torch.testing.assert_close(trained.bias, wanted.bias)
    with torch.no_grad():
        cache = model.run_with_cache(TEXT)[1]
    same(analysis.load(out), trained.lens(cache))
    again = lens("--tuned", str(folder), "--text", TEXT, "--json")
    facts = json.loads(again.stdout)
    assert facts["lens"] == "debiased"
    assert facts["trained"]["steps"] == 4
    assert "losses" not in facts["trained"]


def test_interrupted_training_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neoscope.analysis.tuned.job import Job

    take, calls = Job.take, 0

    def interrupted(job: Job, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        take(job, *args)

    monkeypatch.setattr(Job, "take", interrupted)
    args = ("--train", str(tmp_path / "lens"), "--data", str(corpus), "--steps", "4")
    result = lens(*args)
    assert result.exit_code == 130
    assert "2 of 4 steps are done; the same command goes on from" in result.stderr
    assert lens(*args).exit_code == 0
    assert calls == 5


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("some/model",), "give --text or --file"),
        (("--train", "lens"), "--train needs text to train on"),
        (("--data", "x.txt"), "--data is what --train"),
        (("--train", "a", "--tuned", "b", "--data", "x"), "leave out --tuned"),
        (("--tuned", "a", "--site", "heads"), "--site heads has no translators"),
        (("--tuned", "a", "--mean-corrected"), "--mean-corrected is for the logit lens"),
        (("--text", "a", "--steps", "4"), "--steps: only --train FOLDER trains a lens"),
        (
            ("--lr", "5", "--epochs", "1", "--optimizer", "adam", "--bias-only", "--seed", "0"),
            "--epochs, --lr, --optimizer, --bias-only, --seed: only --train FOLDER",
        ),
        (("--tuned", "a", "--batch-tokens", "9"), "--batch-tokens: only --train FOLDER"),
        (("--precision", "float32", "--held-out", "0"), "--precision, --held-out: only --train"),
        (
            ("--train", "a", "--data", "x", "--steps", "4", "--epochs", "2"),
            "--steps and --epochs both say how long",
        ),
        (("--out", "lens.csv"), "must end in .json or .safetensors"),
        (("--layers", "x"), "no whole number"),
        (("--file", "/no/such/file"), "cannot read"),
    ],
)
def test_wrong_usage_is_told_without_torch(args: tuple[str, ...], said: str) -> None:
    result = lens(*args, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert imported_by(COMMAND, "lens", *args).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--tuned", "/no/such/folder"), "there is no tuned lens in"),
        (("--layers", "9"), "layer 9 does not exist"),
        (("--target", " Mary and"), " Mary and"),
        (("--out", "/no/such/folder/x.json"), "the folder /no/such/folder does not exist"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], said: str) -> None:
    result = lens(*args)
    assert result.exit_code == (2 if args[0] in ("--layers", "--target") else 1)
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_small_corpus_is_trained_on_when_asked(tmp_path: Path) -> None:
    data, folder = tmp_path / "corpus.txt", tmp_path / "lens"
    data.write_text(f"{TEXT}\nThe keys\n")
    args = ("--train", str(folder), "--data", str(data))
    result = lens(*args)
    assert result.exit_code == 1
    assert "2 texts to train a lens on" in result.stderr
    assert result.stderr.endswith("judge nothing with --held-out 0\n")
    assert lens(*args, "--held-out", "0").exit_code == 0
    assert TunedLens.load(folder).card["held_out"] is None


def test_help_imports_no_torch() -> None:
    assert imported_by(COMMAND, "lens", "--help").isdisjoint(HEAVY)
