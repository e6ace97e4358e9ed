"""What all tests of evaluation share: a random checkpoint, the organism, and no sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
from neoscope.evaluate import local_task
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.examples import CHOICES
from tests.neoscope.evaluate.peers import hf_model, make_checkpoint, write


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def model(folder: Path) -> HookedGPTNeo:
    return ns.load(str(folder))


@pytest.fixture(scope="session")
def peer(folder: Path) -> Any:
    return hf_model(folder)


@pytest.fixture(scope="session")
def organism() -> HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def choices(tmp_path: Path) -> dict[str, Any]:
    return local_task(write(tmp_path / "mc.jsonl", CHOICES))
