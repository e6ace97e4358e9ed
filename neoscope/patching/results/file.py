"""Results on disk: JSON, or Parquet with one row a cell; written whole, read back equal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope import __version__
from neoscope.errors import PatchingError
from neoscope.json_arrays import array, numbers, packed, unpacked
from neoscope.patching.results import saved
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.table import cell_columns

if TYPE_CHECKING:
    from neoscope.patching.results.result import PatchingResult

SUFFIXES = (".json", ".parquet")
_KEY = saved.RESULT_KEY
_KINDS = ("PatchingResult", "TraceResult")
_FORMAT = 1
_PLAIN = (
    "base_name", "site", "direction", "metric", "unit", "source", "model", "fingerprint",
    "clean_strings", "corrupted_strings", "seed", "complete", "details",
)  # fmt: skip


def save(result: PatchingResult, path: str | os.PathLike[str]) -> Path:
    """Write a result, and return where it stands.

    Args:
        result: What was measured.
        path: ``.json`` or ``.parquet``; an older result is replaced, no other file is.

    Raises:
        PatchingError: Another suffix, or it cannot be written.
    """
    write = _write_json if Path(path).suffix.lower() == ".json" else _write_parquet
    return saved.write(path, SUFFIXES, _KINDS, lambda temporary: write(result, temporary))


def load(path: str | os.PathLike[str], kind: str = "PatchingResult") -> dict[str, Any]:
    """Return the constructor arguments of the result in a file.

    Args:
        path: What :func:`save` wrote.
        kind: ``"PatchingResult"``, or ``"TraceResult"`` for one that holds a trace.

    Raises:
        PatchingError: There is no such file, or it is damaged or something else.
    """
    with saved.reading(path, kind) as source:
        head, arrays = _read(source)
        if head["format"] > _FORMAT:
            raise PatchingError(
                f"{source} was written by neoscope {head['version']} in format {head['format']}; "
                f"this one reads up to {_FORMAT}: upgrade neoscope"
            )
        traced = head["details"].get("kind") == saved.TRACE
        if traced != (kind == "TraceResult"):
            raise saved.unreadable(source, kind)
        return _arguments(head, arrays)


# ---- what both formats hold -------------------------------------------------------------------


def _head(result: PatchingResult) -> dict[str, Any]:
    axes = [
        {"name": a.name, "labels": list(a.labels), "agree": a.agree and list(a.agree)}
        for a in result.axes
    ]
    sides = {"clean": result.clean, "corrupted": result.corrupted}
    return {
        "format": _FORMAT,
        "version": __version__,
        **{name: getattr(result, name) for name in _PLAIN},
        "axes": axes,
        "baselines": {name: packed(x) for name, x in sides.items()},
        "base_components": {
            name: {side: packed(x) for side, x in by_side.items()}
            for name, by_side in result.base_components.items()
        },
        "dtypes": {name: str(x.dtype) for name, x in _by_cell(result).items()},
    }


def _by_cell(result: PatchingResult) -> dict[str, NDArray[Any]]:
    """All that is [pairs, *axes]; a component's name cannot hide the metric's."""
    return {"patched": result.patched} | {
        f"component {name}": np.asarray(x) for name, x in result.components.items()
    }


def _arguments(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    axes = tuple(
        Axis(a["name"], tuple(a["labels"]), None if a["agree"] is None else tuple(a["agree"]))
        for a in head["axes"]
    )
    shape = tuple(len(axis) for axis in axes)
    grid = {
        name: arrays[name].astype(dtype).reshape(-1, *shape)
        for name, dtype in head["dtypes"].items()
    }
    plain = {name: head[name] for name in _PLAIN}
    for name in ("clean_strings", "corrupted_strings"):
        plain[name] = tuple(tuple(row) for row in plain[name])
    return {
        **plain,
        "axes": axes,
        "patched": grid.pop("patched"),
        "components": {name.removeprefix("component "): x for name, x in grid.items()},
        "clean": unpacked(head["baselines"]["clean"]),
        "corrupted": unpacked(head["baselines"]["corrupted"]),
        "base_components": {
            name: {side: unpacked(x) for side, x in by_side.items()}
            for name, by_side in head["base_components"].items()
        },
        "ran": arrays["ran"].astype(bool).reshape(shape),
    }


# ---- JSON and Parquet ---------------------------------------------------------------------------


def as_json(result: PatchingResult) -> dict[str, Any]:
    """Return all of a result as JSON has it.

    Args:
        result: What was measured.
    """
    summary = {"effect": result.mean, "stderr": result.stderr, "p": result.p_value}
    summary |= dict(zip(("low", "high"), result.interval, strict=True))
    arrays = {name: numbers(x) for name, x in _by_cell(result).items()}
    return {
        _KEY: _head(result),
        # For other readers; neoscope computes these again.
        "summary": {name: numbers(np.asarray(x)) for name, x in summary.items()},
        "arrays": {**arrays, "ran": np.asarray(result.ran).tolist()},
    }


def from_json(said: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments of the result that :func:`as_json` was given.

    Args:
        said: As JSON has it.
    """
    return _arguments(said[_KEY], {name: array(x) for name, x in said["arrays"].items()})


def _write_json(result: PatchingResult, path: Path) -> None:
    text = json.dumps(as_json(result), ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8")


def _write_parquet(result: PatchingResult, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(x) for name, x in cell_columns(result).items() if name != "patched"}
    for name, x in _by_cell(result).items():
        by_cell = np.ascontiguousarray(x.reshape(result.n_pairs, -1).T).reshape(-1)
        per_pair = pa.FixedSizeListArray.from_arrays(pa.array(by_cell), result.n_pairs)
        columns[f"pairs: {name}"] = per_pair
    head = {_KEY: json.dumps(_head(result), ensure_ascii=False, allow_nan=False)}
    table = pa.table(columns).replace_schema_metadata(head)
    pq.write_table(table, path, write_page_checksum=True)


def _read(source: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if source.suffix.lower() != ".parquet":
        said = json.loads(source.read_text(encoding="utf-8"))
        return said[_KEY], {name: array(x) for name, x in said["arrays"].items()}
    import pyarrow.parquet as pq

    table = pq.read_table(source, page_checksum_verification=True)
    head = json.loads((table.schema.metadata or {})[_KEY.encode()])
    arrays = {}
    for name in head["dtypes"]:
        column = table.column(f"pairs: {name}").combine_chunks()
        by_cell = column.values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
        arrays[name] = np.ascontiguousarray(by_cell.T)
    arrays["ran"] = table.column("ran").to_numpy()
    return head, arrays
