"""Which columns of the input are wanted: what the caller asked for, against what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neoscope.errors import ExportError, nearest
from neoscope.indices import whole


@dataclass(frozen=True)
class Wanted:
    """The columns of one input that are read."""

    id: str | None
    """The column of ids; None where rows are numbered."""
    carried: tuple[str, ...]
    """Those that follow the id into the export, in their order."""
    read: tuple[str, ...]
    """Everything that is read except the text."""


@dataclass(frozen=True)
class Asked:
    """What the caller of the reader asked for."""

    text_column: str
    id_column: str | None
    keep: tuple[str, ...] | None
    positions_column: str | None
    rows: int
    max_chars: int

    def among(self, existing: Iterable[str], place: str) -> Wanted:
        """Return what is wanted of an input that has the columns ``existing``.

        Raises:
            ExportError: A column that was named is not there, or stands there twice.
        """
        existing = list(existing)
        known = set(existing)
        named = [self.text_column, self.id_column, self.positions_column, *(self.keep or ())]
        for name in named:
            if name is not None and name not in known:
                raise ExportError(
                    f"{place} has no column {name!r}; it has {_listed(existing)}"
                    f"{nearest(name, existing)}"
                )
        key = self.id_column or ("id" if "id" in known and self.text_column != "id" else None)
        carried = tuple(n for n in (existing if self.keep is None else self.keep) if n != key)
        used = dict.fromkeys(n for n in (key, *carried, self.positions_column) if n is not None)
        used.pop(self.text_column, None)
        for name in (self.text_column, *used):
            if existing.count(name) > 1:
                raise ExportError(f"{place} has {existing.count(name)} columns named {name!r}")
        if key is None and "id" in carried:
            raise ExportError(
                f"the text column of {place} is named 'id', the name of the numbers that rows get; "
                "choose another column as id, or rename it"
            )
        return Wanted(key, carried, tuple(used))


def asked(
    text_column: str,
    id_column: str | None,
    keep: Sequence[str] | None,
    positions_column: str | None,
    rows: Any,
    max_chars: Any,
) -> Asked:
    """Return the caller's wishes, checked as far as they can be without the input.

    Raises:
        ExportError: An option means nothing.
    """
    if isinstance(keep, str):
        raise ExportError(f"keep is the string {keep!r}; expected a list of column names")
    if id_column == text_column:
        raise ExportError(f"the id column and the text column are the same, {text_column!r}")
    counts = {"rows": whole(rows), "max_chars": whole(max_chars)}
    for (name, count), given in zip(counts.items(), (rows, max_chars), strict=True):
        if count is None or count < 1:
            raise ExportError(f"{name} is {given!r}; expected a whole number of at least 1")
    kept = None if keep is None else tuple(dict.fromkeys(keep))
    return Asked(
        text_column,
        id_column,
        kept,
        positions_column,
        counts["rows"] or 1,
        counts["max_chars"] or 1,
    )


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{shown}{more}" if names else "none"
