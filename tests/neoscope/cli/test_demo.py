"""``neoscope demo`` shows each step within 80 columns and says what to open next."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.neoscope.test_start_up import COMMAND, HEAVY, imported_by

ROOT = Path(__file__).parents[3]


def demo(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its user does: here, every call's types would be checked."""
    command = [sys.executable, "-m", "neoscope", "demo", "--n", "100", *args]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_steps_are_shown_with_their_time_within_80_columns(tmp_path: Path) -> None:
    result = demo("--out", str(tmp_path / "demo"))
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.replace(str(tmp_path), "").splitlines())) <= 80
    assert len(re.findall(r"^\S.* \d+\.\d s$", result.stdout, re.M)) == 9
    assert re.search(r"^ +2\.0 +induction +0\.96\d .* 0\.964", result.stdout, re.M)
    assert re.search(r"^ +3\.2 +indirect object +0\.6[78]\d .* 0\.680", result.stdout, re.M)
    assert "what to open next" in result.stdout and "report.html" in result.stdout
    assert result.stdout.count("as on the truth card") == 2
    lines = [line.strip() for line in result.stdout.splitlines()]
    (read,) = (line for line in lines if line.startswith("pandas.read_parquet"))
    where: dict[str, Any] = {}
    exec(f"import pandas; from glob import glob\ntable = {read}", where)
    assert len(where["table"]) == 100


def test_json_alone_is_printed(tmp_path: Path) -> None:
    result = demo("--out", str(tmp_path / "demo"), "--json", "--seed", "1")
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["failed"] == [] and Path(facts["report"]).is_file()
    assert facts["steps"]["patch"]["heads"][0]["head"] == "3.2"
    assert facts["steps"]["export"]["rows"] == 100


def test_a_foreign_folder_is_one_line_and_nothing_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    result = demo("--out", str(tmp_path))
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no demonstration's folder" in result.stderr
    args = ("demo", "--out", str(tmp_path))
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)


@pytest.mark.parametrize("args", [("demo", "--help"), ("demo", "--n", "3")], ids=" ".join)
def test_help_and_usage_errors_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)
