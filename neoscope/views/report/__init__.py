"""The report: what neoscope sees in a model, as one HTML file that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

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

__getattr__, __dir__ = public_names(__name__, _HOMES)
