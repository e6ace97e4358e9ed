"""Starting up imports only what is needed: seconds of imports come when a model is asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "transformer_lens", "sklearn", "plotly", "numpy", "safetensors"}
COMMAND = """
import sys
sys.argv = ["neoscope", *sys.argv[1:]]
from neoscope.cli import main
main()
"""
REPORT = "\nimport json, sys; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"


def imported_by(code: str, *args: str) -> set[str]:
    """Return the top-level packages that a program has imported when it ends."""
    wrapped = f"try:\n    exec({code!r})\nexcept SystemExit:\n    pass{REPORT}"
    done = subprocess.run(
        [sys.executable, "-c", wrapped, *args], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light() -> None:
    assert imported_by("import neoscope; dir(neoscope)").isdisjoint({*HEAVY, "rich", "typer"})


def test_errors_and_config_are_light() -> None:
    code = "import neoscope; neoscope.NeoscopeError; neoscope.NeoConfig"
    assert imported_by(code).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("--version",),
        ("cache", "--help"),
        ("verify", "-h"),
        ("bogus",),
        ("organism",),
        ("organism", "sample", "--help"),
        ("organism", "sample", "--task", "bogus"),
        ("organism", "sample", "--no-answers"),
        ("organism", "eval", "--n", "0"),
        ("cache", "--bogus"),
        ("cache", "--layers", "x"),
        ("cache", "some/model"),
        ("cache", "--dtype", "int8"),
        ("cache", "--file", "/no/such/file"),
        ("cache", "--out", "store/"),
        ("cache", "--text", "hello", "--format", "npy"),
        ("export", "--help"),
        ("export", "organism"),
        ("export", "organism", "texts.txt", "--out", "f", "--pool", "bogus"),
        ("export", "organism", "texts.txt", "--out", "f", "--layers", "x"),
        ("export", "organism", "texts.txt", "--out", "f", "--workers", "2"),
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_import_no_torch(args: tuple[str, ...]) -> None:
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY)


def test_missing_input_of_an_export_imports_no_torch() -> None:
    args = ("export", "organism", "/no/such/file.txt", "--out", "f")
    assert imported_by(COMMAND, *args).isdisjoint(HEAVY - {"numpy"})


def test_a_tensor_name_imports_torch() -> None:
    """The check above can see what it looks for."""
    assert "torch" in imported_by("import neoscope; neoscope.Tokens")
