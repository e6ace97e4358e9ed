"""The truth card: what a trained organism does, measured exactly and slowly, with intervals."""

from __future__ import annotations

from neoscope.organism.truth.bootstrap import Bootstrap, Estimate
from neoscope.organism.truth.card import NAME, load
from neoscope.organism.truth.effects import Patching, logit_diffs

__all__ = ["NAME", "Bootstrap", "Estimate", "Patching", "load", "logit_diffs"]
