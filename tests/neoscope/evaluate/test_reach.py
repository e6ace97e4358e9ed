"""A hub that does not answer is asked once and briefly, and not at all for local data."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from neoscope.errors import EvaluationError
from neoscope.evaluate import evaluate, local_task, reach
from neoscope.model import HookedGPTNeo
from tests.neoscope.evaluate.examples import CHOICES
from tests.neoscope.evaluate.peers import write


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody said HF_HUB_OFFLINE=1."""
    for place in (constants, datasets.config):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no name be found; returns how long the hub's client slept between its tries."""
    slept: list[float] = []

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(_http, "time", types.SimpleNamespace(sleep=slept.append))
    return slept


def test_without_a_network_nothing_is_tried_again(
    organism: HookedGPTNeo, no_network: list[float]
) -> None:
    with pytest.raises(EvaluationError, match=r"Rowan/hellaswag.*huggingface\.co does not answer"):
        evaluate(organism, "hellaswag", progress=False)
    assert no_network == []
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_the_hub_is_asked_once_and_then_taken_for_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(reach, "answers", lambda address: asked.append(address))
    hub = reach.Reach()
    for _ in range(3):
        with hub.needed():
            assert constants.HF_HUB_OFFLINE
            assert datasets.config.HF_HUB_OFFLINE
        assert not constants.HF_HUB_OFFLINE
    assert asked == [constants.ENDPOINT] == [hub.missing]


def test_a_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "answers", lambda address: True)
    hub = reach.Reach()
    with hub.needed():
        assert not constants.HF_HUB_OFFLINE
    assert hub.missing is None


def test_local_data_and_a_word_to_be_offline_ask_nothing(
    organism: HookedGPTNeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "answers", lambda address: pytest.fail("the hub was asked"))
    task = local_task(write(tmp_path / "mc.jsonl", CHOICES[:2]))
    assert len(evaluate(organism, task, progress=False).task) == 2
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(EvaluationError, match="Rowan/hellaswag"):
        evaluate(organism, "hellaswag", progress=False)


class Busy(http.server.BaseHTTPRequestHandler):
    """Says that it has no time, which is an answer."""

    def do_HEAD(self) -> None:
        self.send_error(503)

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_is_told_from_silence_and_refusal() -> None:
    with serving() as address:
        assert reach.answers(address)
    assert not reach.answers(address)  # nobody listens any more
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not reach.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
