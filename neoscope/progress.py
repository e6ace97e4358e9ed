"""How far a long piece of work is: a bar after two seconds, a function that is told, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

Report = Callable[[int, int], None]
"""Told what is done, and how much there is to do."""
QUIET_SECONDS = 2.0
"""What is done sooner shows no bar."""
LINE_SECONDS = 30.0
"""Between two lines where stderr is a file or a pipe, and before the first."""


def open_bar(total: int | None, unit: str, *, leave: bool = True) -> Any:
    """Return what shows progress on stderr; the caller closes it.

    On a terminal and in a notebook it is a tqdm bar, which appears after two seconds. Elsewhere,
    as in a log, it is :class:`Lines`.

    Args:
        total: How much there is to do; None where nobody knows.
        unit: What is counted.
        leave: Whether a bar stays when it is closed.
    """
    # A notebook's stderr says that it is no terminal.
    if not (sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")):
        return Lines(total, unit)
    from tqdm.auto import tqdm

    return tqdm(total=total, unit=unit, delay=QUIET_SECONDS, leave=leave)


class Lines:
    """Counts like a tqdm bar, and says it in whole lines on stderr, one in half a minute."""

    def __init__(self, total: int | None, unit: str) -> None:
        """Say nothing yet.

        Args:
            total: How much there is to do; None where nobody knows.
            unit: What is counted.
        """
        self.total, self.n, self._unit, self._postfix = total, 0, unit, ""
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Lines:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End."""

    def close(self) -> None:
        """End; what was said stays."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Set what stands behind the count; it is said with the next line."""
        self._postfix = s

    def update(self, n: int = 1) -> None:
        """Count, and say so if the last line is old enough."""
        self.n += n
        now = time.monotonic()
        if now - self._said < LINE_SECONDS:
            return
        self._said = now
        of = "" if self.total is None else f" of {self.total:,}"
        unit = self._unit if (self.total or self.n) == 1 else f"{self._unit}s"
        said = f"{self.n:,}{of} {unit} in {now - self._began:,.0f} s"
        sys.stderr.write(", ".join(filter(None, (said, self._postfix))) + "\n")
        sys.stderr.flush()


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
            self._bar = open_bar(self._total, self._unit)
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
