"""``neoscope heads`` shows, prints and writes what the library measures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope.analysis import HeadScores, load
from neoscope.analysis import heads as measure
from neoscope.cli import app
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
WIDE = {"env": {"COLUMNS": "80"}}


def heads(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["heads", *args], **(WIDE | options))
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def test_the_best_head_of_each_kind_is_shown_within_80_columns() -> None:
    result = heads()
    assert result.exit_code == 0
    assert "repeats of random tokens, gap 16 inside" in result.stdout
    assert re.search(r"^previous_token +0\.0 +0\.99", result.stdout, re.M)
    assert re.search(r"^induction_beyond +2\.0 .* 8 of 16", result.stdout, re.M)
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_one_score_is_shown_head_by_head() -> None:
    result = heads("induction-short-window", "--score", "induction", "--top", "2")
    assert re.search(r"^ +1 +0 +1\.000 .* 8 +cannot", result.stdout, re.M)
    assert "and 6 more heads" in result.stdout
    assert "Olsson" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_heads_that_cannot_are_named_so() -> None:
    result = heads("induction-short-window", "--score", "induction_beyond", "--top", "8")
    assert len(re.findall(r"^ +1 +[0-3] +cannot", result.stdout, re.M)) == 4


def test_texts_and_files_are_measured_as_by_the_library(tmp_path: Path) -> None:
    lines = ["apple river apple river stone", "", "lamp horse lamp"]
    (tmp_path / "corpus.txt").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "heads.safetensors"
    result = heads("induction", "--file", str(tmp_path / "corpus.txt"), "--out", str(out))
    assert result.exit_code == 0
    assert f"neoscope.analysis.load({str(out)!r})" in result.stdout
    found = load(out)
    assert isinstance(found, HeadScores)
    expected = measure(ns.load("induction"), texts=[lines[0], lines[2]], progress=False)
    assert np.array_equal(found.score, expected.score, equal_nan=True)
    again = heads("induction", "--text", lines[0], "--text", lines[2], "--json")
    assert json.loads(again.stdout)["texts"] == 2


def test_a_file_gets_80_columns_and_is_told_what_is_missing() -> None:
    args = ("induction", "--text", "apple river", "--text", "apple")
    result = heads(*args, env={"COLUMNS": None})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert re.search(r"^induction +- +", result.stdout, re.M)
    assert "-: there was nothing to measure it on" in result.stdout
    assert "1 text of a single token has nothing to measure" in result.stdout
    assert re.search(r"^ +0 +0 +- ", heads(*args, "--score", "induction").stdout, re.M)


def test_json_alone_is_printed() -> None:
    result = heads("induction-short-window", "--score", "induction_beyond", "--top", "8", "--json")
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["gaps"] == [4, 9]
    assert facts["prepend_bos"] is True
    assert facts["ranking"][0]["cannot"] == 4
    rows = facts["heads"]["induction_beyond"]
    assert [row["score"] == "cannot" for row in rows] == [not row["possible"] for row in rows]
    assert [row["score"] for row in rows[4:]] == ["cannot"] * 4


def test_options_reach_the_library() -> None:
    options = ["--gap", "3,6", "--length", "2", "--n", "4", "--seed", "5", "--weighted", "norm"]
    facts = json.loads(heads(*options, "--no-prepend-bos", "--json").stdout)
    assert (facts["gaps"], facts["lengths"], facts["texts"]) == ([3, 6], [2, 2], 8)
    assert (facts["seed"], facts["weighted"], facts["prepend_bos"]) == (5, "norm", False)
    expected = measure(
        ns.load("organism"), gap=[3, 6], length=2, n=4, seed=5, weighted="norm",
        prepend_bos=False, progress=False,
    )  # fmt: skip
    assert facts["ranking"][0]["score"] == pytest.approx(expected.ranking()["score"][0])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--score", "inductoin"], "did you mean 'induction'"),
        (["--gap", "200"], "--gap 200 needs 202 tokens, but the model's context is 128"),
        (["induction", "--score", "induction_beyond"], "all layers of this model are global"),
        (["induction", "--text", "apple"], "no text has more than one token"),
        (["--text", ""], "begin it with the beginning-of-text token: --prepend-bos\n"),
        (["--gap", "1", "--score", "induction"], "--gap 1: what came after"),
    ],
)
def test_mistakes_are_one_line(args: list[str], said: str) -> None:
    result = heads(*args)
    assert result.exit_code == (2 if "--gap" in args else 1)
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--text", "a b", "--gap", "3"], "--gap is for repeats"),
        (["--gap", "x"], "no whole number"),
        (["--out", "heads.csv"], "its name must end in"),
        (["--out", "/no/such/folder/heads.json"], "does not exist"),
        (["--file", "/no/such/file"], "cannot read"),
        (["--top", "0"], "greater than or equal to 1"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_loaded(args: list[str], said: str) -> None:
    result = heads("no/such-model", *args)
    assert result.exit_code == 2
    assert said in " ".join(re.sub(r"[│╭╰─╮╯\n]", " ", result.stderr).split())


def test_blank_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    assert heads("--file", str(tmp_path / "blank.txt")).exit_code == 2


@pytest.mark.parametrize("args", [("--help",), ("--gap", "x"), ("--text", "a", "--n", "3")])
def test_help_and_wrong_usage_import_nothing_heavy(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, "heads", *args).isdisjoint(HEAVY)
