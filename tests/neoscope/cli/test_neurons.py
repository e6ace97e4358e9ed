"""``neoscope neurons`` shows, prints and writes what the library finds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.neuron import reading as neuron_reading
from neoscope.cli import app
from neoscope.cli.neurons import command as neurons
from neoscope.cli.neurons import show as neurons_show
from neoscope.organism.compiled import DIRECTION_TRUTH
from tests.neoscope.cli.exporting import refused
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
UNIT = ("organism", "--layer", "2", "--unit", "17", "--n", "60")


def run(*args: str, **options: Any) -> Result:
    result = RUNNER.invoke(app, ["neurons", *args], **options)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def test_places_histogram_and_logits_are_shown() -> None:
    result = run(*UNIT, "--k", "3")
    assert result.exit_code == 0, result.output
    model = ns.load("organism")
    texts = neurons.own_texts("organism", model, 60)
    assert len(texts) == 60
    found = analysis.top_activations(model, texts, layer=2, unit=17, k=3, progress=False)
    assert f"{found.n_tokens:,} tokens of 60 texts" in result.stdout
    for row in found.places().itertuples():
        assert re.search(rf"{row.value:.3f} +{row.text} +…?.*«{row.token.strip()}»", result.stdout)
    assert "most negative" in result.stdout
    assert re.search(r"raises +' \w+' \+\d", result.stdout)
    counts = re.findall(r"^ *\S+ to +\S+ +([\d,]+) +#*$", result.stdout, re.M)
    assert sum(int(x.replace(",", "")) for x in counts) == found.n_tokens
    assert len(counts) <= 16


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_no_terminal_is_overrun_and_the_token_is_always_seen(columns: int) -> None:
    result = run(*UNIT, env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert len(re.findall("«.+»", result.stdout)) == 10 + 5


def test_context_is_cut_around_its_token() -> None:
    assert neurons_show.marked("a b ", "c", " d", 80).plain == "a b «c» d"
    for room in range(5, 40):
        shown = neurons_show.marked("one two three ", "four", " five six", room).plain
        assert len(shown) <= room
        assert "«" in shown and "»" in shown
    assert neurons_show.marked("a\n", "b\x1b[0m", "", 40).plain == "a\\n«b\\x1b[0m»"


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "found.safetensors"
    result = run(*UNIT, "--unit", "17,3", "--json", "--k", "2", "--out", str(out))
    assert result.exit_code == 0
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert [unit["unit"] for unit in facts["units"]] == ["17", "3"]
    kept: Any = analysis.load(out)
    assert facts["file"] == str(out)
    first = facts["units"][0]
    assert [row["value"] for row in first["top"]] == kept.top_value[0].tolist()
    assert sum(row["tokens"] for row in first["histogram"]) == facts["tokens"] == kept.n_tokens
    assert len(first["promoted"]) == len(first["suppressed"]) == 10


@pytest.mark.parametrize("form", ["npy", "safetensors", "named"])
def test_a_direction_of_a_file_is_watched(form: str, tmp_path: Path) -> None:
    vector = np.array(DIRECTION_TRUTH.direction, np.float32)
    path = tmp_path / f"v.{'npy' if form == 'npy' else 'safetensors'}"
    if form == "npy":
        np.save(path, vector)
    else:
        extra = {"bias": np.ones(1, np.float32)} if form == "named" else {}
        save_file({"direction": vector, **extra}, path)
    given = f"{path}:direction" if form == "named" else str(path)
    layer = str(DIRECTION_TRUTH.layer)
    result = run("direction", "--layer", layer, "--direction", given, "--n", "16", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["site"] == f"blocks.{layer}.hook_resid_post"
    top = facts["units"][0]["top"][0]
    assert top["value"] == pytest.approx(DIRECTION_TRUTH.projection, abs=1e-4)
    if form == "named":
        refused(run("direction", "--layer", "1", "--direction", str(path)), "holds 2 tensors")
        refused(run("direction", "--layer", "1", "--direction", f"{path}:directon"), "did you mean")


@pytest.mark.parametrize(
    "name", ["gates", "facts", "outliers", "zero-tail", "rotated", "organism-random"]
)
def test_bundled_models_have_texts_of_their_own(name: str) -> None:
    result = run(name, "--layer", "0", "--unit", "0", "--n", "12", "--k", "1")
    assert result.exit_code == 0, result.output


def test_a_corpus_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "corpus.csv"
    file.write_text('said,other\n"The keys are on the table.",1\n"I liked it.",2\n')
    args = ("--layer", "0", "--unit", "1", "--file", str(file), "--json", "--unique", "token")
    facts = json.loads(run("organism", *args, "--text-column", "said").stdout)
    assert facts["texts"] == 2
    refused(run("organism", *args), "no column 'text'")


def test_interruption_keeps_and_shows_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pressed(neuron_reading.Progress):
        def update(self, n: int = 1) -> None:
            super().update(n)
            raise KeyboardInterrupt

    monkeypatch.setattr(neuron_reading, "Progress", Pressed)
    out = tmp_path / "found.json"
    result = run(*UNIT, "--batch-tokens", "50", "--out", str(out))
    assert result.exit_code == 130
    kept: Any = analysis.load(out)
    assert not kept.complete
    assert f"interrupted after {kept.n_tokens} tokens; {out} holds what was seen" in result.stderr
    assert "most active" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["organism", "--layer", "0"], "give --unit, e.g. --unit 17, or --direction FILE"),
        (["organism", "--unit", "1", "--direction", "x"], "give --unit"),
        (["some/model", "--unit", "1"], "--file is missing: 'some/model' has no texts"),
        (["organism", "--unit", "x"], "'x' is no whole number"),
        (["organism", "--unit", "1", "--out", "x.csv"], "ends in neither .json nor"),
        (["organism", "--unit", "1", "--out", "no/such/x.json"], "there is no folder"),
        (["organism", "--unit", "1", "--unique", "all"], "'all' is not one of 'context'"),
        (["organism", "--unit", "1", "--file", "x.txt", "--n", "2"], "not for a --file"),
        (["organism", "--unit", "1", "--k", "0"], "Invalid value for '-k' / '--k' / '--top'"),
    ],
)
def test_wrong_usage(args: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neurons, "load_model", None)
    refused(run(*args), message, code=2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--layer", "9", "--unit", "1"], "layer 9 does not exist"),
        (["--unit", "1"], "say which: --layer is 0 to 3"),
        (["--layer", "0", "--unit", "999"], "unit 999 does not exist"),
        (["--layer", "0", "--unit", "1", "--site", "psot"], "no site is called 'psot'"),
        (
            ["--layer", "0", "--unit", "1", "--file", "no.txt"],
            "error: --file: there is no file 'no.txt'$",
        ),
        (["--layer", "0", "--direction", "no.npy"], "--direction: there is no file no.npy"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(args: list[str], message: str) -> None:
    code = 1 if message.startswith("unit") else 2
    refused(run("organism", *args), message, code)


def test_a_file_that_is_no_direction_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"no array")
    refused(run("organism", "--layer", "0", "--direction", str(path)), "cannot be read", 2)
    other = tmp_path / "x.pt"
    other.write_bytes(b"")
    refused(run("organism", "--layer", "0", "--direction", str(other)), "neither .npy nor", 2)


@pytest.mark.parametrize(
    "args", [("--help",), ("organism",), ("some/model", "--unit", "1")], ids=" ".join
)
def test_help_and_usage_errors_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, "neurons", *args).isdisjoint(HEAVY)
