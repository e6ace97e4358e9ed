"""Feature export: the hidden states of a corpus, as a table that any classifier can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope.export.cutting import TruncationWarning as TruncationWarning
    from neoscope.export.engines import LocalEngine as LocalEngine
    from neoscope.export.estimating import Estimate as Estimate
    from neoscope.export.estimating import estimate as estimate
    from neoscope.export.features import Features as Features
    from neoscope.export.featurizer import Featurizer as Featurizer
    from neoscope.export.featurizer import clear_cache as clear_cache
    from neoscope.export.job import ExportReport as ExportReport
    from neoscope.export.job import to_store as to_store
    from neoscope.export.memory import extract as extract
    from neoscope.export.progress import Progress as Progress
    from neoscope.export.ray_engine import RayEngine as RayEngine
    from neoscope.export.spec import FeatureSpec as FeatureSpec

_HOMES = {
    "Estimate": "neoscope.export.estimating",
    "ExportReport": "neoscope.export.job",
    "FeatureSpec": "neoscope.export.spec",
    "Features": "neoscope.export.features",
    "Featurizer": "neoscope.export.featurizer",
    "LocalEngine": "neoscope.export.engines",
    "Progress": "neoscope.export.progress",
    "RayEngine": "neoscope.export.ray_engine",
    "TruncationWarning": "neoscope.export.cutting",
    "clear_cache": "neoscope.export.featurizer",
    "estimate": "neoscope.export.estimating",
    "extract": "neoscope.export.memory",
    "to_store": "neoscope.export.job",
}

__all__ = [
    "Estimate",
    "ExportReport",
    "FeatureSpec",
    "Features",
    "Featurizer",
    "LocalEngine",
    "Progress",
    "RayEngine",
    "TruncationWarning",
    "clear_cache",
    "estimate",
    "extract",
    "to_store",
]

__getattr__, __dir__ = public_names(__name__, _HOMES)
