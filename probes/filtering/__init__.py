"""A probe as a content filter, with an audit of what it withheld and a queue for a person.

An aid to whoever reads what a model wrote before it is released, not a guarantee: a filter knows
only what its probe was shown. The names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.filtering.calibration import FilterCalibration as FilterCalibration
    from probes.filtering.content_filter import ContentFilter as ContentFilter
    from probes.filtering.review import ReviewItem as ReviewItem
    from probes.filtering.review import ReviewQueue as ReviewQueue
    from probes.filtering.screened import Screened as Screened
    from probes.filtering.screened import Withheld as Withheld

_HOMES = {
    "ContentFilter": "probes.filtering.content_filter",
    "FilterCalibration": "probes.filtering.calibration",
    "ReviewItem": "probes.filtering.review",
    "ReviewQueue": "probes.filtering.review",
    "Screened": "probes.filtering.screened",
    "Withheld": "probes.filtering.screened",
}

__all__ = [
    "ContentFilter",
    "FilterCalibration",
    "ReviewItem",
    "ReviewQueue",
    "Screened",
    "Withheld",
]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'probes.filtering' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
