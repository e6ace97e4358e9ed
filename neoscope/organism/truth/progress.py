"""How far a long run is, and how long it will go on."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Counts work done and says so every few seconds."""

    def __init__(
        self,
        total: float,
        say: Callable[[str], None],
        *,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            total: Work in all, in any unit.
            say: Takes a line.
            every: Seconds between lines.
            clock: Seconds from anywhere.
        """
        self._total, self._say, self._every, self._clock = total, say, every, clock
        self._began = self._told = clock()
        self._done = 0.0

    def step(self, label: str, work: float) -> Callable[[], None]:
        """Return what to call after each of some equal steps.

        Args:
            label: Names them.
            work: Of one step.
        """

        def tick() -> None:
            self._done += work
            now = self._clock()
            if now - self._told >= self._every:
                self._told = now
                self._say(f"{self._line(now)}  {label}")

        return tick

    def _line(self, now: float) -> str:
        elapsed = now - self._began
        left = elapsed * (self._total - self._done) / self._done
        return f"{self._done / self._total:4.0%}  elapsed {_clock(elapsed)}  ETA {_clock(left)}"

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
