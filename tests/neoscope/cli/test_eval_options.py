"""``neoscope eval``: what is said of files, of examples and of what an edit changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import neoscope as ns
from neoscope.evaluate import local_task
from neoscope.evaluate.comparing import Comparison, compare
from tests.neoscope.cli.test_eval import TEXTS, facts, run
from tests.neoscope.evaluate.peers import write

CHOICES = [
    {"context": text.rsplit(" ", 1)[0], "choices": ["the castle.", "Mary."], "label": i % 2}
    for i, text in enumerate(TEXTS)
]
ANSWERS = [{"q": text, "solution": "nothing"} for text in TEXTS[:3]]


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    return write(tmp_path / "mc.jsonl", CHOICES)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return write(tmp_path / "answers.jsonl", ANSWERS)


def test_a_comparison_shows_clean_beside_edited(choices: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.json"
    args = ("--file", str(choices), "--ablate", "mlp_out:0", "--compare")
    found = facts(*args, "--out", str(out))
    edit = ns.edits.ablate("mlp_out", layer=0)
    expected = compare(ns.load("organism"), local_task(choices), edits=edit, progress=False)
    for name in ("clean", "edited"):
        assert [row[name] for row in found["rows"]] == getattr(expected, name).tolist()
    assert isinstance(ns.analysis.load(out), Comparison)
    shown = run(*args).stdout
    assert shown.startswith("evaluation of organism, clean and with ablate(")
    assert all(word in shown for word in ("clean", "edited", "difference"))
    assert max(map(len, shown.splitlines())) <= 80


def test_cut_contexts_are_shown(choices: Path) -> None:
    args = ("--file", str(choices), "--num-fewshot", "15", "--limit", "4")
    assert [row["shortened"] for row in facts(*args)["rows"]] == [4, 4]
    shown = " ".join(run(*args).stdout.split())
    assert "4 of 4 contexts of mc were too long and lost their beginning" in shown
    assert "metric shots n cut value" in shown


def test_samples_are_written(choices: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    found = facts("--file", str(choices), "--limit", "4", "--samples", str(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert found["samples"] == str(path)
    assert [row["example"] for row in rows] == [0, 1, 2, 3]
    assert sum(row["right"] for row in rows) / 4 == found["rows"][0]["value"]


def test_a_file_may_be_described_in_full(answers: Path, choices: Path) -> None:
    found = facts(
        "--file", str(answers), "--columns", "answer=solution,prompt=q", "--name", "mine",
        "--stop", ".", "--stop", "!", "--max-new-tokens", "2", "--ignore-case",
        "--ignore-punctuation", "--regex", "(nothing|.)",
    )  # fmt: skip
    assert [(row["task"], row["metric"]) for row in found["rows"]] == [("mine", "exact_match")]


def test_a_share_and_a_number_of_examples_are_told_as_they_are(choices: Path) -> None:
    few = run("--file", str(choices), "--limit", "0.001").stdout
    assert "the first 0.1% of each task's examples" in few
    many = run("--file", str(choices), "--limit", "1000").stdout
    assert "at most the first 1000 of each" in " ".join(many.split())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--limit", "inf"), "leaves no example"),
        (("--limit", "nan"), "leaves no example"),
        (("--limit", "1.5"), "1.5 is no number of examples"),
        (("--regex", "("), "--regex is no regular expression"),
        (("--regex", "x"), "--regex is for generated answers, and"),
        (("--max-new-tokens", "0"), "max-new-tokens"),
        (("--columns", "x"), "'x' is no COLUMN=NAME"),
        (("--compare",), "give --ablate"),
        (("--compare", "--ablate", "z:2", "--samples", "x.jsonl"), "either --compare or --samples"),
        (("--samples", "x.csv"), "does not end in .jsonl"),
        (("--samples", "/no/folder/x.jsonl"), "folder that does not exist"),
        (("--file", "other.jsonl", "--name", "x"), "--name is for one --file"),
    ],
    ids=str,
)
def test_wrong_usage_is_told(choices: Path, args: tuple[str, ...], said: str) -> None:
    result = run("--file", str(choices), *args)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--tasks", "mc"), "'mc' is the local task"),
        (("--include", "nodir"), "'nodir' is no folder of task files"),
        (("--tasks", "gone.yaml"), "'gone.yaml' cannot be read: no such file"),
        (("--tasks", "x.jsonl"), "--file x.jsonl"),
    ],
    ids=str,
)
def test_errors_speak_no_python(choices: Path, args: tuple[str, ...], said: str) -> None:
    result = run("--file", str(choices), *args)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "=" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_no_bar_is_drawn_where_stderr_is_no_terminal(
    choices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neoscope import progress

    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    result = run("--file", str(choices))
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_terminal_is_told_how_far_it_is(choices: Path) -> None:
    from neoscope.cli.evaluate import run as evaluate_run

    told: list[str] = []

    class Status:
        def __enter__(self) -> Status:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def update(self, said: str) -> None:
            told.append(said)

    def status(console: object, said: str) -> Status:
        told.append(said)
        return Status()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rich.console.Console.status", status)
        evaluate_run.measured(
            ns.load("organism"), [local_task(choices)], compare=False, quiet=False, limit=2
        )
    assert told[0] == "finding and reading the tasks"
    assert told[-1] == "answered 4 of 4 requests"
