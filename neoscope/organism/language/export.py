"""The way of sentences and pairs to JSONL and pandas."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError
from neoscope.files import atomic
from neoscope.organism.language.pairs import Pairs
from neoscope.organism.language.sentence import Sentence

if TYPE_CHECKING:
    import pandas as pd


def write_jsonl(items: Iterable[Sentence] | Pairs, path: str | os.PathLike[str]) -> Path:
    """Write sentences or pairs with all their labels, one JSON object a line; whole or not at all.

    Args:
        items: What ``sentences`` or ``pairs`` gave.
        path: The file to write, in a folder that exists; one that is there is replaced.

    Returns:
        The path.

    Raises:
        ArgumentError: There is no such folder, or a folder stands where the file should.
        OSError: It cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ArgumentError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ArgumentError(f"cannot write {path}: it is a folder; name a file, e.g. ioi.jsonl")
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in _records(items):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def to_dataframe(items: Iterable[Sentence] | Pairs) -> pd.DataFrame:
    """Return sentences or pairs with all their labels as a pandas table, one row each.

    Example:
        >>> from neoscope.organism.language import pairs, sentences
        >>> to_dataframe(sentences("tense", 2)).shape, to_dataframe(pairs("tense", 2)).shape
        ((2, 13), (2, 7))
    """
    import pandas as pd

    return pd.DataFrame(list(_records(items)))


def _records(items: Iterable[Sentence] | Pairs) -> Iterator[dict[str, Any]]:
    if isinstance(items, Pairs):
        yield from items.records()
    else:
        for item in items:
            yield item.record()
