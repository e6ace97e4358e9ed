"""``neoscope report`` writes one page and says how each section went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from neoscope.cli import app
from neoscope.errors import AnalysisError
from neoscope.views.report import SECTIONS
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

RUNNER = CliRunner()
FEW = ("--sections", "citing,model")


def report(*args: str) -> Result:
    result = RUNNER.invoke(app, ["report", *args], env={"COLUMNS": "80"})
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def test_a_page_is_written_and_its_sections_told(tmp_path: Path) -> None:
    out = tmp_path / "organism.html"
    result = report("organism", "--out", str(out), *FEW)
    assert result.exit_code == 0
    assert result.stdout.split("\n")[0].split() == ["model", "done"]
    assert f"wrote {out}" in result.stdout
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_text_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The keys near the cabinet\n", encoding="utf-8")
    out = tmp_path / "report.html"
    args = ("organism", str(tmp_path / "text.txt"), "--out", str(out), "--json", *FEW)
    facts = json.loads(report(*args).stdout)
    assert facts["text"] == "The keys near the cabinet"
    assert [one["section"] for one in facts["sections"]] == ["model", "citing"]
    assert facts["file_bytes"] == out.stat().st_size


def test_a_failed_section_is_told_after_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise AnalysisError("no such luck")

    monkeypatch.setattr("neoscope.views.heads", fail)
    out = tmp_path / "report.html"
    result = report("organism", "--out", str(out), "--sections", "heads,citing")
    assert result.exit_code == 1
    assert "no such luck" in result.stdout and "no such luck" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "said", "code"),
    [
        (("--sections", "modle"), "did you mean 'model'", 2),
        (("--sections", ","), "--sections names nothing", 2),
        (("--out", "report.pdf"), "a report is an .html file", 2),
        (("--out", "/no/such/folder/report.html"), "does not exist", 2),
        (("nowhere.txt",), "there is no file nowhere.txt", 2),
        (("",), "no tokens", 1),
    ],
)
def test_mistakes_are_told(tmp_path: Path, args: tuple[str, ...], said: str, code: int) -> None:
    rest = () if "--out" in args else ("--out", str(tmp_path / "report.html"))
    few = () if "--sections" in args else FEW
    result = report("organism", *args, *rest, *few)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_section() -> None:
    text = " ".join(report("--help").stdout.replace("│", " ").split())
    assert all(name in text for name in SECTIONS)


@pytest.mark.parametrize(
    "args",
    [("report", "--help"), ("report", "organism", "--sections", "modle"),
     ("report", "organism", "--out", "x.pdf")],
    ids=" ".join,
)  # fmt: skip
def test_help_and_mistakes_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)
