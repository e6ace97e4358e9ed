"""The public names are these, and no others."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import neoscope

NAMES = [
    "ActivationCache",
    "HookedGPTNeo",
    "KVCache",
    "NeoConfig",
    "NeoscopeError",
    "Tokens",
    "UnseenWordWarning",
    "analysis",
    "contract",
    "demo",
    "doctor",
    "edits",
    "estimate_nbytes",
    "evaluate",
    "export",
    "load",
    "organism",
    "patching",
    "pipeline",
    "store",
    "views",
]


def test_public_names_are_the_sorted_list() -> None:
    assert neoscope.__all__ == NAMES
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_importable(name: str) -> None:
    value = getattr(neoscope, name)
    assert getattr(neoscope, name) is value
    home = value.__name__ if isinstance(value, type(sys)) else value.__module__
    assert home.startswith("neoscope.")


def test_star_import_gives_them_all() -> None:
    names: dict[str, object] = {}
    exec("from neoscope import *", names)
    assert set(NAMES) <= set(names)


def test_dir_lists_them() -> None:
    assert set(NAMES) <= set(dir(neoscope))
    assert "__version__" in dir(neoscope)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'neoscope' has no attribute 'nothing'"):
        _ = neoscope.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from neoscope import nothing")


def test_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert neoscope.__version__ == version("neoscope")


def test_every_name_is_importable_first() -> None:
    """No name needs another to have been imported before it."""
    code = "import importlib, sys; getattr(importlib.import_module('neoscope'), sys.argv[1])"
    for name in ("contract", "organism"):
        subprocess.run([sys.executable, "-c", code, name], check=True)


@pytest.mark.parametrize(
    "module", ["neoscope.contract", "neoscope.checkpoint", "neoscope.organism"]
)
def test_names_that_a_module_declares_exist(module: str) -> None:
    home = importlib.import_module(module)
    assert all(hasattr(home, name) for name in home.__all__)


PACKAGES = [
    "neoscope", "neoscope.analysis", "neoscope.demo", "neoscope.doctor", "neoscope.evaluate",
    "neoscope.export", "neoscope.organism", "neoscope.patching", "neoscope.store",
    "neoscope.views", "probes", "probes.judging",
]  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_hides_a_public_name(package: str) -> None:
    """Once imported, a submodule takes the place of a name that is spelled like it."""
    home = importlib.import_module(package)
    modules = {one.name for one in pkgutil.iter_modules(home.__path__)}
    hidden = [
        name
        for name in home.__all__
        if name in modules and not isinstance(getattr(home, name), type(sys))
    ]
    assert not hidden


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_of_a_package_exist_once(package: str) -> None:
    home = importlib.import_module(package)
    assert len(set(home.__all__)) == len(home.__all__)
    assert all(getattr(home, name) is not None for name in home.__all__)
