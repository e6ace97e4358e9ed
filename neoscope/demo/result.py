"""What a demonstration found: its steps, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neoscope.errors import ArgumentError, nearest


@dataclass(frozen=True)
class Step:
    """One thing that was done."""

    name: str
    title: str
    seconds: float
    lines: tuple[str, ...] = ()
    """What came of it, in words."""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    verdict: str = ""
    """What the table shows, in a sentence."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same as plain JSON values."""


@dataclass(frozen=True)
class Demo:
    """A whole demonstration."""

    model: str
    folder: Path
    steps: tuple[Step, ...]
    failed: tuple[str, ...] = ()
    """Sections of the report that failed."""

    @property
    def seconds(self) -> float:
        """Time in all."""
        return sum(step.seconds for step in self.steps)

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.folder / "report.html"

    def step(self, name: str) -> Step:
        """Return a step.

        Args:
            name: Such as ``"patch"``.

        Raises:
            ArgumentError: There was none of this name.
        """
        known = [step.name for step in self.steps]
        if name not in known:
            close = nearest(name, known)
            raise ArgumentError(f"there is no step {name!r}{close}; there are {', '.join(known)}")
        return self.steps[known.index(name)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "model": self.model,
            "folder": str(self.folder),
            "report": str(self.report),
            "seconds": self.seconds,
            "failed": list(self.failed),
            "steps": {step.name: {"seconds": step.seconds, **step.facts} for step in self.steps},
        }

    def __repr__(self) -> str:
        return f"Demo({self.model!r}, {len(self.steps)} steps, {self.seconds:.1f} s, {self.folder})"
