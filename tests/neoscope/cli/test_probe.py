"""``neoscope probe`` shows, prints and writes what the library finds."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import neoscope as ns
import probes
from neoscope.cli import app
from neoscope.cli.probe import command
from neoscope.cli.probe import run as probe_run
from neoscope.cli.probe.words import in_options
from neoscope.errors import ProbeError
from tests.neoscope.cli.exporting import refused
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
NAMES = ("Mary", "John", "Anna", "Emma", "Peter")
WORDS = ("film", "store", "castle", "horse", "window", "drink")
LABELS = {"liked": "good", "hated": "bad"}
FEW = ("--layers", "1,3", "--cv", "3", "--no-baselines")

pytestmark = pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")


def rows() -> list[dict[str, Any]]:
    both = itertools.product(LABELS, NAMES, WORDS)
    return [
        {"text": f"{name} {verb} the {word}.", "label": LABELS[verb],
         "size": len(word), "who": name}
        for verb, name, word in both
    ]  # fmt: skip


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def kept(labelled: Path) -> Path:
    """A folder that a run wrote."""
    out = labelled.parent / "probe"
    result = probe("--data", str(labelled), *FEW, "--no-controls", "--out", str(out))
    assert result.exit_code == 0, result.output
    return out


def probe(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["probe", *args], **options)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


# ---- training ---------------------------------------------------------------------------------


def test_table_has_a_row_a_layer_with_controls_and_baselines(labelled: Path) -> None:
    args = ("--data", str(labelled), "--mdl", "--cv", "2", "--layers", "0,3")
    result = probe(*args, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert "label: 60 texts of 2 classes (bad, good), 48 to train on and 12 to test on" in shown
    header = r"place +accuracy +95 % interval +validation +auc +control +selectivity +random twin +"
    assert re.search(header + "compression", shown), shown
    for layer in (0, 3):
        row = rf"^resid_post {layer} +(best +)?\d\.\d{{3}} +\d\.\d{{3}} to \d\.\d{{3}} "
        assert re.search(row, shown, re.M), shown
    assert re.search(r"^majority +0\.5", shown, re.M)
    assert re.search(r"^embeddings +\d", shown, re.M)
    assert len(re.findall(r"^resid_post \d +best ", shown, re.M)) == 1
    said = " ".join(shown.split())
    assert "on texts that no choice saw. That it can be read there does not say" in said


@pytest.mark.parametrize("columns", [120, 80, 50])
def test_no_terminal_is_overrun(columns: int, labelled: Path) -> None:
    env = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    result = probe("--data", str(labelled), "--cv", "2", "--layers", "2", env=env)
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert re.search(r"resid_post 2 .*\d\.\d{3} to \d\.\d{3}", result.stdout)


def test_what_is_printed_is_what_the_library_finds(labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    args = ("--data", str(labelled), *FEW, "--seed", "3", "--json", "--out", str(out))
    result = probe(*args, "--group-column", "who", "--test-size", "0.4")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    given = rows()
    data = probes.ProbeData.from_texts(
        ns.load("organism"), [r["text"] for r in given], [r["label"] for r in given],
        layers=[1, 3], groups=[r["who"] for r in given], label="label", progress=False,
    )  # fmt: skip
    sweep = probes.sweep(data, cv=3, baselines=False, test_size=0.4, seed=3, progress=False)
    assert (facts["model"], facts["rows"], facts["groups"]) == ("organism", 60, 5)
    assert facts["classes"] == ["bad", "good"] and facts["complete"] is True
    assert [row["layer"] for row in facts["places"]] == [1, 3]
    for row, expected in zip(facts["places"], sweep.places, strict=True):
        assert row["accuracy"] == pytest.approx(expected.task.scores["accuracy"])
        assert row["head"] is None
    assert [row["site"] for row in facts["baselines"]] == []
    assert facts["best"]["layer"] == sweep.best_place.place.layer
    found: Any = probes.load(out)
    assert found.card_.place == sweep.best_place.place
    assert found.card_.label == "label"
    with (out / "sweep.csv").open() as file:
        assert [row["layer"] for row in csv.DictReader(file)] == ["1", "3"]


@pytest.mark.filterwarnings("ignore:.*types")
def test_numbers_are_told_from_classes(labelled: Path, tmp_path: Path) -> None:
    table = tmp_path / "labelled.csv"
    given = rows()
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(given[0]))
        writer.writeheader()
        writer.writerows(given)
    args = ("--data", str(table), "--label-column", "size", *FEW, "--no-controls", "--json")
    assert json.loads(probe(*args).stdout)["classes"] == ["4", "5", "6"]
    facts = json.loads(probe(*args, "--regression").stdout)
    assert (facts["kind"], facts["metric"], facts["classes"]) == ("regression", "r2", None)


def test_heads_and_other_probes_are_tried(labelled: Path) -> None:
    args = ("--data", str(labelled), *FEW, "--no-controls", "--site", "z,mlp_out", "--heads")
    facts = json.loads(probe(*args, "--probe", "mass-mean", "--json").stdout)
    places = [(row["site"], row["layer"], row["head"]) for row in facts["places"]]
    assert len(places) == 10
    assert ("z", 3, 2) in places and ("mlp_out", 1, None) in places


def test_work_is_gone_on_with(labelled: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    args = ("--data", str(labelled), *FEW, "--json", "--work", str(work))
    first = json.loads(probe(*args).stdout)
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}
    again = json.loads(probe(*args).stdout)
    assert kept == {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}
    assert first["places"] == again["places"]
    other = probe(*args[:-3], "--seed", "1", "--work", str(work))
    refused(other, r"--work .*work was made by another command: --seed was 0, now 1.*; choose", 2)
    plain = ("--data", str(labelled), "--cv", "3", "--no-baselines", "--work", str(work))
    refused(
        probe(*plain, "--layers", "2"), r"another command: --layers was \[1, 3\], now \[2\];", 2
    )
    few = work.parent / "few.jsonl"
    few.write_text("".join(labelled.read_text().splitlines(keepends=True)[:50]))
    refused(
        probe("--data", str(few), *FEW, "--work", str(work)),
        "made by another command: the texts are not the same; choose",
        2,
    )


@pytest.mark.parametrize("kept", [True, False])
def test_interrupt_while_features_are_read_says_how_to_go_on(
    kept: bool, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(probes.ProbeData, "from_texts", press)
    work = ("--work", str(tmp_path / "work")) if kept else ()
    result = probe("--data", str(labelled), *FEW, *work)
    assert result.exit_code == 130
    goes_on = "the same command goes on" if kept else "--work keeps what is done"
    assert "interrupted before a place was done; no probe was written" in result.stderr
    assert goes_on in result.stderr


def test_out_and_work_are_checked_before_anything_runs(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_run, "load_model", None)
    data, here = ("--data", str(labelled)), str(tmp_path / "ow")
    both = r"--out .* and --work .* are in each other's way"
    refused(probe(*data, "--out", here, "--work", here), both, 2)
    refused(probe(*data, "--out", here, "--work", f"{here}/work"), both, 2)
    refused(probe(*data, "--out", f"{here}/sweep", "--work", here), both, 2)
    for option in ("--out", "--work"):
        refused(probe(*data, option, str(labelled)), rf"cannot write {option} .*it is no folder")
        below = str(labelled / "x" / "y")
        refused(probe(*data, option, below), rf"cannot write {option} .*jsonl is no folder")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("mine")
    refused(probe(*data, "--work", str(tmp_path / "thesis")), "holds something that is no work", 2)


def test_cut_texts_are_told_of_once_in_the_option_s_words(labelled: Path) -> None:
    args = ("--data", str(labelled), "--layers", "1", "--cv", "2", "--max-length", "3")
    result = probe(*args, "--no-controls")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("warning: ") == 1
    assert "60 texts were longer than --max-length 3 and cut on the right" in result.stderr


def test_mlp_predicts_numbers_too(labelled: Path) -> None:
    args = ("--data", str(labelled), "--label-column", "size", "--layers", "1", "--cv", "2")
    result = probe(*args, "--no-baselines", "--no-controls", "--regression", "--probe", "mlp")
    assert result.exit_code == 0, result.output
    assert re.search(r"^resid_post 1 +best", result.stdout, re.M)


def test_numbers_that_are_no_classes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_run, "load_model", None)
    path = tmp_path / "numbers.csv"
    rows = [f"{name} liked the {word}.,{i}.5" for i, (name, word) in enumerate(
        itertools.product(NAMES, WORDS)
    )]  # fmt: skip
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    said = "column 'label' holds 30 different numbers in 30 rows; did you mean --regression"
    refused(probe("--data", str(path)), said)


def test_classes_that_nothing_tests_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rare.jsonl"
    lines = [*rows(), {"text": "Mary saw the film.", "label": "rare"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    result = probe("--data", str(path), "--layers", "1", "--cv", "2", "--no-baselines")
    assert "untested: 1 class of too few texts to test on any" in result.stdout
    assert "(rare)" in result.stdout
    args = ("--data", str(path), "--layers", "1", "--cv", "2", "--no-baselines", "--json")
    assert json.loads(probe(*args).stdout)["notes"]["untested"] == ["rare"]


def test_columns_that_do_not_fit_are_named(labelled: Path) -> None:
    args = ("--data", str(labelled), "--layers", "1", "--cv", "2", "--mdl", "--no-baselines")
    shown = probe(*args, env={"COLUMNS": "60"}).stdout
    assert "compression" not in shown.splitlines()[3]
    assert re.search(r"^left out for want of width: .*compression", shown, re.M), shown
    assert "left out" not in probe(*args, env={"COLUMNS": "120"}).stdout


def test_selectivity_of_a_loss_is_explained(labelled: Path) -> None:
    args = ("--data", str(labelled), "--layers", "1", "--cv", "2", "--no-baselines")
    said = "control minus task, as of log_loss less is better"
    assert said in probe(*args, "--metric", "log_loss").stdout
    assert said not in probe(*args).stdout


def test_labels_are_told_apart_and_obeyed_by_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    names = {"good": " a", "bad": "\x1b[31ma"}
    odd = [{"text": row["text"], "label": names[row["label"]]} for row in rows()]
    path.write_text("".join(json.dumps(row) + "\n" for row in odd))
    result = probe("--data", str(path), *FEW, "--no-controls", "--out", str(tmp_path / "p"))
    assert r"2 classes (\x1b[31ma, ' a')" in result.stdout
    assert "\x1b" not in result.stdout
    new = tmp_path / "new.txt"
    new.write_text("Mary liked the film.\n")
    shown = probe("apply", str(tmp_path / "p"), "--file", str(new)).stdout
    assert "p(' a')" in shown and "\x1b" not in shown


def test_interrupt_shows_what_is_done(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probes.sweeping import work

    calls, judge = 0, work.judge

    def press(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return judge(*args)

    monkeypatch.setattr(work, "judge", press)
    args = ("--data", str(labelled), *FEW, "--no-controls", "--out", str(tmp_path / "probe"))
    result = probe(*args)
    assert result.exit_code == 130
    assert "resid_post 1" in result.stdout and "resid_post 3 " not in result.stdout
    assert result.stderr == (
        "interrupted after 1 place; no probe was written; --work keeps what is done, so that it "
        "could go on\n"
    )
    assert not (tmp_path / "probe").exists()


# ---- mistakes ---------------------------------------------------------------------------------


@pytest.fixture
def before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a model is loaded."""
    monkeypatch.setattr(probe_run, "load_model", None)


