"""The import contract that names what may be imported forbids all else, also what is new."""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp
import pytest

from tests.only_contract import OnlyContract

MODULES = ("probes", "probes.data", "lab", "lab.cache", "lab.store", "lab.store.disk", "lab.model")


def broken(*imports: tuple[str, str], only: tuple[str, ...] = ("lab.cache", "lab.store")) -> bool:
    graph = grimp.ImportGraph()
    for module in MODULES:
        graph.add_module(module)
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    options = {"importer": "probes", "imported": "lab", "only": list(only)}
    contract = OnlyContract(name="faces", session_options={}, contract_options=options)
    return not contract.check(graph, verbose=False).kept


def test_what_is_named_may_be_imported() -> None:
    assert not broken(("probes", "lab.cache"), ("probes.data", "lab.store"))
    assert not broken(("lab.model", "lab.store.disk"), ("lab.store", "probes"))


@pytest.mark.parametrize("imported", ["lab", "lab.model", "lab.store.disk"])
def test_nothing_else_may(imported: str) -> None:
    assert broken(("probes.data", imported)) and broken(("probes", imported))


def test_a_name_that_is_no_module_is_told() -> None:
    assert broken(only=("lab.cache", "lab.gone"))


def test_no_contract_has_exceptions() -> None:
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    assert len(contracts) >= 5
    assert not any("ignore_imports" in contract for contract in contracts)
