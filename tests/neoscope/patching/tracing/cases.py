"""What the tests of traces share: prompts with subjects, and a trace of them."""

from __future__ import annotations

import functools
from typing import Any

import neoscope as ns
from neoscope.patching.tracing.result import TraceResult
from neoscope.patching.tracing.tracing import trace

TEXTS = [[4, 5, 6, 7], [9, 8, 7, 6, 5, 4], [11, 12, 13, 14, 15]]
SUBJECT = [[1, 2], [2], [0, 3]]
OPTIONS: dict[str, Any] = {"sigma": 0.4, "draws": 3, "progress": False}


@functools.cache
def answers(model: ns.HookedGPTNeo) -> list[int]:
    """What the model says, so that probabilities are not tiny."""
    return [int(model([text])[0, -1].argmax()) for text in TEXTS]


def traced(model: ns.HookedGPTNeo, **options: Any) -> TraceResult:
    return trace(model, TEXTS, SUBJECT, answers(model), **(OPTIONS | options))


def traced_with(model: ns.HookedGPTNeo, metric: Any, **options: Any) -> TraceResult:
    return trace(model, TEXTS, SUBJECT, metric=metric, **(OPTIONS | options))
