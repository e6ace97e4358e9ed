"""Whether the model uses what a probe reads: effects of edits, beside those of random ones."""

from __future__ import annotations

from probes.use.amnesic import AmnesicReport, amnesic
from probes.use.causal import causal_effect
from probes.use.effects import Effect
from probes.use.report import CausalReport

__all__ = ["AmnesicReport", "CausalReport", "Effect", "amnesic", "causal_effect"]
