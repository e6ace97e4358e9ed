"""What is wrong with a call of ``neoscope patch`` is said in one line, and in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neoscope.cli.patch import command
from neoscope.cli.patch.words import in_options
from tests.neoscope.cli.exporting import refused
from tests.neoscope.cli.test_patch import ANSWERS, CLEAN, CORRUPTED, ONE, patch

GOOD = {"clean": CLEAN, "corrupted": CORRUPTED, "answer": " Mary", "wrong": " John"}


@pytest.fixture
def before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a model is loaded."""
    monkeypatch.setattr(command, "load_model", None)


@pytest.mark.usefixtures("before_loading")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["some/model"], "give --clean and --corrupted, or --pairs"),
        (["--clean", "a", *ANSWERS], r"--corrupted is missing \(or --source zero\)"),
        (["--clean", "a", "--source", "zero"], "--answer and --wrong are missing"),
        (["--clean", "a", "--source", "zero", "--metric", "rank"], "--answer is missing"),
        (["--answer", " Mary"], "--clean and --corrupted and --wrong are missing"),
        (["--task", "ioi", "--clean", "a"], "--clean and --task: a pair"),
        (["--task", "ioi", "--pairs", "x"], "--pairs and --task: a pair"),
        ([*ONE, "--n", "3"], "--n is for --task"),
        (["--n", "0"], "Invalid value for '--"),
        (["--top", "0"], "Invalid value for '--"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--every", "--site", "z"], "--site is for a sweep of one site"),
        (["--every", "--heads", "1"], "--heads is for a sweep of one site"),
        (["--heads", "first"], "'first' is no whole number or range"),
        (["--positions", "1:2:3"], "'1:2:3' is no whole number or range"),
        (["--metric", "blue"], "'blue' is not one of 'logit-diff'"),
        (["--source", "one"], "'one' is not one of 'zero'"),
        (["--clean", "a", "--source", "zero", *ANSWERS, "--normalised"], "--normalised needs"),
    ],
)
def test_wrong_usage(args: list[str], message: str) -> None:
    refused(patch(*args), message, code=2)


@pytest.mark.usefixtures("before_loading")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--site", "zz"], "--site 'zz' cannot be patched; did you mean 'z'"),
        (["--task", "iio"], "there is no task 'iio'"),
        (["--pairs", "no.jsonl"], "cannot read no.jsonl: No such file"),
    ],
)
def test_mistake_is_met_before_loading(args: list[str], message: str) -> None:
    refused(patch(*args), f"^error: {message}", code=2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--heads", "1"], "--heads 1: site 'resid_pre' is not by head; those that are: "),
        (["--site", "z", "--heads", "4"], "heads: 4 does not exist; the model has heads 0 to 3"),
        (["--layers", "4"], "layer 4 does not exist; the model has layers 0 to 3"),
        (["--positions", "14"], "positions: 14 is out of range in pair 0, which has 14 tokens"),
        (["--keys", "each"], "--keys 'each': site 'resid_pre' has no source positions"),
        (["--batch-tokens", "3"], "--batch-tokens 3 does not hold one prompt of 14 tokens"),
        (["--metric", "loss", "--metric-positions", "last"], "use --metric-positions 'all', and"),
        (["--source", "resample"], "--source 'resample' draws among prompts"),
        (["--normalised", "--metric", "kl", "--metric-positions", "0"], "cannot normalise: "),
        (["--device", "abacus"], "'abacus' is no device"),
    ],
)
def test_what_the_library_says_names_options(args: list[str], message: str) -> None:
    result = patch(*ONE, *args)
    refused(result, message, code=1 if "--metric" in args else 2)
    assert "minimum=" not in result.stderr


@pytest.mark.filterwarnings("ignore:text 0")
def test_misaligned_prompts_are_shown_in_one_line() -> None:
    longer = CORRUPTED.replace("store", "store and house")
    result = patch("--clean", CLEAN, "--corrupted", longer, *ANSWERS)
    refused(result, r"the clean prompt has 14 tokens, the corrupted one 16; clean: \.\.\. \| ")
    assert "; at token 8, nothing stands against" in result.stderr
    assert "^" not in result.stderr


def test_same_prompts_are_refused() -> None:
    refused(patch("--clean", CLEAN, "--corrupted", CLEAN, *ANSWERS), "are the same in pair 0")


