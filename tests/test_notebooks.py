"""The notebooks are clean as they lie in git, and run from the first cell to the last."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.jupyter import kernel_environment

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[one.stem for one in NOTEBOOKS])


def read(path: Path) -> dict[str, Any]:
    book: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return book


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_there_are_seven_numbered_notebooks() -> None:
    assert [one.name[:2] for one in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@every_notebook
def test_a_notebook_is_stripped_and_written_one_way(path: Path) -> None:
    book, text = read(path), path.read_text(encoding="utf-8")
    assert book["metadata"] == METADATA
    assert text == json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in book["cells"]:
        assert cell["metadata"] == {}
        assert source(cell).strip(), f"an empty cell: {cell['id']}"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@every_notebook
def test_a_notebook_says_what_is_learnt_and_ends_with_exercises(path: Path) -> None:
    cells = read(path)["cells"]
    assert re.match(rf"# {path.name[:2]} · ", source(cells[0]))
    assert "**What you will learn**" in source(cells[0])
    assert "## Exercises" in source(cells[-1])
    assert source(cells[-1]).count("*Hint:*") >= 2


@every_notebook
def test_one_cell_picks_the_model(path: Path) -> None:
    code = [source(one) for one in read(path)["cells"] if one["cell_type"] == "code"]
    assert re.fullmatch(r'MODEL = "[\w/.-]+"  # .*', code[0])
    assert sum(one.count('ns.load("') for one in code) == 0


@every_notebook
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(path, folder)
    options = ("--nbmake", "--nbmake-timeout=120", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", "/dev/null", f"--rootdir={folder}", "."],
        cwd=folder,
        env=kernel_environment(tmp_path / "jupyter"),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "1 passed" in result.stdout
