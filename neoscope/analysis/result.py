"""What every analysis returns: a small frozen object that prints itself, is a table, and is kept.

Printed, it fits a terminal of 80 columns. Subclasses are frozen dataclasses whose fields are arrays
(numpy) and plain values: strings, numbers, None, and tuples and dicts of them. What they say of
themselves is a heading and a table.
"""

from __future__ import annotations

import dataclasses
import html
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    GivenPath = str | os.PathLike[str]
else:
    GivenPath = Any

_MOST_ROWS = 20
_WIDTH = 80
_FORMATS = ("%.4g", "%.3g")
_CELLS = (50, 24, 16)
"""Most characters of a cell: the widest of these with which a table fits."""


def counted(n: int, what: str, several: str | None = None) -> str:
    """Return a number with its noun: ``"1 text"``, ``"2,000 texts"``.

    Args:
        n: How many.
        what: Of what, in the singular.
        several: The plural where it does not just end in s.
    """
    return f"{n:,} {what if n == 1 else several or f'{what}s'}"


def wrapped(text: str) -> str:
    """Return a text in lines of at most 80 columns."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def narrow(table: pd.DataFrame) -> str:
    """Return a table as text in 80 columns.

    Numbers lose a digit and long cells their ends where that makes it fit; columns are shown in
    several blocks where nothing does.

    Args:
        table: What to show, without its index.
    """
    if table.empty:
        return "nothing to show"
    for cell in _CELLS:
        for form in _FORMATS:
            options: dict[str, Any] = {
                "index": False, "float_format": form, "na_rep": "", "max_colwidth": cell,
            }  # fmt: skip
            text: str = table.to_string(**options)
            if max(map(len, text.splitlines())) <= _WIDTH:
                return text
    blocks: str = table.to_string(**options, line_width=_WIDTH)
    return blocks


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """Base of the results of :mod:`neoscope.analysis`."""

    kinds: ClassVar[dict[str, type[Result]]] = {}
    """Every result class by its name, for reading files."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Remember the class by its name."""
        super().__init_subclass__(**options)
        Result.kinds[cls.__name__] = cls

    def __post_init__(self) -> None:
        """Let nobody write into the arrays; whoever else holds one may still write into his own."""
        for field in dataclasses.fields(self):
            x = getattr(self, field.name)
            if isinstance(x, np.ndarray) and x.flags.writeable:
                view = x.view()
                view.setflags(write=False)
                object.__setattr__(self, field.name, view)

    def heading(self) -> str:
        """Return one line: what was measured, of what, in which unit."""
        return type(self).__name__

    def to_dataframe(self) -> pd.DataFrame:
        """Return what was measured as a table; what a row is, each class says."""
        raise NotImplementedError

    def summary(self) -> pd.DataFrame:
        """Return the rows and columns that are shown when the result is printed."""
        return self.to_dataframe().head(_MOST_ROWS)

    def save(self, path: GivenPath) -> Path:
        """Write a ``.json`` or ``.safetensors`` file, whole; :func:`analysis.load` reads it.

        Raises:
            AnalysisError: Another suffix, or it cannot be written.
        """
        from neoscope.analysis.result_file import save

        return save(self, path)

    def __repr__(self) -> str:
        """Return the heading."""
        return self.heading()

    def __str__(self) -> str:
        """Return the heading and the rows that matter, as text in 80 columns."""
        table = self.summary()
        left = len(self.to_dataframe()) - len(table)
        more = f"\n... {counted(left, 'more row')}: to_dataframe()" if left > 0 else ""
        return f"{wrapped(self.heading())}\n{narrow(table)}{more}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook; text is escaped."""
        table = self.summary().to_html(escape=True, index=False, float_format="%.4g", na_rep="")
        return f"<p>{html.escape(self.heading())}</p>{table}"