def test_answer_of_several_tokens_is_shown() -> None:
    args = ("--clean", CLEAN, "--corrupted", CORRUPTED, "--answer", " Zog", "--wrong", " John")
    refused(patch(*args), r"--answer ' Zog' is \d tokens: ' ' \| 'Z' \| 'o' \| 'g'", code=2)


def test_task_of_another_models_words_is_refused() -> None:
    result = patch("induction", "--task", "ioi")
    assert (result.exit_code, result.stdout) == (1, "")
    *warned, said = result.stderr.splitlines()
    assert "give --pairs of your own" in said
    assert all("'When', 'David', " in line and "read as '<|endoftext|>'" in line for line in warned)


# ---- a file of pairs --------------------------------------------------------------------------


def file_of(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "pairs.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.usefixtures("before_loading")
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{clean", "line 3 is no JSON: .* at column 2; expected a line such as"),
        ([1], "line 3 is a list; expected an object with the fields clean, corrupted"),
        ({"clean": "a", "corupted": "b"}, "line 3 has no field 'corrupted'; did you mean 'coru"),
        ({}, "line 3 has no field 'clean'; it has nothing"),
        (GOOD | {"wrong": None}, "line 3: wrong is None; expected a text or a token id"),
        (GOOD | {"answer": [1]}, r"line 3: answer is \[1\]; expected a text or a token id"),
        (GOOD | {"clean": 3}, "line 3: clean is 3; expected a text or a list of token ids"),
        (GOOD | {"clean": []}, r"line 3: clean is \[\]; expected a text or a list"),
        (GOOD | {"clean": [True]}, r"line 3: clean is \[True\]; expected a text or a list"),
    ],
)
def test_bad_line_is_named(bad: Any, message: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, GOOD, "", bad)
    refused(patch("--pairs", str(path)), f"^error: {path}, {message}")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD | {"corrupted": CLEAN}, r"are the same in pair 1 \(line 3\)"),
        (GOOD | {"corrupted": f"{CLEAN} the"}, r"pair 1 \(line 3\) does not align"),
        (GOOD | {"answer": " Zog"}, r"line 3: --answer ' Zog' is \d tokens"),
        (GOOD | {"answer": " John"}, r"are the same token \(\d+\) in pair 1 \(line 3\)"),
    ],
)
def test_pair_that_does_not_fit_is_named_by_its_line(
    bad: Any, message: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path, GOOD, "", bad)
    refused(patch("--pairs", str(path)), f"^error: {path}: .*{message}")


@pytest.mark.usefixtures("before_loading")
def test_file_that_holds_no_pairs_is_refused(tmp_path: Path) -> None:
    refused(patch("--pairs", str(file_of(tmp_path, "", " "))), "holds no pairs")
    (tmp_path / "pairs.jsonl").write_bytes(b"\xff\xfe")
    refused(patch("--pairs", str(tmp_path / "pairs.jsonl")), "it is no UTF-8 text")


def test_ablation_of_a_file_needs_no_corrupted_prompts(tmp_path: Path) -> None:
    alone = {name: value for name, value in GOOD.items() if name != "corrupted"}
    path = str(file_of(tmp_path, alone, alone))
    few = ("--layers", "0", "--positions", "all")
    refused(patch("--pairs", path, *few), "line 1 has no field 'corrupted'")
    assert patch("--pairs", path, "--source", "zero", *few).exit_code == 0
    path = str(file_of(tmp_path, GOOD, alone))
    refused(patch("--pairs", path, "--source", "zero", *few), "line 2 has no field 'corrupted'")


# ---- the file that is written -----------------------------------------------------------------


@pytest.mark.usefixtures("before_loading")
def test_target_is_checked_before_loading(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    for target, message in (
        (tmp_path / "r.csv", "must end in .json or .parquet"),
        (tmp_path / "no" / "r.json", "the folder .*no does not exist"),
        (tmp_path, "it is a folder; name a file"),
        (other, "something that is no result of neoscope's is there already"),
    ):
        refused(patch("--out", str(target)), f"cannot write .*{message}")
    assert other.read_text() == "{}"
    stream = tmp_path / "r-stream.json"
    stream.write_text("{}")
    refused(patch("--every", "--out", str(tmp_path / "r.json")), "r-stream.json: something that")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("heads=[]", "--heads"),
        ("source='zero' and batch_tokens=3", "--source 'zero' and --batch-tokens 3"),
        ("a.clean=3", "a.clean=3"),
        ("use prepend_bos=True", "use --prepend-bos"),
    ],
)
def test_arguments_become_options(said: str, shown: str) -> None:
    assert in_options(said) == shown
