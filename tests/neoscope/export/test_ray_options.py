"""The engine on Ray, as far as it needs no session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import neoscope as ns
from neoscope.errors import ArgumentError, MissingExtraError
from neoscope.export import FeatureSpec, RayEngine
from neoscope.export.engines import Work
from neoscope.export.extractor import Extractor

SPEC = FeatureSpec(layers=[0, -1], pool=["mean", "last"])


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("organism")


def test_a_model_is_put_together_from_its_parts(model: ns.HookedGPTNeo) -> None:
    pytest.importorskip("ray")
    from neoscope.export.ray_engine.worker import assembled, parts

    for dtype in (torch.float32, torch.bfloat16):
        given = ns.load("organism", dtype=dtype)
        assert assembled(parts(given)).fingerprint() == given.fingerprint()


def test_a_worker_does_the_work_that_it_was_told(model: ns.HookedGPTNeo, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from neoscope.export.ray_engine.worker import recipe

    for budget in (None, 100):
        work = Work(Extractor(model, SPEC, batch_tokens=budget), "skip", "text")
        made = recipe(work, device=None, threads=1, send=None)
        assert made.sent is None and made.batch_tokens == budget
        again = made.work()
        assert again.extractor.batch_tokens == work.extractor.batch_tokens
        assert again.extractor.spec == SPEC and again.on_error == "skip"


def test_nothing_to_do_needs_no_ray(model: ns.HookedGPTNeo) -> None:
    work = Work(Extractor(model, SPEC), "fail", "text")
    engine = RayEngine(address="nowhere:1")
    assert list(engine(work, iter(()), lambda *_: None)) == []


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": -2}, {"threads": 0}, {"device": "tpu"}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        RayEngine(**options)


def test_a_missing_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'neoscope\[ray\]'"):
        RayEngine()
