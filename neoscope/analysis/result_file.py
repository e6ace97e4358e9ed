"""Results on disk: JSON, or safetensors with a JSON header; written whole, read back equal."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neoscope import __version__
from neoscope.analysis.result import Result
from neoscope.errors import AnalysisError
from neoscope.files import atomic
from neoscope.json_arrays import packed, unpacked

if TYPE_CHECKING:
    GivenPath = str | os.PathLike[str]
else:
    # Checked where it is read, with an error that says what was found instead.
    GivenPath = Any

SUFFIXES = (".json", ".safetensors")
_KEY = "neoscope_analysis"
_FORMAT = 1
Found = TypeVar("Found", bound=Result)


def save(result: Result, path: GivenPath) -> Path:
    """Write a result; an older one is replaced.

    Raises:
        AnalysisError: Another suffix, or it cannot be written.
    """
    target = _path(path, "save")
    if target.suffix.lower() not in SUFFIXES:
        raise AnalysisError(
            f"{target.name!r} ends in neither .json nor .safetensors, which a result is saved as; "
            "for a table write to_dataframe().to_parquet(path) or .to_csv(path)"
        )
    fields = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    arrays = {name: x for name, x in fields.items() if isinstance(x, np.ndarray)}
    plain = {name: x for name, x in fields.items() if name not in arrays}
    head = {
        "format": _FORMAT,
        "version": __version__,
        "kind": type(result).__name__,
        "fields": plain,
    }
    try:
        with atomic(target) as temporary:
            _write(target.suffix.lower(), temporary, head, arrays)
    except OSError as error:
        raise AnalysisError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _path(path: object, what: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise AnalysisError(
            f"{what} takes the path of a .json or .safetensors file; found {type(path).__name__}"
        )
    return Path(path).expanduser()


def _write(suffix: str, path: Path, head: dict[str, Any], arrays: dict[str, Any]) -> None:
    if suffix == ".json":
        said = {_KEY: head, "arrays": {name: packed(x) for name, x in arrays.items()}}
        path.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
        return
    from safetensors.numpy import save_file

    kept = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    save_file(kept, path, metadata={_KEY: json.dumps(head, ensure_ascii=False)})


def load(path: GivenPath) -> Result:
    """Read a result that an analysis saved, as the class that it was.

    Args:
        path: What ``save`` wrote.

    Raises:
        AnalysisError: There is no such file, or it is damaged, newer, or something else.
    """
    source = _path(path, "load")
    if not source.is_file():
        raise AnalysisError(f"there is no file {source}")
    try:
        head, arrays = _read(source)
        kind, version = str(head["kind"]), head["version"]
        if head["format"] > _FORMAT:
            raise AnalysisError(
                f"{source} was written by neoscope {version} in format {head['format']}; this one "
                f"reads up to {_FORMAT}: upgrade neoscope"
            )
        cls = _class(kind)
        if cls is None:
            raise AnalysisError(f"{source} holds a {kind!r}, which is no result of this neoscope")
        return cls(**{name: _frozen(x) for name, x in head["fields"].items()}, **arrays)
    except AnalysisError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:100]
        raise AnalysisError(
            f"{source} is damaged or no result of neoscope's analysis: {type(error).__name__}: "
            f"{said}"
        ) from error


def _class(kind: str) -> type[Result] | None:
    """The result class of that name; importing its home makes it known."""
    from neoscope import analysis

    if kind in analysis.__all__:
        getattr(analysis, kind)
    return Result.kinds.get(kind)


def _read(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if source.suffix.lower() != ".safetensors":
        said = json.loads(source.read_text(encoding="utf-8"))
        return said[_KEY], {name: unpacked(x) for name, x in said["arrays"].items()}
    from safetensors import safe_open

    with safe_open(source, framework="numpy") as file:
        head = json.loads(file.metadata()[_KEY])
        return head, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _frozen(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value
