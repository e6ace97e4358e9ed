"""How far an export is: told to a bar or to a function."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from neoscope.progress import open_bar


@dataclass(frozen=True)
class Progress:
    """How far an export is."""

    rows: int = 0
    """Input rows done, those of earlier runs included."""
    total_rows: int | None = None
    """Rows of the input; None where that is not known beforehand."""
    resumed_rows: int = 0
    """Rows that were there already."""
    tokens: int = 0
    """Tokens read by this run."""
    nbytes: int = 0
    """Bytes written by this run."""


Report = Callable[[Progress], None]


class Reporting:
    """Counts, and tells whoever wants to know; off where nobody does."""

    def __init__(self, to: bool | Report, total_rows: int | None) -> None:
        """Open no bar yet.

        Args:
            to: True for a tqdm bar after two seconds, False for nothing, or a function.
            total_rows: Rows of the input, if known.
        """
        self.now = Progress(total_rows=total_rows)
        self._to = to
        self._bar: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> Reporting:
        """Open the bar, if there is one."""
        if self._to is True:
            self._bar = open_bar(self.now.total_rows, "row")
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def tick(self, rows: int, tokens: int) -> None:
        """Count what a batch did."""
        self._add(rows=rows, tokens=tokens)

    def resumed(self, rows: int) -> None:
        """Count what an earlier run did."""
        self._add(rows=rows, resumed_rows=rows)

    def wrote(self, nbytes: int) -> None:
        """Count what was written; called from the writing thread."""
        self._add(nbytes=nbytes)

    def _add(self, **more: int) -> None:
        with self._lock:
            changed = {name: getattr(self.now, name) + n for name, n in more.items()}
            self.now = replace(self.now, **changed)
            if self._bar is not None:
                self._bar.update(more.get("rows", 0))
                self._bar.set_postfix_str(f"{self.now.tokens:,} tokens", refresh=False)
            elif callable(self._to):
                self._to(self.now)
