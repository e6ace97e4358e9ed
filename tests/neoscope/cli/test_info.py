"""``neoscope info`` tells what a checkpoint is, without its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neoscope.cli import app
from neoscope.cli.info import layers_line
from neoscope.cli.options import human_bytes
from neoscope.site_kinds import KINDS
from tests.neoscope.folders import write_checkpoint

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_organism_is_the_default() -> None:
    result = RUNNER.invoke(app, ["info"])
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "4, alternating global and local (window 32)" in result.stdout
    assert "d_model 128, 4 heads x 32" in result.stdout


def test_shape_layers_and_sites_are_told(folder: Path) -> None:
    result = RUNNER.invoke(app, ["info", str(folder)], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "2: 0 global, 1 local (window 4)" in result.stdout
    assert "16 tokens" in result.stdout
    for kind in KINDS:
        assert kind.short in result.stdout
        assert kind.template in result.stdout


def test_json_is_all_that_is_printed(folder: Path) -> None:
    result = RUNNER.invoke(app, ["info", str(folder), "--json"])
    facts = json.loads(result.stdout)
    assert result.stderr == ""
    assert facts["model"] == str(folder)
    assert facts["layers"] == [
        {"layer": 0, "kind": "global", "window": None},
        {"layer": 1, "kind": "local", "window": 4},
    ]
    assert facts["d_vocab"] == 300
    assert facts["tied_embeddings"] is True
    assert facts["weight_bytes"]["float32"] == 4 * facts["parameters"]
    assert [site["site"] for site in facts["sites"]] == [kind.short for kind in KINDS]


def test_weights_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neoscope import checkpoint

    monkeypatch.setattr(checkpoint, "load_weights", None)
    assert RUNNER.invoke(app, ["info", str(folder)]).exit_code == 0


def test_one_file_and_another_head_are_understood(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path, tokenizer=False) / "model.safetensors"
    result = RUNNER.invoke(app, ["info", str(file)])
    assert result.exit_code == 0
    assert "local (window 4)" in result.stdout


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "<script>", "\\[bold]"])
def test_names_with_markup_are_shown_as_they_are(name: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / name.replace("/", "\u2215"), tokenizer=False)
    result = RUNNER.invoke(app, ["info", str(folder)], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    assert str(folder) in result.stdout


def test_full_names_stay_whole_in_80_columns(folder: Path) -> None:
    result = RUNNER.invoke(app, ["info", str(folder)], env={"COLUMNS": "80"})
    assert all(kind.template in result.stdout for kind in KINDS)


@pytest.mark.parametrize("columns", [60, 30])
def test_narrow_terminal_is_not_overrun(columns: int, folder: Path) -> None:
    result = RUNNER.invoke(app, ["info", str(folder)], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert str(folder) in "".join(line.strip()[-columns:] for line in _column(result.stdout))


def _column(text: str) -> list[str]:
    """The lines of the folder's row, whose second column starts at the first line's."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("folder"))
    stop = next(i for i, line in enumerate(lines) if line.startswith("layers"))
    indent = lines[start].index("/")
    return [line[indent:] for line in lines[start:stop]]


def test_no_color_leaves_only_weight(folder: Path) -> None:
    environment = {"NO_COLOR": "1", "FORCE_COLOR": "1"}
    coloured = RUNNER.invoke(app, ["info", str(folder)], env=environment, color=True).stdout
    assert "\x1b[3" not in coloured.replace("\x1b[3m", "")


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ([("global", None)], "1: 0 global"),
        ([("global", None)] * 3, "3: 0 to 2 global"),
        ([("global", None), ("local", 4)], "2: 0 global, 1 local (window 4)"),
        ([("global", None), ("local", 4)] * 2, "4, alternating global and local (window 4)"),
        (
            [("local", 4), ("local", 4), ("global", None)],
            "3: 0 to 1 local (window 4), 2 global",
        ),
    ],
)
def test_layers_are_told_in_one_line(kinds: list[tuple[str, int | None]], text: str) -> None:
    assert layers_line({"layers": [{"kind": k, "window": w} for k, w in kinds]}) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3.5 * 2**20, "3.5 MiB"),
        (2**30, "1.00 GiB"),
    ],
)
def test_human_bytes(n: float, text: str) -> None:
    assert human_bytes(n) == text


def test_json_knows_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    from neoscope.cli.options import print_json

    print_json({"a": math.inf, "b": [math.nan, 1.5], "c": {"d": (1, None)}})
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": [None, 1.5],
        "c": {"d": [1, None]},
    }
