"""The report: what neoscope sees in a model, as one HTML file that needs no network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.views.report.catalogue import SECTIONS as SECTIONS
    from neoscope.views.report.parts import Section as Section
    from neoscope.views.report.reporting import Report as Report

_HOMES = {
    "SECTIONS": "neoscope.views.report.catalogue",
    "Report": "neoscope.views.report.reporting",
    "Section": "neoscope.views.report.parts",
}

__all__ = ["SECTIONS", "Report", "Section"]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neoscope.views.report' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
