"""Patching: exact sweeps, paths and gradients, with the statistics to publish them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.patching.ablation import ablate as ablate
    from neoscope.patching.alignment_search import das as das
    from neoscope.patching.axes import Axis as Axis
    from neoscope.patching.cells import SITES as SITES
    from neoscope.patching.cells import Cell as Cell
    from neoscope.patching.das_result import DasControls as DasControls
    from neoscope.patching.das_result import DasResult as DasResult
    from neoscope.patching.exact import Exact as Exact
    from neoscope.patching.exact import exact_effects as exact_effects
    from neoscope.patching.first_look import Every as Every
    from neoscope.patching.first_look import every as every
    from neoscope.patching.gradient.attribution import attribution as attribution
    from neoscope.patching.gradient.audit import Audit as Audit
    from neoscope.patching.gradient.circuit import Circuit as Circuit
    from neoscope.patching.gradient.edge_scores import EdgeScores as EdgeScores
    from neoscope.patching.gradient.edges import eap as eap
    from neoscope.patching.gradient.edges import eap_ig as eap_ig
    from neoscope.patching.gradient.faithfulness import Faithfulness as Faithfulness
    from neoscope.patching.gradient.faithfulness import completeness as completeness
    from neoscope.patching.gradient.faithfulness import faithfulness as faithfulness
    from neoscope.patching.gradient.graph import Edge as Edge
    from neoscope.patching.gradient.graph import Graph as Graph
    from neoscope.patching.gradient.minimality import Minimality as Minimality
    from neoscope.patching.gradient.minimality import minimality as minimality
    from neoscope.patching.gradient.result import AttributionResult as AttributionResult
    from neoscope.patching.loading import load as load
    from neoscope.patching.metrics import Metric as Metric
    from neoscope.patching.metrics import as_metric as as_metric
    from neoscope.patching.metrics import kl as kl
    from neoscope.patching.metrics import log_prob as log_prob
    from neoscope.patching.metrics import logit as logit
    from neoscope.patching.metrics import logit_diff as logit_diff
    from neoscope.patching.metrics import loss as loss
    from neoscope.patching.metrics import normalised as normalised
    from neoscope.patching.metrics import probability as probability
    from neoscope.patching.metrics import rank as rank
    from neoscope.patching.metrics.words import MissingSpaceWarning as MissingSpaceWarning
    from neoscope.patching.noising import embedding_sigma as embedding_sigma
    from neoscope.patching.paths.path_patching import exact_edges as exact_edges
    from neoscope.patching.paths.path_patching import path_patch as path_patch
    from neoscope.patching.progress import Progress as Progress
    from neoscope.patching.prompts import Prompts as Prompts
    from neoscope.patching.prompts import read_prompts as read_prompts
    from neoscope.patching.result import PatchingResult as PatchingResult
    from neoscope.patching.source import Source as Source
    from neoscope.patching.source_statistics import Mean as Mean
    from neoscope.patching.source_statistics import Noise as Noise
    from neoscope.patching.source_statistics import Resample as Resample
    from neoscope.patching.sources import Fixed as Fixed
    from neoscope.patching.sources import OtherPrompt as OtherPrompt
    from neoscope.patching.sources import OtherRun as OtherRun
    from neoscope.patching.sources import Subspace as Subspace
    from neoscope.patching.sweeping import sweep as sweep
    from neoscope.patching.trace_result import TraceResult as TraceResult
    from neoscope.patching.tracing import trace as trace

_HOMES = {
    "AttributionResult": "neoscope.patching.gradient.result",
    "Audit": "neoscope.patching.gradient.audit",
    "Axis": "neoscope.patching.axes",
    "Cell": "neoscope.patching.cells",
    "Circuit": "neoscope.patching.gradient.circuit",
    "DasControls": "neoscope.patching.das_result",
    "DasResult": "neoscope.patching.das_result",
    "Edge": "neoscope.patching.gradient.graph",
    "EdgeScores": "neoscope.patching.gradient.edge_scores",
    "Every": "neoscope.patching.first_look",
    "Exact": "neoscope.patching.exact",
    "Faithfulness": "neoscope.patching.gradient.faithfulness",
    "Fixed": "neoscope.patching.sources",
    "Graph": "neoscope.patching.gradient.graph",
    "Mean": "neoscope.patching.source_statistics",
    "Metric": "neoscope.patching.metrics",
    "Minimality": "neoscope.patching.gradient.minimality",
    "MissingSpaceWarning": "neoscope.patching.metrics.words",
    "Noise": "neoscope.patching.source_statistics",
    "OtherPrompt": "neoscope.patching.sources",
    "OtherRun": "neoscope.patching.sources",
    "PatchingResult": "neoscope.patching.result",
    "Progress": "neoscope.patching.progress",
    "Prompts": "neoscope.patching.prompts",
    "Resample": "neoscope.patching.source_statistics",
    "SITES": "neoscope.patching.cells",
    "Source": "neoscope.patching.source",
    "Subspace": "neoscope.patching.sources",
    "TraceResult": "neoscope.patching.trace_result",
    "ablate": "neoscope.patching.ablation",
    "as_metric": "neoscope.patching.metrics",
    "attribution": "neoscope.patching.gradient.attribution",
    "completeness": "neoscope.patching.gradient.faithfulness",
    "das": "neoscope.patching.alignment_search",
    "eap": "neoscope.patching.gradient.edges",
    "eap_ig": "neoscope.patching.gradient.edges",
    "embedding_sigma": "neoscope.patching.noising",
    "every": "neoscope.patching.first_look",
    "exact_edges": "neoscope.patching.paths.path_patching",
    "exact_effects": "neoscope.patching.exact",
    "faithfulness": "neoscope.patching.gradient.faithfulness",
    "kl": "neoscope.patching.metrics",
    "load": "neoscope.patching.loading",
    "log_prob": "neoscope.patching.metrics",
    "logit": "neoscope.patching.metrics",
    "logit_diff": "neoscope.patching.metrics",
    "loss": "neoscope.patching.metrics",
    "minimality": "neoscope.patching.gradient.minimality",
    "normalised": "neoscope.patching.metrics",
    "path_patch": "neoscope.patching.paths.path_patching",
    "probability": "neoscope.patching.metrics",
    "rank": "neoscope.patching.metrics",
    "read_prompts": "neoscope.patching.prompts",
    "sweep": "neoscope.patching.sweeping",
    "trace": "neoscope.patching.tracing",
}

__all__ = [
    "SITES",
    "AttributionResult",
    "Audit",
    "Axis",
    "Cell",
    "Circuit",
    "DasControls",
    "DasResult",
    "Edge",
    "EdgeScores",
    "Every",
    "Exact",
    "Faithfulness",
    "Fixed",
    "Graph",
    "Mean",
    "Metric",
    "Minimality",
    "MissingSpaceWarning",
    "Noise",
    "OtherPrompt",
    "OtherRun",
    "PatchingResult",
    "Progress",
    "Prompts",
    "Resample",
    "Source",
    "Subspace",
    "TraceResult",
    "ablate",
    "as_metric",
    "attribution",
    "completeness",
    "das",
    "eap",
    "eap_ig",
    "embedding_sigma",
    "every",
    "exact_edges",
    "exact_effects",
    "faithfulness",
    "kl",
    "load",
    "log_prob",
    "logit",
    "logit_diff",
    "loss",
    "minimality",
    "normalised",
    "path_patch",
    "probability",
    "rank",
    "read_prompts",
    "sweep",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neoscope.patching' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
