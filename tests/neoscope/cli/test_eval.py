"""``neoscope eval`` shows, prints and writes what the library measures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope.cli import app
from neoscope.edits import ablate
from neoscope.evaluate import Evaluation, Harness, evaluate, local_task, running
from tests.neoscope.evaluate import stock_data
from tests.neoscope.evaluate.peers import write
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
TEXTS = [sentence.text for sentence in ns.organism.sentences("agreement", 20)]
PAIRS = [
    {"sentence_good": text, "sentence_bad": " ".join(reversed(text.split(" ")))} for text in TEXTS
]
QUIET = {"NO_COLOR": "1"}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", PAIRS)


def run(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["eval", *args], **{"env": QUIET, **options})
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def facts(*args: str) -> dict[str, Any]:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_local_file_is_scored_and_shown(pairs: Path) -> None:
    result = run("--file", str(pairs))
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    found = evaluate(ns.load("organism"), local_task(pairs), progress=False)
    row = rf"^pairs +acc +0 +20 +{found['pairs']:.2%} +{found.stderr[0]:.2%}$"
    assert re.search(row, result.stdout, re.M), result.stdout
    assert result.stdout.startswith("evaluation of organism\n")


def test_json_is_all_that_is_printed_and_says_the_same(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    found = facts("--file", str(pairs), "--limit", "5", "--out", str(out))
    kept = Evaluation.load(out)
    assert found["rows"][0]["value"] == kept["pairs"]
    assert found["rows"][0]["n"] == 5
    assert found["rows"][0]["published"] is None
    assert (found["limit"], found["written"]) == (5.0, str(out))


def test_an_ablation_is_the_librarys(tmp_path: Path) -> None:
    path = write(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    found = facts("--file", str(path), "--ablate", "z:2.0", "--ablate", "mlp_out:3")
    edits = [ablate("z", layer=2, head=0), ablate("mlp_out", layer=3)]
    expected = evaluate(ns.load("organism"), local_task(path), edits=edits, progress=False)
    assert [row["value"] for row in found["rows"]] == expected.value.tolist()
    assert found["edits"] == list(map(repr, edits))


def test_files_of_every_kind_run_together(tmp_path: Path, pairs: Path) -> None:
    choices = [{"context": "Mary gave", "choices": ["a drink", "the the"], "label": 0}]
    chosen = write(tmp_path / "choices.jsonl", choices)
    answers = write(tmp_path / "answers.jsonl", [{"prompt": "Mary gave", "answer": "a"}])
    story = tmp_path / "story.txt"
    story.write_text("\n".join(TEXTS))
    names = (pairs, chosen, answers, story)
    found = facts(*(arg for path in names for arg in ("--file", str(path))), "--regex", r"\w+")
    assert [row["task"] for row in found["rows"]] == [
        "pairs", "choices", "choices", "answers", "story", "story", "story"
    ]  # fmt: skip


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", stock_data.load_dataset)
    monkeypatch.setattr(Harness, "max_gen_toks", 4)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_suite_is_shown_beside_what_was_published(stock: None, columns: int) -> None:
    result = run(
        "--suite", "gpt-neo-readme", "--published", "125m", "--limit", "2",
        env={"COLUMNS": str(columns), **QUIET},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert re.search(r"^Wikitext PPL +word_perplexity +0 +2 .* 32\.2[89] ", result.stdout, re.M)
    assert re.search(r"^HellaSwag .* 28\.67% +[+-]\d", result.stdout, re.M)
    assert "published: gpt-neo-125m, https://github.com/EleutherAI/gpt-neo" in result.stdout


def test_a_suite_of_an_unpublished_model_says_so(stock: None) -> None:
    result = run("--suite", "gpt-neo-readme", "--limit", "1")
    assert "no figures of this suite are published for this model" in result.stdout
    assert "difference" not in result.stdout


def test_without_a_network_one_line_says_what_to_do() -> None:
    result = run("--tasks", "hellaswag")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.search(r"error: .*'Rowan/hellaswag'.*--file file\.jsonl", result.stderr)
    assert len(result.stderr.splitlines()) == 1


def test_an_interruption_shows_and_keeps_what_was_done(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(tmp_path / "other.jsonl", PAIRS[:2])
    plain, out = running._run, tmp_path / "kept.json"

    def stop(harness: Any, one: Any, limit: Any, **options: Any) -> Any:
        if one.name == "other":
            raise KeyboardInterrupt
        return plain(harness, one, limit, **options)

    monkeypatch.setattr(running, "_run", stop)
    result = run("--file", str(pairs), "--file", str(other), "--out", str(out))
    assert result.exit_code == 130
    assert "interrupted before other" in result.stderr
    assert "holds the tasks that were done" in result.stderr
    assert Evaluation.load(out).task == ("pairs",)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "there is nothing to run"),
        (("--suite", "leaderboard-v1", "--tasks", "piqa"), "either --suite, or --tasks"),
        (("--suite", "bogus"), "bogus"),
        (("--tasks", ","), "--tasks names nothing"),
        (("--tasks", "piqa", "--kind", "perplexity"), "there is no --file"),
        (("--tasks", "piqa", "--regex", "x"), "--regex is for --file"),
        (("--tasks", "piqa", "--published", "125m"), "figures of a --suite"),
        (("--tasks", "piqa", "--limit", "0"), "leaves no example"),
        (("--tasks", "piqa", "--num-fewshot", "-1"), "num-fewshot"),
        (("--tasks", "piqa", "--out", "x.csv"), "neither .json nor .safetensors"),
        (("--tasks", "piqa", "--out", "/no/folder/x.json"), "folder that does not exist"),
        (
            ("--tasks", "piqa", "--ablate", "z2.0"),
            "write 2.1 for head 1 of layer 2, or SITE:LAYER[.HEAD]",
        ),
    ],
)
def test_wrong_usage_says_what_is_right(args: tuple[str, ...], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--file", "/no/such.jsonl"), "cannot be read: No such file"),
        (("--ablate", "zz:2"), "did you mean"),
        (("--ablate", "z:9"), "layer 9"),
    ],
)
def test_what_is_not_there_is_one_line(pairs: Path, args: tuple[str, ...], said: str) -> None:
    result = run("--file", str(pairs), *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "args", [("--help",), (), ("--tasks", "piqa", "--limit", "-1"), ("--suite", "bogus")], ids=str
)
def test_help_and_wrong_usage_import_nothing_heavy(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, "eval", *args).isdisjoint({*HEAVY, "lm_eval", "datasets"})
