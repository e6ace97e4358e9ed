"""Results come back from a file equal, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probes
from neoscope.errors import ProbeError
from probes.data.places import Place
from probes.erasure import Eraser, Scrubbing
from probes.judging import (
    Bin,
    Calibration,
    Codelength,
    Interval,
    Judgement,
    LearningCurve,
    PermutationResult,
    SampleComplexity,
    Selectivity,
)
from probes.judging.mdl.codelength import Block
from probes.keeping.results import RESULTS
from probes.sparse.curve import SparseCurve
from probes.use import AmnesicReport, CausalReport
from probes.use.effects import compare

INTERVAL = Interval(0.5, 0.75, 0.9, 12, 100)
NONE = Interval(float("nan"), float("nan"))
EFFECTS = tuple(
    compare(kind, "all", measure, "same norm", np.array([0.5, 1.0]), np.zeros((19, 2)))
    for kind in ("erase", "steer")
    for measure in ("loss", "accuracy")
)
GIVEN: list[Any] = [
    Judgement({"accuracy": 0.5, "auc": float("nan")}, {"accuracy": INTERVAL, "auc": NONE}, 9, 3),
    LearningCurve((8, 32), (0.5, 0.875), (INTERVAL, NONE), "accuracy"),
    SampleComplexity(None, 0.9, "accuracy"),
    PermutationResult(0.75, np.array([0.5, 0.25]), 1 / 3, "accuracy", "group"),
    Calibration(0.1, 0.2, 0.3, 0.4, (Bin(0.0, 0.5, 0, float("nan"), float("nan")),)),
    Codelength(10.0, 20.0, 4.0, 6.0, 20, 2, "online", (Block(0, 1, 1.0),), {"strengths": [0.1]}),
    Selectivity(0.25, 0.75, 0.5, INTERVAL, 0.0),
    SparseCurve((1, 2), (0.5, 1.0), (0.5, 1.0), (0.5, 1.0), ((3,), (3, 7)), 0.25, 8, 2),
    AmnesicReport(2.5, 0.25, EFFECTS, {0: 15, 3: 1}, "organism"),
    CausalReport(Place("z", 2, 1), EFFECTS, "loss", "leace", (0.5,), 19, "organism", "number"),
]


def same(found: Any, expected: Any) -> None:
    """Equal, and of one type, all the way down."""
    assert type(found) is type(expected)
    if hasattr(expected, "__dataclass_fields__"):
        for name in expected.__dataclass_fields__:
            same(getattr(found, name), getattr(expected, name))
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("result", GIVEN, ids=lambda one: type(one).__name__)
def test_a_result_comes_back_equal_and_prints_in_a_line(result: Any, tmp_path: Path) -> None:
    assert result.save(tmp_path / "result.json") == tmp_path / "result.json"
    same(type(result).load(tmp_path / "result.json"), result)
    assert "\n" not in repr(result) and "array(" not in repr(result)
    if not isinstance(result, SampleComplexity | Selectivity):
        assert len(result.to_dataframe())


def test_every_class_that_is_read_back_is_where_it_is_looked_for() -> None:
    import importlib

    for name, home in RESULTS.items():
        assert getattr(importlib.import_module(home), name).__module__ == home


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged: it is no JSON"),
        ("{}", "is no neoscope.probe-result"),
        ('{"format": "neoscope.probe-result", "format_version": 9}', "is of format 9, .*upgrade"),
        ("RESULT:LearningCurv", "no result called 'LearningCurv'; did you mean 'LearningCurve'"),
        ("RESULT:Interval", "cannot be read: Interval: "),
    ],
)
def test_what_is_no_result_is_told_apart(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    if text.startswith("RESULT:"):
        GIVEN[2].save(path)
        text = path.read_text().replace("SampleComplexity", text.removeprefix("RESULT:"))
    path.write_text(text)
    with pytest.raises(ProbeError, match=said):
        SampleComplexity.load(path)


def test_another_kind_of_result_and_a_missing_file_are_named(tmp_path: Path) -> None:
    GIVEN[2].save(tmp_path / "result.json")
    with pytest.raises(ProbeError, match="holds a SampleComplexity, not a Codelength"):
        Codelength.load(tmp_path / "result.json")
    with pytest.raises(ProbeError, match="cannot read"):
        Codelength.load(tmp_path / "nothing.json")
    assert json.loads((tmp_path / "result.json").read_text())["neoscope"]


def test_scrubbing_comes_back_equal(tmp_path: Path) -> None:
    eye = np.eye(4)
    erasers = {n: Eraser(eye[n], eye[:, :1], eye[:1], "leace") for n in (0, 3)}
    Scrubbing("resid_mid", erasers).save(tmp_path)
    found = Scrubbing.load(tmp_path)
    assert found.site == "resid_mid" and list(found.erasers) == [0, 3]
    for layer, eraser in erasers.items():
        same(found.erasers[layer], eraser)
    with pytest.raises(ProbeError, match="cannot read"):
        Scrubbing.load(tmp_path / "elsewhere")


def test_who_takes_a_result_for_a_probe_is_told_what_reads_it(tmp_path: Path) -> None:
    path = GIVEN[2].save(tmp_path / "kept.json")
    name = type(GIVEN[2]).__name__
    with pytest.raises(ProbeError, match=rf"it is a saved {name}: {name}\.load reads it"):
        probes.load(path)
