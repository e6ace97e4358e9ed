"""The file of edge scores: arrays in safetensors, all else as JSON in its metadata."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from neoscope.patching.circuits.graph import Graph
from neoscope.patching.gradient.edge_scores import EdgeScores
from neoscope.patching.results import saved, tensor_file

_FORMAT = "neoscope edge scores 1"
_ARRAYS = ("mean", "stderr", "values", "clean", "corrupted")


def save(result: EdgeScores, path: str | os.PathLike[str]) -> Path:
    """Write scores whole or not at all, and return where they stand.

    Args:
        result: The scores.
        path: A ``.safetensors`` file; its folder is there.

    Raises:
        PatchingError: Another suffix, or it cannot be written.
    """
    kept = {name: getattr(result, name) for name in _ARRAYS}
    said = {
        field.name: getattr(result, field.name)
        for field in fields(result)
        if field.name not in (*_ARRAYS, "graph", "exact")
    }
    said |= {"n_layers": result.graph.n_layers, "n_heads": result.graph.n_heads}
    arrays = {name: x for name, x in kept.items() if x is not None}
    return tensor_file.write(path, _FORMAT, arrays, said)


def load(path: str | os.PathLike[str]) -> EdgeScores:
    """Read what :func:`save` wrote.

    Args:
        path: The file.

    Raises:
        PatchingError: There is no such file, or it is damaged or something else.
    """
    with saved.reading(path, "EdgeScores") as source:
        said, arrays = tensor_file.read(source, _FORMAT)
        graph = Graph(said.pop("n_layers"), said.pop("n_heads"))
        kept: dict[str, Any] = {name: arrays.get(name) for name in _ARRAYS}
        return EdgeScores(graph=graph, **kept, **said)
