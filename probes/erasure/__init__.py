"""Erasing a concept from representations, so that no linear probe can find it."""

from __future__ import annotations

from probes.erasure.eraser import Eraser
from probes.erasure.leace import LeaceFitter, fit_leace, fit_leace_layers
from probes.erasure.mean_projection import fit_mean_projection
from probes.erasure.scrubbing import Scrubbing, scrub

__all__ = [
    "Eraser",
    "LeaceFitter",
    "Scrubbing",
    "fit_leace",
    "fit_leace_layers",
    "fit_mean_projection",
    "scrub",
]