@pytest.mark.usefixtures("before_loading")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing option '--data'"),
        (["--data", "x", "--layers", "first"], "'first' is no whole number or range"),
        (["--data", "x", "--pool", "meen"], "'meen' is not one of 'mean'"),
        (["--data", "x", "--cv", "1"], "Invalid value for '--cv'"),
        (["--data", "x", "--probe", "ridge"], "--probe ridge is for --regression"),
        (["--data", "x", "--site", ","], "--sites names nothing"),
        (["--data", "x", "--probe", "centroid", "--regression"], "--regression has ridge, mlp"),
    ],
)
def test_wrong_usage(args: list[str], message: str) -> None:
    refused(probe(*args), message, code=2)


@pytest.mark.usefixtures("before_loading")
def test_mistake_is_met_before_loading(labelled: Path, tmp_path: Path) -> None:
    data = ("--data", str(labelled))
    refused(probe("--data", "no.jsonl"), "there is no file 'no.jsonl'(; did you mean [^;]*)?$", 2)
    refused(probe(*data, "--label-column", "lable"), "has no column 'lable'; .*did you mean 'label")
    refused(probe(*data, "--text-column", "size"), "row 0: the text is int")
    refused(probe(*data, "--label-column", "who", "--regression"), "row 0: the label 'Mary' is no")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n')
    refused(probe("--data", str(bad)), "bad.jsonl, row 1 has no label in column 'label'")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("mine")
    refused(probe(*data, "--out", str(tmp_path / "thesis")), "it holds something that is no probe")
    refused(probe(*data, "--out", str(bad)), "it is no folder")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--layers", "9"], "layer 9 does not exist"),
        (["--site", "resid_pots"], "resid_pots"),
        (["--metric", "acuracy"], "did you mean 'accuracy'"),
        (["--test-size", "2"], "--test-size 2"),
        (["--label-column", "text"], "class"),
    ],
)
def test_what_the_library_says_is_one_line(args: list[str], message: str, labelled: Path) -> None:
    refused(probe("--data", str(labelled), *args), message, code=1 if "class" in message else 2)


