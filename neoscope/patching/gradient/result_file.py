"""The file of an attribution: arrays in safetensors, all else as JSON in its metadata."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from neoscope.patching.gradient.result import AttributionResult
from neoscope.patching.results import saved, tensor_file
from neoscope.patching.results.axes import Axis

_FORMAT = "neoscope attribution 1"
_ARRAYS = ("values", "clean", "corrupted", "ran")
_APART = (*_ARRAYS, "components", "axes", "problem", "sums")


def save(result: AttributionResult, path: str | os.PathLike[str]) -> Path:
    """Write a result whole or not at all, and return where it stands.

    Args:
        result: The result.
        path: A ``.safetensors`` file; its folder is there.

    Raises:
        PatchingError: Another suffix, or it cannot be written.
    """
    arrays = {name: getattr(result, name) for name in _ARRAYS}
    for name, sides in result.components.items():
        for side, values in sides.items():
            arrays[f"components/{name}/{side}"] = values
    said = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in _APART
    }
    said |= {"axes": [dataclasses.asdict(axis) for axis in result.axes]}
    return tensor_file.write(path, _FORMAT, arrays, said)


def load(path: str | os.PathLike[str]) -> AttributionResult:
    """Read what :func:`save` wrote.

    Args:
        path: The file.

    Raises:
        PatchingError: There is no such file, or it is damaged or something else.
    """
    with saved.reading(path, "AttributionResult") as source:
        said, arrays = tensor_file.read(source, _FORMAT)
        components: dict[str, dict[str, np.ndarray]] = {}
        for name in sorted(name for name in arrays if name.startswith("components/")):
            _, part, side = name.split("/")
            components.setdefault(part, {})[side] = arrays.pop(name)
        axes = tuple(
            Axis(
                axis["name"],
                tuple(axis["labels"]),
                None if axis["agree"] is None else tuple(axis["agree"]),
            )
            for axis in said.pop("axes")
        )
        for side in ("clean_strings", "corrupted_strings"):
            said[side] = tuple(tuple(row) for row in said[side])
        said |= arrays | {"axes": axes, "components": components}
        return AttributionResult(**said)
