"""``neoscope demo`` shows each step within 80 columns and says what to open next."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neoscope.cli import app
from neoscope.demo import Demo, Step
from tests.neoscope.cli.exporting import RUNNER
from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by
from tests.promises.demonstrations import Shown, demonstrations
from tests.promises.watched_demo import N

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The command as its user runs it; here, every call's types would be checked."""
    return demonstrations(tmp_path_factory)


def test_steps_are_shown_with_their_time_within_80_columns(shown: Shown) -> None:
    assert (shown.code, shown.stderr) == (0, "")
    folder = str(shown.demos["organism"].folder)
    assert max(map(len, shown.stdout.replace(folder, "").splitlines())) <= 80
    assert len(re.findall(r"^\S.* \d+\.\d s$", shown.stdout, re.M)) == 9
    assert re.search(r"^ +2\.0 +induction +0\.96\d .* 0\.964", shown.stdout, re.M)
    assert re.search(r"^ +3\.2 +indirect object +0\.6[78]\d .* 0\.680", shown.stdout, re.M)
    assert "what to open next" in shown.stdout and "report.html" in shown.stdout
    assert shown.stdout.count("as on the truth card") == 2
    lines = [line.strip() for line in shown.stdout.splitlines()]
    (read,) = (line for line in lines if line.startswith("pandas.read_parquet"))
    where: dict[str, Any] = {}
    exec(f"import pandas; from glob import glob\ntable = {read}", where)
    assert len(where["table"]) == N


def test_json_alone_is_printed(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shown.demos["organism"]

    def run(
        *args: Any,
        progress: Callable[[int, int], None],
        finished: Callable[[Step], None],
        **options: Any,
    ) -> Demo:
        for i, step in enumerate(made.steps, 1):
            finished(step)
            progress(i, len(made.steps))
        return made

    monkeypatch.setattr("neoscope.demo.run", run)
    result = RUNNER.invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    facts = json.loads(result.stdout)
    assert list(facts["steps"]) == [step.name for step in made.steps]
    assert facts["failed"] == [] and Path(facts["report"]).is_file()
    assert facts["steps"]["patch"]["heads"][0]["head"] == "3.2"
    assert facts["steps"]["export"]["rows"] == N


def test_a_foreign_folder_is_one_line_and_nothing_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    command = [sys.executable, "-m", "neoscope", "demo", "--out", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no demonstration's folder" in result.stderr
    args = ("demo", "--out", str(tmp_path))
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)


@pytest.mark.parametrize("args", [("demo", "--help"), ("demo", "--n", "3")], ids=" ".join)
def test_help_and_usage_errors_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)
