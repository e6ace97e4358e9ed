"""A store as a map-style torch dataset that reads rows from memory-mapped files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from neoscope.store import arrays, mapping
from neoscope.store.manifest import Manifest
from neoscope.store.reading import Rows


class StoreDataset(Dataset[dict[str, Any]]):
    """Each item is one row: features as tensors, other columns as Python values.

    It can be sent to workers: each opens the files anew.

    Args:
        folder: The store's.
        manifest: The store's.
        names: The columns of an item.
        rows: Which rows there are.
    """

    def __init__(self, folder: Path, manifest: Manifest, names: list[str], rows: Rows) -> None:
        self._folder, self._manifest = folder, manifest
        self._names, self._rows = names, rows
        self._columns: dict[str, Any] = {}
        self._open()  # here, so that copies are made once and not by every worker

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not self._columns:
            self._open()
        row = int(self._rows[index])
        return {
            name: _item(column, row, self._manifest.feature_type(name) is not None)
            for name, column in self._columns.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array would be sent as what it holds.
        return {**self.__dict__, "_columns": {}}

    def _open(self) -> None:
        self._columns = {
            name: mapping.map_any(self._folder, self._manifest, name) for name in self._names
        }


def _item(column: Any, row: int, feature: bool) -> Any:
    if isinstance(column, np.ndarray):
        return torch.from_numpy(np.array(column[row]))
    value = column[row]
    if feature and value.is_valid:
        return torch.from_numpy(np.array(arrays.dense(value.values)))
    return value.as_py()
