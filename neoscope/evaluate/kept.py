"""Kept: a result of evaluation, which reads its own files."""

from __future__ import annotations

import os
from typing import TypeVar

from neoscope.analysis.result import Result
from neoscope.analysis.result_file import load
from neoscope.errors import AnalysisError

T = TypeVar("T", bound="Kept")


class Kept(Result):
    """Base of the results of :mod:`neoscope.evaluate`."""

    @classmethod
    def load(cls: type[T], path: str | os.PathLike[str]) -> T:
        """Read what :meth:`save` wrote.

        Raises:
            AnalysisError: There is no such file, or it holds something else.
        """
        found = load(path)
        if not isinstance(found, cls):
            held = f"{os.fspath(path)} holds a {type(found).__name__}"
            raise AnalysisError(f"{held}, no {cls.__name__}")
        return found
