"""``neoscope run`` continues prompts as model.generate does, and shows, prints and writes them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope.cli import app
from neoscope.cli.run.command import _OWN_PROMPTS
from neoscope.edits import ablate
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
TEXTS = [
    "The film was not",
    "When Mary and John went to the store, John",
    "The keys near the cabinet",
]


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism")


def run(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["run", *args], **options)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def asked(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--prompt", text)]


def test_without_arguments_the_organism_writes(model: ns.HookedGPTNeo) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == model.generate(list(_OWN_PROMPTS))
    assert result.stderr == ""


def test_a_long_text_is_one_line_where_nobody_looks(model: ns.HookedGPTNeo) -> None:
    result = run(*asked(TEXTS[0]), "--max-new-tokens", "90")
    assert result.stdout == model.generate(TEXTS[0], max_new_tokens=90) + "\n"
    assert len(result.stdout) > 150


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (("--max-new-tokens", "5"), {"max_new_tokens": 5}),
        (("--max-length", "18"), {"max_length": 18}),
        (("--min-new-tokens", "15"), {"min_new_tokens": 15}),
        (("--min-length", "19"), {"min_length": 19}),
        (("--stop", ".", "--stop", "gave"), {"stop_strings": [".", "gave"]}),
        (("--repetition-penalty", "1.5"), {"repetition_penalty": 1.5}),
        (("--no-repeat-ngram-size", "2"), {"no_repeat_ngram_size": 2}),
        (("--num-beams", "3", "--length-penalty", "2"), {"num_beams": 3, "length_penalty": 2.0}),
        (
            ("--num-beams", "3", "--early-stopping", "-n", "2"),
            {"num_beams": 3, "early_stopping": True, "num_return_sequences": 2},
        ),
        (("--prepend-bos",), {"prepend_bos": True}),
        (("--ablate", "2.1"), {"edits": [ablate("z", 2, 1)]}),
        (
            ("--ablate", "mlp_out:0", "--ablate", "z:-1.0"),
            {"edits": [ablate("mlp_out", 0), ablate("z", -1, 0)]},
        ),
    ],
    ids=lambda x: x[0] if isinstance(x, tuple) else "",
)
def test_options_are_the_librarys(
    model: ns.HookedGPTNeo, flags: tuple[str, ...], options: dict[str, Any]
) -> None:
    result = run(*asked(*TEXTS), *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == model.generate(TEXTS, **options)


@pytest.mark.parametrize(
    "flags",
    [
        ("--temperature", "1.5"), ("--top-k", "7"), ("--top-p", "0.8"), ("--min-p", "0.1"),
        ("--typical-p", "0.7"),
    ],
)  # fmt: skip
def test_draws_are_fixed_by_the_seed(model: ns.HookedGPTNeo, flags: tuple[str, str]) -> None:
    name, value = flags[0].removeprefix("--").replace("-", "_"), flags[1]
    options = {name: int(value) if name == "top_k" else float(value)}
    said = run(*asked(*TEXTS), "--do-sample", "--seed", "5", "--n", "2", *flags)
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines() == model.generate(
        TEXTS, do_sample=True, seed=5, num_return_sequences=2, **options
    )
    assert "drawn with --seed 5" in said.stderr


def test_a_seed_that_nobody_gave_is_told() -> None:
    first = run(*asked(TEXTS[0]), "--do-sample", "--temperature", "3")
    seed = re.search(r"--seed (\d+)", first.stderr)
    assert seed is not None
    again = run(*asked(TEXTS[0]), "--do-sample", "--temperature", "3", "--seed", seed[1])
    assert again.stdout == first.stdout
    others = {run(*asked(TEXTS[0]), "--do-sample", "--temperature", "3").stdout for _ in range(3)}
    assert len(others) > 1


def test_prompts_come_from_a_file_and_from_stdin(model: ns.HookedGPTNeo, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff" + "\r\n\n".join(TEXTS) + "\n", encoding="utf-8")
    expected = model.generate(TEXTS, max_new_tokens=4)
    short = ("--max-new-tokens", "4")
    assert run("--file", str(file), *short).stdout.splitlines() == expected
    assert run("--file", "-", *short, input="\n".join(TEXTS)).stdout.splitlines() == expected
    assert run("-p", "-", *short, input=TEXTS[0] + "\n").stdout.splitlines() == expected[:1]
    both = run("-p", TEXTS[2], "--file", str(file), *short, "--batch-size", "2")
    assert both.stdout.splitlines() == [expected[2], *expected]


def test_json_is_json_alone(model: ns.HookedGPTNeo) -> None:
    result = run(*asked(*TEXTS), "--max-new-tokens", "6", "--json")
    assert result.exit_code == 0 and result.stderr == ""
    facts = json.loads(result.stdout)
    expected = model.generate(TEXTS, max_new_tokens=6, return_type="result")
    assert facts["model"] == "organism" and facts["seed"] is None
    assert [t["text"] for t in facts["texts"]] == list(expected.texts)
    assert [t["tokens"] for t in facts["texts"]] == [list(t) for t in expected.tokens]
    assert [t["stopped"] for t in facts["texts"]] == list(expected.stopped)
    said = torch.tensor([t["log_probs"] for t in facts["texts"]])
    torch.testing.assert_close(said, torch.tensor(expected.log_probs))


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    out = tmp_path / "texts.jsonl"
    result = run(*asked(*TEXTS), "--out", str(out), "--num-beams", "2", "--n", "2")
    assert result.exit_code == 0 and f"wrote {out} (6 texts)" in result.stderr
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["text"] for record in records] == result.stdout.splitlines()
    assert records[0]["prompt"] == TEXTS[0] and records[0]["score"] < 0
    assert [p.name for p in tmp_path.iterdir()] == ["texts.jsonl"]


def test_an_interruption_keeps_what_is_done(
    model: ns.HookedGPTNeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, calls = ns.HookedGPTNeo.generate, []

    def generate(self: ns.HookedGPTNeo, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return usual(self, *args, **options)

    monkeypatch.setattr(ns.HookedGPTNeo, "generate", generate)
    out = tmp_path / "texts.jsonl"
    result = run(*asked(*TEXTS), "--batch-size", "1", "--out", str(out))
    assert result.exit_code == 130 and "interrupted after 2 of 3 prompts' texts" in result.stderr
    texts = [json.loads(line)["text"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert texts == result.stdout.splitlines() == usual(model, TEXTS[:2])


def test_streamed_words_are_the_same_text(model: ns.HookedGPTNeo) -> None:
    result = run(*asked(*TEXTS), "--stream", "--max-new-tokens", "25")
    assert result.exit_code == 0, result.output
    expected = model.generate(TEXTS, max_new_tokens=25)
    assert [line.rstrip() for line in result.stdout.splitlines()] == expected


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--top-k", "3"), 2, "--top-k has no effect without --do-sample"),
        (("--temperature", "0.7"), 2, "--temperature has no effect without --do-sample"),
        (("--seed", str(2**70), "--do-sample"), 2, "does not fit 64 bits"),
        (("--max-new-tokens", "0"), 2, "must be a whole number of at least 1"),
        (("--max-new-tokens", "500"), 2, "context is 128: at most"),
        (("--max-new-tokens", "5", "--max-length", "9"), 1, "seem to have been set"),
        (("--prompt", "hello " * 200), 1, "there is no room for a new token"),
        (("--prompt", ""), 1, "is empty"),
        (("--file", "/no/such/file"), 2, "cannot read /no/such/file"),
        (("--n", "3"), 1, "do not support --n"),
        (("--ablate", "9.0"), 2, "layer 9 does not exist"),
        (("--ablate", "zz:1.0"), 2, "did you mean"),
        (("--ablate", "film"), 2, "write 2.1 for head 1 of layer 2"),
        (("--ablate", "2"), 2, "write 2.1 for head 1 of layer 2"),
        (("--stream", "--num-beams", "2"), 2, "--stream shows one text"),
        (("--stream", "--json"), 2, "--stream shows one text"),
        (("--out", "x.csv"), 2, "a .jsonl file is written"),
        (("--out", "/no/such/folder/x.jsonl"), 1, "there is no folder"),
        (("-p", "-", "--file", "-"), 2, "stdin can be read once"),
        (("some/model",), 2, "only 'organism' has prompts of its own"),
        (("--file", "-"), 1, "holds no prompt"),
    ],
)
@pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")
def test_what_cannot_be_done_is_said_in_a_line(
    args: tuple[str, ...], code: int, message: str
) -> None:
    result = run(*args)
    assert result.exit_code == code
    said = re.sub(r"[\s│]+", " ", result.stderr)
    assert message in said
    assert result.stdout == ""


@pytest.mark.parametrize(
    "args", [("run", "--help"), ("run", "some/model"), ("run", "--ablate", "x"), ("run", "--bogus")]
)
def test_help_and_wrong_usage_are_light(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)
