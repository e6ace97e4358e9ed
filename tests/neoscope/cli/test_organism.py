"""``neoscope organism``: the card, sentences with what the organism says, and its exam."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from neoscope import organism
from neoscope.cli import app
from neoscope.cli.organism.card import _bars, sparkline
from neoscope.organism import bundle, gates
from neoscope.organism.gates import GateReport
from neoscope.organism.language import PAIRED, TASKS, pairs, sentences
from neoscope.organism.language.lexicon import PUNCTUATION
from tests.neoscope.organism.stand_in import REPORT, TRUTH, write_stand_in

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("organism") / "trained")


@pytest.fixture(autouse=True)
def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a random model stand where the trained one does."""
    monkeypatch.setattr(bundle, "_FOLDER", folder)


def run(*args: str, columns: int = 100, **options: Any) -> Result:
    return RUNNER.invoke(app, ["organism", *args], env={"COLUMNS": str(columns)}, **options)


def lines(*args: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a command prints."""
    result = run(*args)
    assert result.exit_code == 0
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_help_names_the_three_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("card", "sample", "eval"))


def test_without_a_command_help_is_shown() -> None:
    result = run()
    assert result.exit_code == 2
    assert "sample" in result.output


# ---- card --------------------------------------------------------------------------------------


def test_card_tells_shape_training_gates_and_claims() -> None:
    result = run("card")
    assert result.exit_code == 0
    assert result.stderr == ""
    words = " ".join(result.stdout.split())
    for text in (
        "organism, 904,192 parameters",
        "4, alternating global and local (window 32)",
        "far repeats need head 2.3 (layer 2, head 3) most",
        "python -m neoscope.making.training --seed 0",
        "seed 0, 150 steps, 1.5M tokens, 1.5 min, cpu, 1 thread",
        "organism-before before induction (step 20); organism-during",
        "ioi right word above wrong word 0.9910 >= 0.97 ok",
        "mean logit difference 2.5000 >= 3 FAIL",
        "0.0100 <= 0.05 ok",
        "6.25 to 0.50 nats a word",
        "holds No local head looks far.",
        "all 2 training seeds",
        "holds The best head is in layer 2. 2, 2",
        "not for all It looks back. 0.512, none",
        "holds It is [bold]that[/] head. 2.3, yes",
    ):
        assert text in words


def test_card_in_json_is_whole() -> None:
    (told,) = [json.loads(run("card", "--json").stdout)]
    assert told == {"card": organism.card(), "truth_card": TRUTH}


@pytest.mark.parametrize("columns", [80, 40])
def test_card_fits_its_terminal(columns: int) -> None:
    result = run("card", columns=columns)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns


@pytest.mark.parametrize(
    ("encoding", "bars"), [("utf-8", "▁▂▃▄▅▆▇█"), ("ascii", "_.-=+*#@"), ("nothing", "_.-=+*#@")]
)
def test_curve_is_plain_where_the_terminal_knows_few_letters(encoding: str, bars: str) -> None:
    assert _bars(encoding) == bars


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([None, None], "  "),
        ([1.0], "▁"),
        ([2.0, 2.0], "▁▁"),
        ([0.0, 7.0], "▁█"),
        ([None, 0.0, 7.0], " ▁█"),
        ([0.0, 2.0, 7.0, 7.0], "▁█"),
    ],
)
def test_sparkline(values: list[float | None], line: str) -> None:
    assert sparkline(values, width=max(1, len(line))) == line


def test_damaged_card_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_FOLDER", tmp_path / "none")
    for command in ("card", "sample", "eval"):
        result = run(command)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("error: this copy of neoscope lacks the trained organism")


# ---- sample ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_sample_shows_each_task(task: str) -> None:
    result = run("sample", "--task", task, "--n", "2", columns=1000)
    assert result.exit_code == 0
    for item in sentences(task, 2):
        if item.answer is None:
            assert f"{item.words[0]}/" in result.stdout
        else:
            gap = "" if item.answer in PUNCTUATION else " "
            assert f"{item.prompt}{gap}[{item.answer}]" in result.stdout
            assert f"wrong: {item.wrong}" in result.stdout
    assert ("organism" in result.stdout) == (task != "filler")


def test_sample_names_roles_and_labels() -> None:
    (item,) = sentences("ioi", 1)
    words = " ".join(run("sample", "--n", "1").stdout.split())
    assert f"S2 {item.wrong}" in words
    assert f"template {item.attributes['template']}, order {item.attributes['order']}" in words


def test_sample_help_names_every_task() -> None:
    words = run("sample", "--help", columns=200).stdout
    assert all(task in words for task in TASKS)


def test_seed_and_split_choose_sentences() -> None:
    texts = {
        tuple(line["text"] for line in lines("sample", "--json", *more))
        for more in ([], ["--seed", "1"], ["--split", "train"])
    }
    assert len(texts) == 3
    assert lines("sample", "--json") == lines("sample", "--json")


def test_sample_in_json_is_the_library_s_record() -> None:
    expected = [json.loads(json.dumps(item.record())) for item in sentences("facts", 3, seed=4)]
    assert lines("sample", "--task", "facts", "--n", "3", "--seed", "4", "--json") == expected


def test_answers_are_the_models_own() -> None:
    import neoscope as ns

    model = ns.load("organism")
    for record in lines("sample", "--task", "agreement", "--n", "3", "--json", "--answers"):
        share = model(record["prompt"])[0, -1].detach().softmax(-1)
        said = record["organism"]
        assert said["says"] == model.to_string([int(share.argmax())]).strip()
        assert said["probability"] == pytest.approx(float(share.max()), rel=1e-3)
        for key, word in (("right", record["answer"]), ("wrong", record["wrong"])):
            expected = float(share[model.to_single_token(f" {word}")])
            assert said[f"probability_of_{key}"] == pytest.approx(expected, rel=1e-3)


def test_no_answers_needs_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle, "_FOLDER", tmp_path / "none")
    result = run("sample", "--no-answers")
    assert result.exit_code == 0
    assert "organism" not in result.stdout
    assert "wrong" in result.stdout


def test_three_names_have_no_wrong_one() -> None:
    result = run("sample", "--split", "train", "--n", "60", columns=1000)
    assert result.exit_code == 0
    assert "order ABC" in result.stdout


@pytest.mark.parametrize("task", PAIRED)
def test_pairs_show_both_sides(task: str) -> None:
    result = run("sample", "--task", task, "--n", "2", "--pairs", columns=2000)
    assert result.exit_code == 0
    found = pairs(task, 2)
    plain = result.stdout.replace("*", "")
    for k in range(2):
        assert f"{found.clean[k]} [{found.answer[k].strip()}]" in plain
        assert f"{found.corrupted[k]} [{found.wrong[k].strip()}]" in plain
    assert result.stdout.count("*") == 4 * sum(map(len, found.changed)) + 2


def test_pairs_in_json() -> None:
    found = pairs("tense", 2, seed=3)
    records = lines(
        "sample", "--task", "tense", "--n", "2", "--seed", "3", "--pairs", "--json", "--answers"
    )
    for k, record in enumerate(records):
        assert record["task"] == "tense"
        assert (record["clean"], record["corrupted"]) == (found.clean[k], found.corrupted[k])
        assert record["changed"] == list(found.changed[k])
        clean, corrupted = record["organism_clean"], record["organism_corrupted"]
        assert {"says", "probability"} < set(clean)
        assert set(clean) == set(corrupted)


def test_out_writes_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    result = run("sample", "--n", "3", "--out", str(file))
    assert result.exit_code == 0
    assert result.stdout == f"wrote {file} (3 sentences)\n"
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert written == lines("sample", "--n", "3", "--json")
    assert run("sample", "--n", "1", "--pairs", "--out", str(file)).stdout.endswith("(1 pair)\n")
    assert len(file.read_text().splitlines()) == 1
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--task", "io"], "there is no task 'io'; there are ioi, agreement"),
        (["--task", "agreemnt"], "did you mean 'agreement'?"),
        (["--task", ""], "there is no task ''"),
        (["--task", "filler", "--pairs"], "filler has no pairs; there are pairs of ioi"),
        (["--n", "0"], "n is 0; expected a whole number, at least 1"),
        (["--n", "-3", "--pairs"], "n is -3; expected a whole number, at least 1"),
        (["--out", "/no/such/folder/x.jsonl"], "the folder /no/such/folder does not exist"),
        (["--out", "."], "cannot write .: it is a folder"),
    ],
)
def test_bad_input_is_one_line(args: list[str], message: str) -> None:
    result = run("sample", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    result = run("sample", "--out", str(tmp_path / "x.jsonl"))
    tmp_path.chmod(0o700)
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--split", "dev"], "'dev' is not one of"),
        (["--n", "many"], "Invalid value for '--n'"),
        (["--pairs", "--split", "train"], "--pairs are always of the test split"),
        (["ioi"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2(args: list[str], message: str) -> None:
    result = run("sample", *args, columns=200)
    assert result.exit_code == 2
    assert message in result.output


# ---- eval --------------------------------------------------------------------------------------


def test_random_model_fails_and_exits_with_1() -> None:
    result = run("eval", "--n", "12", "--model", "organism-random")
    assert result.exit_code == 1
    assert result.stderr == ""
    assert result.stdout.count("FAIL") == 15
    assert "organism-random: 14 of 14 gates FAIL (12 sentences a task, " in result.stdout


def test_eval_of_a_folder_in_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "find_induction_head", lambda _: (2, 1))  # takes its seconds
    result = run("eval", "--n", "4", "--seed", "2", "--model", str(folder), "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert result.stderr == ""
    assert (told["model"], told["n"], told["seed"], told["ok"]) == (str(folder), 4, 2, False)
    assert len(told["gates"]) == 14
    assert told["induction_head"] == [2, 1]
    assert {"task", "figure", "value", "gate", "at_least", "n", "holds"} == set(told["gates"][0])


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_model_that_passes_exits_with_0(
    as_json: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = GateReport(tuple(gate for gate in REPORT.gates if gate.holds), (2, 1))
    asked: dict[str, Any] = {}

    def measure(model: object, **options: Any) -> GateReport:
        asked.update(options)
        options["progress"]("ioi")
        return good

    monkeypatch.setattr(gates, "measure", measure)
    result = run("eval", *as_json)
    assert result.exit_code == 0
    assert (asked["n"], asked["seed"]) == (1000, 0)
    if as_json:
        assert json.loads(result.stdout)["ok"] is True
    else:
        assert "organism: all gates hold (7 sentences a task, " in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--n", "0"], "n is 0; expected a whole number, at least 1"),
        (["--model", "induction"], "the model has a vocabulary of 16"),
        (["--model", "organisms"], "did you mean 'organism'?"),
        (["--model", "/no/such/folder"], "no file or folder '/no/such/folder'"),
    ],
)
def test_bad_exam_is_one_line(args: list[str], message: str) -> None:
    result = run("eval", *args)
    assert result.exit_code == (2 if args[1] in ("0", "induction") else 1)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


# ---- words that training never showed ----------------------------------------------------------


def test_unseen_words_are_one_line_on_stderr(tmp_path: Path) -> None:
    out = str(tmp_path / "run.safetensors")
    args = ["cache", "organism-random", "--text", "The zebra smiled.", "--out", out, "--json"]
    result = RUNNER.invoke(app, args)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["tokens"] == 9
    assert result.stderr == (
        "warning: text 0: 'zebra' is outside the vocabulary of this model; it is read piece by "
        "piece (6 tokens), which training never showed\n"
    )


def test_other_warnings_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from neoscope.cli import info

    monkeypatch.setattr(info, "_facts", lambda *_: warnings.warn("mine", UserWarning, stacklevel=1))
    result = RUNNER.invoke(app, ["--debug", "info", "induction"])
    assert isinstance(result.exception, UserWarning)
