"""What pip installs: the wheel is whole, holds nothing else, and runs away from the checkout."""

from __future__ import annotations

import ast
import configparser
import email
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import neoscope

ROOT = Path(__file__).parents[1]
PACKAGES = ("neoscope", "probes")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# The module that a package brings, where it is not the package's name with _ for -.
MODULES = {"pyyaml": "yaml", "scikit_learn": "sklearn", "umap_learn": "umap"}
# What comes with a package of an extra.
BROUGHT_ALONG = {"traitlets": "anywidget", "datasets": "lm-eval", "choreographer": "kaleido"}


def files_of_the_checkout() -> Iterator[str]:
    """Everything in the two packages that is no leftover of a run."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), "."],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def about(unpacked: Path) -> Path:
    (found,) = unpacked.glob("*.dist-info")
    return found


def test_wheel_holds_both_packages_whole_and_nothing_else(unpacked: Path) -> None:
    found = {
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    }
    beside = {name for name in found if name.split("/")[0].endswith(".dist-info")}
    assert found - beside == set(files_of_the_checkout())
    assert {
        "neoscope/py.typed",
        "probes/py.typed",
        "neoscope/organism/trained/model.safetensors",
        "neoscope/organism/trained/truth_card.json",
        "neoscope/organism/trained/before/model.safetensors",
        "neoscope/views/static/report.js",
        "neoscope/views/static/report.css",
        "neoscope/views/static/microscope/page.js",
        "neoscope/views/static/microscope/microscope.css",
    } <= found


def test_wheel_says_who_it_is(wheel: Path, unpacked: Path) -> None:
    said = email.message_from_string((about(unpacked) / "METADATA").read_text(encoding="utf-8"))
    assert wheel.name == f"neoscope-{neoscope.__version__}-py3-none-any.whl"
    assert said["Version"] == neoscope.__version__
    assert said["License-Expression"] == "Apache-2.0"
    assert (about(unpacked) / "licenses" / "LICENSE").is_file()
    scripts = configparser.ConfigParser()
    scripts.read(about(unpacked) / "entry_points.txt")
    assert dict(scripts["console_scripts"]) == {"neoscope": "neoscope.cli:main"}
    assert wheel.stat().st_size < 12 * 2**20


PROGRAM = """
import sys
from importlib import metadata
from pathlib import Path
import neoscope as ns, probes
from neoscope import demo
from neoscope.views import report
home = Path(sys.argv[1])
assert all(Path(one.__file__).is_relative_to(home) for one in (ns, probes, demo, report))
assert metadata.distribution("neoscope").read_text("METADATA")
assert metadata.version("neoscope") == ns.__version__
model = ns.load()
assert model.tokenizer.decode(int(model("When Mary and John went to the store, "
    "John gave a drink to")[0, -1].argmax())) == " Mary"
assert ns.organism.truth_card() and ns.organism.path("before").is_relative_to(home)
import neoscope.demo.steps
from neoscope.doctor import bundled
assert [fact.state for fact in bundled.facts({})][:2] == ["ok", "ok"]
print("whole")
"""


def test_unpacked_wheel_runs_away_from_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    # -P and the empty folder keep the checkout off the path; the wheel comes before it.
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(unpacked)], cwd=tmp_path, capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONPATH": str(unpacked)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "whole\n"
    assert not list(tmp_path.iterdir())


def imported(path: Path) -> Iterator[str]:
    """The top-level names of all modules which a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value).split(".")[0]


def declared(lines: list[str]) -> set[str]:
    names = (re.split(r"[\s<>=\[;]", line)[0].replace("-", "_").lower() for line in lines)
    return {MODULES.get(name, name) for name in names}


def test_whatever_is_imported_is_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    known = declared(PROJECT["dependencies"]).union(
        *(declared(lines) for name, lines in extras.items() if name != "dev"),
        PACKAGES, sys.stdlib_module_names, BROUGHT_ALONG,
    )  # fmt: skip
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in imported(path)
        if name not in known
    }
    assert not unknown
