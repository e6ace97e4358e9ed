"""A package that breaks while it is imported is named, with its file and what to do about it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from neoscope.doctor import packages, trial, trying
from neoscope.doctor.checkup import Fact
from neoscope.doctor.culprit import Culprit, culprit_of, folder_in_the_way


def failing(package: str) -> Culprit | None:
    try:
        importlib.import_module(package)
    except Exception as error:
        return culprit_of(error)
    raise AssertionError(f"{package} could be imported")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("raised", ["ImportError", "OSError", "ValueError"])
def test_innermost_package_is_named_with_its_file(raised: str, folder: Path) -> None:
    (folder / "brokeninside.py").write_text(f"raise {raised}('as it is')")
    (folder / "whatasksit.py").write_text("import brokeninside")
    found = failing("whatasksit")
    assert found == Culprit("brokeninside", str(folder / "brokeninside.py"), f"{raised}: as it is")
    assert str(found).startswith("the package 'brokeninside' cannot be imported (")


def test_package_that_is_not_there_has_no_file() -> None:
    found = failing("nosuchpackage.inner")
    assert found is not None
    assert (found.package, found.file) == ("nosuchpackage", None)


def test_error_of_a_call_is_no_failed_import() -> None:
    import json

    with pytest.raises(ValueError, match="Expecting value") as caught:
        json.loads("no")
    assert culprit_of(caught.value) is None
    assert culprit_of(ValueError("never raised")) is None


def test_only_files_that_nobody_installed_are_in_the_way(tmp_path: Path) -> None:
    assert folder_in_the_way(str(tmp_path / "rich.py")) == tmp_path
    assert folder_in_the_way(str(tmp_path / "torch" / "__init__.py")) == tmp_path
    assert folder_in_the_way("/usr/lib/python3/dist-packages/rich/__init__.py") is None
    assert folder_in_the_way(None) is None
    (tmp_path / "rich-15.0.dist-info").mkdir()
    assert folder_in_the_way(str(tmp_path / "rich" / "__init__.py")) is None


def test_cure_names_the_package_and_not_torch(tmp_path: Path) -> None:
    installed = "/venv/lib/site-packages/x/__init__.py"
    assert trial.cure_of("ValueError: odd", "sklearn", installed) == (
        "pip install --force-reinstall scikit-learn"
    )
    assert trial.cure_of("OSError: libx.so.1", "pyarrow", installed).endswith("reinstall pyarrow")
    assert trial.cure_of("No module named 'yaml'", "yaml") == "pip install pyyaml"
    assert trial.cure_of("OSError: libx.so.1", "rich", str(tmp_path / "rich.py")).startswith(
        f"remove or rename {tmp_path / 'rich.py'}, or take {tmp_path} out"
    )


def test_what_cannot_be_imported_is_broken_though_its_version_is_known() -> None:
    installed = "/venv/lib/site-packages/x/__init__.py"
    failed = {"error": "OSError: odd", "package": "transformers", "file": installed}
    tried = {"imports": {"transformers": failed, "filelock": {**failed, "package": "filelock"}}}
    facts = {
        fact.name: fact for fact in trial.imports(tried, (Fact("packages", "transformers", "5.0"),))
    }
    assert facts["transformers"].state == facts["filelock"].state == "broken"
    assert facts["transformers"].value == f"5.0, cannot be imported ({installed}): OSError: odd"
    assert facts["filelock"].cure == "pip install --force-reinstall filelock"


def test_child_finds_each_broken_package_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "brokeninside.py").write_text("raise OSError('odd')")
    (folder / "whatasksit.py").write_text("import brokeninside")
    monkeypatch.setattr(trying, "_broken", {})
    monkeypatch.setattr(trying, "_torch", dict)
    monkeypatch.setattr(trying, "_organism", lambda: importlib.import_module("whatasksit"))
    monkeypatch.setattr(packages, "CORE", {"whatasksit": "", "brokeninside": "", "tqdm": ""})
    trying.main()
    found = trial._steps(capsys.readouterr().out)
    assert found["organism"]["package"] == "brokeninside"
    assert list(found["imports"]) == ["brokeninside"]
    assert "whatasksit" not in sys.modules


def test_file_in_the_place_of_a_package_is_noted(folder: Path) -> None:
    (folder / "networkx.py").touch()
    fact = next(fact for fact in packages.core() if fact.name == "networkx")
    assert fact.state == "note"
    assert f"but {folder / 'networkx.py'} is imported in its place" in fact.value
