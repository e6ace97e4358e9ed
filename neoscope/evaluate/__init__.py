"""Evaluation: lm-evaluation-harness's tasks and local files, beside what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope.evaluate.comparing import Comparison as Comparison
    from neoscope.evaluate.comparing import compare as compare
    from neoscope.evaluate.harness import Harness as Harness
    from neoscope.evaluate.identifying import Identity as Identity
    from neoscope.evaluate.identifying import identity as identity
    from neoscope.evaluate.local_tasks import local_task as local_task
    from neoscope.evaluate.result import Evaluation as Evaluation
    from neoscope.evaluate.running import evaluate as evaluate
    from neoscope.evaluate.suites import SUITES as SUITES

_HOMES = {
    "SUITES": "neoscope.evaluate.suites",
    "Comparison": "neoscope.evaluate.comparing",
    "Evaluation": "neoscope.evaluate.result",
    "Harness": "neoscope.evaluate.harness",
    "Identity": "neoscope.evaluate.identifying",
    "compare": "neoscope.evaluate.comparing",
    "evaluate": "neoscope.evaluate.running",
    "identity": "neoscope.evaluate.identifying",
    "local_task": "neoscope.evaluate.local_tasks",
}

__all__ = [
    "SUITES",
    "Comparison",
    "Evaluation",
    "Harness",
    "Identity",
    "compare",
    "evaluate",
    "identity",
    "local_task",
]

__getattr__, __dir__ = public_names(__name__, _HOMES)
