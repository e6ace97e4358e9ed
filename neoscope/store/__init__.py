"""A folder of features: a manifest and shards that are written whole, resumed and read lazily.

Parquet shards need nothing of neoscope to be read: pandas, pyarrow, Spark and HF datasets take the
folder as it is, polars and duckdb ``features/*.parquet``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope.store.feature_store import FeatureStore as FeatureStore
    from neoscope.store.writer import StoreWriter as StoreWriter

_HOMES = {
    "FeatureStore": "neoscope.store.feature_store",
    "StoreWriter": "neoscope.store.writer",
}

__all__ = ["FeatureStore", "StoreWriter"]

__getattr__, __dir__ = public_names(__name__, _HOMES)
