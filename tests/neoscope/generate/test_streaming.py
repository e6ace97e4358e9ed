"""Tokens stream as they come, and a bar shows after a while."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import TextStreamer
from transformers.generation.streamers import BaseStreamer

import neoscope as ns
from neoscope import progress
from neoscope.edits import ablate
from neoscope.errors import GenerationError
from tests.neoscope.generate.peers import prompts, random_pair

TEXTS = ["The film was", "When Mary and John went to the store, John", "The keys near the cabinet"]


@pytest.fixture(scope="module")
def organism() -> ns.HookedGPTNeo:
    return ns.load("organism")


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


class Ids(BaseStreamer):
    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.seen.append(value)

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("edited", [False, True])
def test_tokens_stream_as_they_come(organism: ns.HookedGPTNeo, edited: bool) -> None:
    edits = [ablate("z", 0, positions=-1)] if edited else []
    streamer = Ids()
    out = organism.generate(
        TEXTS[:1], max_new_tokens=5, streamer=streamer, edits=edits, return_type="tokens"
    )
    assert streamer.ended and len(streamer.seen) == 6
    assert torch.equal(torch.cat([streamer.seen[0][0], *streamer.seen[1:]]), out[0])


def test_transformers_streamers_work(
    organism: ns.HookedGPTNeo, capsys: pytest.CaptureFixture[str]
) -> None:
    text = organism.generate(TEXTS[0], max_new_tokens=5, streamer=TextStreamer(organism.tokenizer))
    assert capsys.readouterr().out.strip() == text
    with pytest.raises(GenerationError, match="only supports batch size 1"):
        organism.generate(TEXTS, max_new_tokens=5, streamer=TextStreamer(organism.tokenizer))


def test_a_bar_shows_after_a_while(
    model: ns.HookedGPTNeo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = prompts(model, 2, 4)
    for beams in (1, 2):
        model.generate(ids, max_new_tokens=5, num_beams=beams)
        assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    for beams in (1, 2):
        model.generate(ids, max_new_tokens=5, num_beams=beams)
        assert " of 5 tokens" in capsys.readouterr().err
    model.generate(ids, max_new_tokens=5, progress=False)
    model.generate(ids, max_new_tokens=5, streamer=Ids())
    assert capsys.readouterr().err == ""
