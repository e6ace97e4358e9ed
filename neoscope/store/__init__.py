"""A folder of features: a manifest and shards that are written whole, resumed and read lazily.

Parquet shards need nothing of neoscope to be read: pandas, polars, duckdb, Spark and HF datasets
take ``features/*.parquet`` as it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.store.feature_store import FeatureStore as FeatureStore
    from neoscope.store.writer import StoreWriter as StoreWriter

_HOMES = {
    "FeatureStore": "neoscope.store.feature_store",
    "StoreWriter": "neoscope.store.writer",
}

__all__ = ["FeatureStore", "StoreWriter"]


def __getattr__(name: str) -> Any:
    """Import a public name, and Arrow with it, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neoscope.store' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
