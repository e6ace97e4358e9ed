"""Patching: exact sweeps, paths and gradients, with the statistics to publish them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope.patching.circuits.circuit import Circuit as Circuit
    from neoscope.patching.circuits.faithfulness import completeness as completeness
    from neoscope.patching.circuits.faithfulness import faithfulness as faithfulness
    from neoscope.patching.circuits.graph import Edge as Edge
    from neoscope.patching.circuits.graph import Graph as Graph
    from neoscope.patching.circuits.minimality import minimality as minimality
    from neoscope.patching.circuits.result import Faithfulness as Faithfulness
    from neoscope.patching.circuits.result import Minimality as Minimality
    from neoscope.patching.engine.cells import SITES as SITES
    from neoscope.patching.engine.cells import Cell as Cell
    from neoscope.patching.engine.exact import Exact as Exact
    from neoscope.patching.engine.exact import exact_effects as exact_effects
    from neoscope.patching.engine.progress import Progress as Progress
    from neoscope.patching.gradient.attribution import attribution as attribution
    from neoscope.patching.gradient.audit import Audit as Audit
    from neoscope.patching.gradient.edge_scores import EdgeScores as EdgeScores
    from neoscope.patching.gradient.edges import eap as eap
    from neoscope.patching.gradient.edges import eap_ig as eap_ig
    from neoscope.patching.gradient.result import AttributionResult as AttributionResult
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
    from neoscope.patching.paths.path_patching import exact_edges as exact_edges
    from neoscope.patching.paths.path_patching import path_patch as path_patch
    from neoscope.patching.prompts.pairs import Prompts as Prompts
    from neoscope.patching.prompts.pairs import read_prompts as read_prompts
    from neoscope.patching.results.axes import Axis as Axis
    from neoscope.patching.results.loading import load as load
    from neoscope.patching.results.result import PatchingResult as PatchingResult
    from neoscope.patching.sources.reading import Fixed as Fixed
    from neoscope.patching.sources.reading import OtherPrompt as OtherPrompt
    from neoscope.patching.sources.reading import OtherRun as OtherRun
    from neoscope.patching.sources.reading import Subspace as Subspace
    from neoscope.patching.sources.source import Source as Source
    from neoscope.patching.sources.statistics import Mean as Mean
    from neoscope.patching.sources.statistics import Noise as Noise
    from neoscope.patching.sources.statistics import Resample as Resample
    from neoscope.patching.subspace.result import DasControls as DasControls
    from neoscope.patching.subspace.result import DasResult as DasResult
    from neoscope.patching.subspace.search import das as das
    from neoscope.patching.sweeps.ablation import ablate as ablate
    from neoscope.patching.sweeps.first_look import Every as Every
    from neoscope.patching.sweeps.first_look import every as every
    from neoscope.patching.sweeps.sweeping import sweep as sweep
    from neoscope.patching.tracing.noising import embedding_sigma as embedding_sigma
    from neoscope.patching.tracing.result import TraceResult as TraceResult
    from neoscope.patching.tracing.tracing import trace as trace

_HOMES = {
    "AttributionResult": "neoscope.patching.gradient.result",
    "Audit": "neoscope.patching.gradient.audit",
    "Axis": "neoscope.patching.results.axes",
    "Cell": "neoscope.patching.engine.cells",
    "Circuit": "neoscope.patching.circuits.circuit",
    "DasControls": "neoscope.patching.subspace.result",
    "DasResult": "neoscope.patching.subspace.result",
    "Edge": "neoscope.patching.circuits.graph",
    "EdgeScores": "neoscope.patching.gradient.edge_scores",
    "Every": "neoscope.patching.sweeps.first_look",
    "Exact": "neoscope.patching.engine.exact",
    "Faithfulness": "neoscope.patching.circuits.result",
    "Fixed": "neoscope.patching.sources.reading",
    "Graph": "neoscope.patching.circuits.graph",
    "Mean": "neoscope.patching.sources.statistics",
    "Metric": "neoscope.patching.metrics",
    "Minimality": "neoscope.patching.circuits.result",
    "MissingSpaceWarning": "neoscope.patching.metrics.words",
    "Noise": "neoscope.patching.sources.statistics",
    "OtherPrompt": "neoscope.patching.sources.reading",
    "OtherRun": "neoscope.patching.sources.reading",
    "PatchingResult": "neoscope.patching.results.result",
    "Progress": "neoscope.patching.engine.progress",
    "Prompts": "neoscope.patching.prompts.pairs",
    "Resample": "neoscope.patching.sources.statistics",
    "SITES": "neoscope.patching.engine.cells",
    "Source": "neoscope.patching.sources.source",
    "Subspace": "neoscope.patching.sources.reading",
    "TraceResult": "neoscope.patching.tracing.result",
    "ablate": "neoscope.patching.sweeps.ablation",
    "as_metric": "neoscope.patching.metrics",
    "attribution": "neoscope.patching.gradient.attribution",
    "completeness": "neoscope.patching.circuits.faithfulness",
    "das": "neoscope.patching.subspace.search",
    "eap": "neoscope.patching.gradient.edges",
    "eap_ig": "neoscope.patching.gradient.edges",
    "embedding_sigma": "neoscope.patching.tracing.noising",
    "every": "neoscope.patching.sweeps.first_look",
    "exact_edges": "neoscope.patching.paths.path_patching",
    "exact_effects": "neoscope.patching.engine.exact",
    "faithfulness": "neoscope.patching.circuits.faithfulness",
    "kl": "neoscope.patching.metrics",
    "load": "neoscope.patching.results.loading",
    "log_prob": "neoscope.patching.metrics",
    "logit": "neoscope.patching.metrics",
    "logit_diff": "neoscope.patching.metrics",
    "loss": "neoscope.patching.metrics",
    "minimality": "neoscope.patching.circuits.minimality",
    "normalised": "neoscope.patching.metrics",
    "path_patch": "neoscope.patching.paths.path_patching",
    "probability": "neoscope.patching.metrics",
    "rank": "neoscope.patching.metrics",
    "read_prompts": "neoscope.patching.prompts.pairs",
    "sweep": "neoscope.patching.sweeps.sweeping",
    "trace": "neoscope.patching.tracing.tracing",
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

__getattr__, __dir__ = public_names(__name__, _HOMES)
