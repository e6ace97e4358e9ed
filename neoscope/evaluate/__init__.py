"""Evaluation: lm-evaluation-harness's tasks and local files, beside what was published."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.evaluate.comparing import Comparison as Comparison
    from neoscope.evaluate.comparing import compare as compare
    from neoscope.evaluate.harness import Harness as Harness
    from neoscope.evaluate.local_tasks import local_task as local_task
    from neoscope.evaluate.result import Evaluation as Evaluation
    from neoscope.evaluate.running import evaluate as evaluate
    from neoscope.evaluate.suites import SUITES as SUITES

_HOMES = {
    "SUITES": "neoscope.evaluate.suites",
    "Comparison": "neoscope.evaluate.comparing",
    "Evaluation": "neoscope.evaluate.result",
    "Harness": "neoscope.evaluate.harness",
    "compare": "neoscope.evaluate.comparing",
    "evaluate": "neoscope.evaluate.running",
    "local_task": "neoscope.evaluate.local_tasks",
}

__all__ = [
    "SUITES",
    "Comparison",
    "Evaluation",
    "Harness",
    "compare",
    "evaluate",
    "local_task",
]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neoscope.evaluate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
