"""Featurizer, a scikit-learn transformer, and the cache of what it has computed."""

from neoscope.export.featurizer.estimator import Featurizer, clear_cache

__all__ = ["Featurizer", "clear_cache"]
