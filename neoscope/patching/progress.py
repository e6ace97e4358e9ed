"""How far a sweep is: told to a bar or to a function, with what is known so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_QUIET_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a sweep is."""

    done: int
    """Patched runs done: cells times pairs."""
    total: int
    partial: Callable[[], Any]
    """Returns the result so far; what is not done is NaN."""


Report = Callable[[Progress], None]


class Reporting:
    """Counts, and tells whoever wants to know; off where nobody does."""

    def __init__(self, to: bool | Report, total: int, partial: Callable[[], Any]) -> None:
        """Open no bar yet.

        Args:
            to: True for a tqdm bar after two seconds, False for nothing, or a function.
            total: Patched runs to do.
            partial: Returns the result so far.
        """
        self._to, self._total, self._partial = to, total, partial
        self._done = 0
        self._bar: Any = None

    def __enter__(self) -> Reporting:
        """Open the bar, if there is one."""
        if self._to is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit="run", delay=_QUIET_SECONDS)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def tick(self, runs: int) -> None:
        """Count patched runs."""
        self._done += runs
        if self._bar is not None:
            self._bar.update(runs)
        elif callable(self._to):
            self._to(Progress(self._done, self._total, self._partial))
