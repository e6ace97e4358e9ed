"""How far a long piece of work is: a bar after two seconds, a function that is told, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Report = Callable[[int, int], None]
"""Told what is done, and how much there is to do."""
_QUIET_SECONDS = 2.0


class Progress:
    """Counts what is done."""

    def __init__(self, to: bool | Report, total: int, unit: str = "row") -> None:
        """Open no bar yet.

        Args:
            to: True for a bar, False for nothing, or a function of what is done and in all.
            total: How much there is to do.
            unit: What is counted.
        """
        self._to, self._total, self._unit, self._done = to, total, unit, 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        """Open the bar, if there is one."""
        if self._to is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=self._unit, delay=_QUIET_SECONDS)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def update(self, n: int = 1) -> None:
        """Count."""
        self._done += n
        if self._bar is not None:
            self._bar.update(n)
        elif callable(self._to):
            self._to(self._done, self._total)
