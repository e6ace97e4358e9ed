"""Whose requests a model answers, so that a cut or an error can name the task and the example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neoscope.errors import EvaluationError


@dataclass(frozen=True)
class Origin:
    """Where a request comes from."""

    task: str | None
    example: int | None

    def __str__(self) -> str:
        """Return how an error names it."""
        if self.task is None:
            return "a request"
        return f"task {self.task!r}, example {self.example}"


class RequestError(EvaluationError):
    """A request that the model cannot take."""

    def __init__(self, said: str, origin: Origin) -> None:
        """Keep the origin: who made the task may know the file and line."""
        super().__init__(f"{origin}: {said}")
        self.said, self.origin = said, origin


def origins_of(requests: Sequence[Any]) -> list[Origin]:
    """Return the origins of lm-evaluation-harness's ``Instance`` objects."""
    return [
        Origin(getattr(request, "task_name", None), getattr(request, "doc_id", None))
        for request in requests
    ]


class Shortened:
    """Counts the examples whose context was too long and lost its beginning, task by task."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._examples: dict[str | None, set[int | None]] = {}

    def add(self, origin: Origin) -> None:
        """Count an example, once however many of its requests were cut."""
        self._examples.setdefault(origin.task, set()).add(origin.example)

    def of(self, task: str) -> int:
        """Return how many examples of a task were cut."""
        return len(self._examples.get(task, ()))
