"""Files of a few numbers: JSON, with its format named in it; written whole, read back equal."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from neoscope.json_arrays import packed, unpacked
from neoscope.patching.results import saved

SUFFIX = ".json"


def write(path: str | os.PathLike[str], form: str, said: Mapping[str, Any]) -> Path:
    """Write what JSON can hold, whole or not at all.

    Args:
        path: A ``.json`` file; an older one of the same kind is replaced.
        form: Name and number of the format.
        said: What is written.

    Returns:
        Where it stands.

    Raises:
        PatchingError: Another suffix, something else is there, or it cannot be written.
    """
    text = json.dumps({"format": form, **said}, ensure_ascii=False, allow_nan=False) + "\n"

    def writer(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    return saved.write(path, (SUFFIX,), (saved.kind(form),), writer)


def read(source: Path, form: str) -> dict[str, Any]:
    """Return what :func:`write` wrote.

    Args:
        source: A file that is there; see :func:`neoscope.patching.results.saved.reading`.
        form: Name and number of the format.

    Raises:
        PatchingError: It is of a newer format, or holds something else.
        ValueError: It is damaged; so do KeyError and TypeError say.
    """
    said: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    saved.check_format(source, said.pop("format"), form)
    return said


def from_fields(result: Any, apart: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON has them.

    Args:
        result: Of plain values and arrays.
        apart: Fields that are left out.
    """
    said = {f.name: getattr(result, f.name) for f in fields(result) if f.name not in apart}
    return {
        name: {"array": packed(x)} if isinstance(x, np.ndarray) else x for name, x in said.items()
    }


def to_fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`from_fields` was given; lists for tuples.

    Args:
        said: By name of the field.
    """
    return {
        name: unpacked(x["array"]) if isinstance(x, dict) and "array" in x else x
        for name, x in said.items()
    }
