"""A bar on stderr for what takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

QUIET_SECONDS = 2.0
"""What is done sooner shows no bar."""
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

            self._bar = tqdm(total=self._total, unit=self._unit, delay=QUIET_SECONDS)
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


def shown(items: Iterable[T], total: int, what: str, progress: bool) -> Iterator[T]:
    """Iterate with a bar.

    Args:
        items: What to go through.
        total: How many there are.
        what: Written before the bar.
        progress: Whether there is a bar after two seconds.
    """
    from tqdm.auto import tqdm

    yield from tqdm(items, what, total=total, delay=QUIET_SECONDS, disable=not progress)
