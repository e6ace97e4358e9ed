"""A bar on stderr for what takes longer than two seconds."""

from __future__ import annotations

from typing import Any, TypeVar

_QUIET_SECONDS = 2.0
T = TypeVar("T")


class Bar:
    """Counts what is done; off where nobody wants to know."""

    def __init__(self, shown: bool, total: int, unit: str) -> None:
        """Open no bar yet.

        Args:
            shown: Whether there is a bar after two seconds.
            total: How much there is to do.
            unit: What is counted.
        """
        self._shown, self._total, self._unit = shown, total, unit
        self._bar: Any = None

    def __enter__(self) -> Bar:
        """Open the bar, if there is one."""
        if self._shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=self._unit, delay=_QUIET_SECONDS)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def after(self, value: T) -> T:
        """Count one and return what it gave."""
        if self._bar is not None:
            self._bar.update()
        return value
