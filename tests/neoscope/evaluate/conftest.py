"""One random checkpoint for all tests of evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.peers import hf_model, make_checkpoint


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def model(folder: Path) -> HookedGPTNeo:
    return ns.load(str(folder))


@pytest.fixture(scope="session")
def peer(folder: Path) -> Any:
    return hf_model(folder)