def test_probe_of_one_class_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("text,label\nI liked it.,good\nShe liked it.,good\n")
    refused(probe("--data", str(path)), "a probe needs at least 2 classes")


def test_no_advice_names_what_the_command_has_not(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    made = [*rows()[:40], {"text": "", "label": "good"}, *rows()[40:]]
    empty.write_text("".join(json.dumps(row) + "\n" for row in made))
    refused(probe("--data", str(empty), *FEW), "row 40: the text is empty(?!.*on-error)")
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": 3}\n')
    refused(probe("--data", str(mixed)), "give it one type$")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("any_source=True applies it", "--any-source applies it"),
        ("pool='last' makes no row", "--pool last makes no row"),
        ("a.cv=3", "a.cv=3"),
    ],
)
def test_arguments_become_options(said: str, shown: str) -> None:
    assert in_options(said) == shown


# ---- applying ---------------------------------------------------------------------------------


def test_new_texts_get_labels_and_probabilities(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    given = ["Mary liked the film.", "John hated the castle."]
    file.write_text("\n".join(given) + "\n")
    result = probe("apply", str(kept), "--file", str(file))
    assert result.exit_code == 0, result.output
    assert re.search(r"^id +label +p\(bad\) +p\(good\) +text", result.stdout, re.M)
    assert re.search(r"^0 +good +0\.\d{3} +0\.\d{3} +Mary liked the film\.", result.stdout, re.M)
    expected = probes.apply_texts(probes.load(kept), ns.load("organism"), given, progress=False)
    out = tmp_path / "said.jsonl"
    result = probe("apply", str(kept), "--file", str(file), "--json", "--out", str(out))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == expected.records()
    assert [json.loads(line) for line in out.read_text().splitlines()] == lines
    assert result.stderr == ""


def test_rows_keep_their_names_and_long_tables_are_cut(kept: Path, labelled: Path) -> None:
    result = probe("apply", str(kept), "--file", str(labelled), "--top", "3")
    assert "and 57 more; --out or --json gives all" in result.stdout
    assert len(re.findall(r"^\d+ +(good|bad) ", result.stdout, re.M)) == 3


def test_texts_that_cannot_be_read(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text('{"id": "a", "text": "Mary liked it."}\n{"id": "b", "text": null}\n')
    refused(probe("apply", str(kept), "--file", str(file)), "row 1: the text is null; --on-error n")
    result = probe("apply", str(kept), "--file", str(file), "--on-error", "null")
    assert re.search(r"^b +- \(the text is null\)", result.stdout, re.M), result.stdout
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": "Mary liked it."}\n{"text": ""}\n')
    refused(probe("apply", str(kept), "--file", str(empty)), "row 1: the text is empty.*--on-error")


def test_blank_lines_do_not_shift_the_names_of_others(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    file.write_bytes(b"\xef\xbb\xbf\n\r\nMary liked the film.\r\n   \nJohn hated it.")
    lines = probe("apply", str(kept), "--file", str(file), "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [2, 4]


def test_what_is_read_is_not_written_over(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    file.write_text("Mary liked the film.\n")
    args = ("apply", str(kept), "--file", str(file), "--out")
    (tmp_path / "link.jsonl").symlink_to(file)
    for out in (file, tmp_path / "." / "new.txt", tmp_path / "link.jsonl"):
        refused(probe(*args, str(out)), "it is the --file that is read")
    refused(probe(*args, str(tmp_path / "a.csv")), "lines of JSON; call it for example a.jsonl")
    assert file.read_text() == "Mary liked the film.\n"
    assert probe(*args, str(tmp_path / "a.ndjson")).exit_code == 0


def test_many_classes_leave_the_label_whole(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"a class of a rather long name {i:02d}" for i in range(12)]
    p = np.full((1, 12), 0.05)
    p[0, 7] = 0.45
    said = probes.Applied(np.array(names[7:8]), p, tuple(names), ["0"])
    monkeypatch.setattr(probes, "apply_texts", lambda *args, **options: said)
    file = tmp_path / "new.txt"
    file.write_text("Mary liked the film that John saw in the castle by the window.\n")
    env = {"COLUMNS": "80"}
    shown = probe("apply", str(kept), "--file", str(file), env=env).stdout
    assert re.search(r"^id +label +p +text", shown, re.M), shown
    assert re.search(rf"^0 +{names[7]} +0\.450 +Mary liked.*…", shown, re.M), shown
    assert max(map(len, shown.splitlines())) <= 80


def test_other_widths_and_dtypes_are_named(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    file.write_text("Mary liked the film.\n")
    new = ("apply", str(kept), "--file", str(file))
    refused(
        probe(*new, "--dtype", "bfloat16"),
        "another model's .*With --dtype bfloat16 even the same model has other weights",
    )
    config = dataclasses.replace(ns.load("organism").config, d_model=64, d_mlp=64)
    other = ns.HookedGPTNeo.from_config(config)
    other.tokenizer = ns.load("organism").tokenizer
    with pytest.raises(ProbeError, match="the probe reads 128 features a row and finds 64"):
        probes.apply_texts(probes.load(kept), other, ["x"], any_source=True, progress=False)


def test_mistakes_in_applying(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    file.write_text("Mary liked the film.\n")
    new = ("--file", str(file))
    refused(probe("apply", str(tmp_path), *new), "there is no probe in")
    refused(probe("apply", str(kept), "--file", "no.txt"), "no.txt")
    refused(probe("apply", str(kept), *new, "--out", str(tmp_path)), "it is a folder")
    result = probe("apply", str(kept), *new, "--model", "induction")
    refused(result, "another model's instead of fingerprint .*--any-source applies it all the same")
    refused(probe("apply", str(kept)), "Missing option '--file'", code=2)


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("apply", "--help"),
        ("apply", "probe"),
        ("some/model",),
        ("--data", "x", "--layers", "x"),
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, "probe", *args).isdisjoint(HEAVY)


def test_help_tells_of_both_commands() -> None:
    shown = " ".join(probe("--help").stdout.split())
    assert "--label-column" in shown and "probe apply" in shown
    assert "Usage: neoscope probe [OPTIONS]" in shown
    assert "--any-source" in probe("apply", "--help").stdout
    assert command.app.info.help
