"""How far an experiment is: told to a bar or to a function, with what is known so far."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neoscope import progress as counting
from neoscope.unseen import levels_to_caller


@dataclass(frozen=True, eq=False)
class Progress:
    """How far an experiment is."""

    done: int
    """Runs done: patched ones (cells times pairs), or differentiated ones."""
    total: int
    partial: Callable[[], Any]
    """Returns the result so far; what is not done is NaN.

    Raises:
        PatchingError: There is none yet.
    """


Report = Callable[[Progress], None]


class Reporting(counting.Progress):
    """Counts runs; a function is told what is known so far beside the numbers."""

    def __init__(self, to: bool | Report, total: int, partial: Callable[[], Any]) -> None:
        """Open no bar yet.

        Args:
            to: True for a tqdm bar after two seconds, False for nothing, or a function.
            total: Runs to do.
            partial: Returns the result so far.
        """
        told: bool | counting.Report = False
        if callable(to):
            tell = to

            def told(done: int, total: int) -> None:
                tell(Progress(done, total, partial))
        else:
            told = to
        super().__init__(told, total, unit="run")

    def __enter__(self) -> Reporting:
        """Open the bar, if there is one."""
        super().__enter__()
        return self


def with_result(to: bool | Report, result: Callable[[Any], Any]) -> bool | Report:
    """Return ``to`` so that a function is given results of another kind where it asks for them.

    Args:
        to: True, False, or a function.
        result: Makes a result of what ``partial`` returns.
    """
    if not callable(to):
        return to
    return lambda now: to(Progress(now.done, now.total, lambda: result(now.partial())))


class EndsEarly:
    """Lets a keyboard interrupt end a block with what is done; raises it where nothing is."""

    def __init__(self, done: Callable[[], int], total: int, what: str) -> None:
        """Wait.

        Args:
            done: Returns how many are done.
            total: How many there are.
            what: Names them.
        """
        self._done, self._total, self._what = done, total, what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        """End early if something is done."""
        if kind is None or not issubclass(kind, KeyboardInterrupt) or not (n := self._done()):
            return False
        warnings.warn(
            f"interrupted: {n} of {self._total} {self._what} are done, the others are NaN",
            stacklevel=levels_to_caller(sys._getframe()),
        )
        return True
