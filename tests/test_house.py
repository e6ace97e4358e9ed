"""The rules of the house: format, lint, types, import directions, and the shape of the files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path for package in ("neoscope", "probes") for path in (ROOT / package).rglob("*.py")
)
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
# Each of these can execute code from a file that it reads.
UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def run_tool(*command: str) -> None:
    """Run one tool from the root and fail with its output."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def test_code_is_formatted() -> None:
    run_tool(sys.executable, "-m", "ruff", "format", "--check", "--diff", ".")


def test_code_is_linted() -> None:
    run_tool(sys.executable, "-m", "ruff", "check", ".")


def test_packages_are_typed() -> None:
    run_tool(sys.executable, "-m", "mypy")


def test_imports_point_one_way() -> None:
    # --no-cache: nothing is left behind in the working folder.
    run_tool(str(Path(sysconfig.get_path("scripts")) / "lint-imports"), "--no-cache")


def test_every_public_module_has_a_docstring() -> None:
    public = [
        p for p in MODULES if not p.stem.startswith("_") or p.stem in {"__init__", "__main__"}
    ]
    missing = [place(path) for path in public if not ast.get_docstring(parse(path))]
    assert public
    assert not missing, f"modules without a docstring: {missing}"


def test_no_file_is_too_long() -> None:
    lengths = {place(p): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES}
    long = {where: n for where, n in lengths.items() if n > MAX_FILE_LINES}
    assert not long, f"files of more than {MAX_FILE_LINES} lines: {long}"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: saying what arguments mean is no complexity."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return total
    return total - ((first.end_lineno or first.lineno) - first.lineno + 1)


def test_no_function_is_too_long() -> None:
    long = {
        f"{place(path, f)} {f.name}": length
        for path in MODULES
        for f in functions(parse(path))
        if (length := code_lines(f)) > MAX_FUNCTION_LINES
    }
    assert not long, f"functions of more than {MAX_FUNCTION_LINES} lines: {long}"


def unsafe_reads(path: Path) -> Iterator[str]:
    """Where a file imports an unsafe module, or loads a checkpoint without weights_only=True."""
    for node in ast.walk(parse(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if any(name.split(".")[0] in UNSAFE_MODULES for name in names):
            yield place(path, node)
        if isinstance(node, ast.Call):
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if given.get("weights_only", True) is not True:
                yield place(path, node)
            if ast.unparse(node.func) == "torch.load" and "weights_only" not in given:
                yield place(path, node)


def test_nothing_is_unpickled() -> None:
    unsafe = [where for path in MODULES for where in unsafe_reads(path)]
    assert not unsafe, f"reads that can execute code: {unsafe}"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "load(path, weights_only=flag)",
    ],
)
def test_unsafe_reads_are_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "example.py"
    path.write_text(line, encoding="utf-8")
    assert list(unsafe_reads(path)) == ["example.py:1"]


def test_readme_opens_with_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2, ".ci/run runs two ```bash blocks: install and run, install and test"
    assert all(block.count("\n") == 1 for block in blocks)
    assert blocks[0].rstrip().endswith("neoscope demo")
    assert blocks[1].rstrip().endswith("-m pytest")


def test_constraints_are_exact_and_portable() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    wrong = [p for p in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", p)]
    assert pins
    assert not wrong, f"not an exact pin of a public version: {wrong}"
