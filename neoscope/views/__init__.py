"""Views: results as figures and widgets, for notebooks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.views.attention_corpus import attention_profile as attention_profile
    from neoscope.views.attention_grid import attention_heads as attention_heads
    from neoscope.views.attention_head import attention as attention
    from neoscope.views.attention_norms import norm_weighted_attention as norm_weighted_attention
    from neoscope.views.attribution_figure import attribution as attribution
    from neoscope.views.attribution_maps import attribution_heads as attribution_heads
    from neoscope.views.attribution_maps import attribution_sources as attribution_sources
    from neoscope.views.circuit_curves import faithfulness as faithfulness
    from neoscope.views.circuit_curves import minimality as minimality
    from neoscope.views.circuit_graph import circuit as circuit
    from neoscope.views.circuit_paths import paths as paths
    from neoscope.views.confusion_matrix import confusion as confusion
    from neoscope.views.dimensions_cone import anisotropy as anisotropy
    from neoscope.views.dimensions_cone import effective_rank as effective_rank
    from neoscope.views.dimensions_outliers import outlier_dimensions as outlier_dimensions
    from neoscope.views.dispatch import plot as plot
    from neoscope.views.evaluation_figure import comparison as comparison
    from neoscope.views.evaluation_figure import evaluation as evaluation
    from neoscope.views.head_composition import composition as composition
    from neoscope.views.head_map import heads as heads
    from neoscope.views.lens_curves import lens_calibration as lens_calibration
    from neoscope.views.lens_figure import lens as lens
    from neoscope.views.lens_training import tuned_training as tuned_training
    from neoscope.views.microscope import Microscope as Microscope
    from neoscope.views.neuron_figure import top_activations as top_activations
    from neoscope.views.patching_audit import audit as audit
    from neoscope.views.patching_das import das as das
    from neoscope.views.patching_first_look import patching_all as patching_all
    from neoscope.views.patching_heatmap import patching as patching
    from neoscope.views.patching_trace import trace as trace
    from neoscope.views.probe_sweep import probes as probes
    from neoscope.views.probe_use import causal_effect as causal_effect
    from neoscope.views.projection_plot import projection as projection
    from neoscope.views.report.reporting import Report as Report
    from neoscope.views.reviewing import review as review
    from neoscope.views.rolling import attention_flow as attention_flow
    from neoscope.views.rolling import rollout as rollout
    from neoscope.views.saving import save as save
    from neoscope.views.similarity_cka import similarity as similarity
    from neoscope.views.similarity_words import nearest_neighbours as nearest_neighbours
    from neoscope.views.theme import dark as dark
    from neoscope.views.training_curve import training as training
    from neoscope.views.words_attribution import input_attribution as input_attribution
    from neoscope.views.words_generated import generation as generation
    from neoscope.views.words_losses import losses as losses

_HOMES = {
    "Microscope": "neoscope.views.microscope",
    "Report": "neoscope.views.report.reporting",
    "anisotropy": "neoscope.views.dimensions_cone",
    "attention": "neoscope.views.attention_head",
    "attention_flow": "neoscope.views.rolling",
    "attention_heads": "neoscope.views.attention_grid",
    "attention_profile": "neoscope.views.attention_corpus",
    "attribution": "neoscope.views.attribution_figure",
    "attribution_heads": "neoscope.views.attribution_maps",
    "attribution_sources": "neoscope.views.attribution_maps",
    "audit": "neoscope.views.patching_audit",
    "causal_effect": "neoscope.views.probe_use",
    "circuit": "neoscope.views.circuit_graph",
    "comparison": "neoscope.views.evaluation_figure",
    "composition": "neoscope.views.head_composition",
    "confusion": "neoscope.views.confusion_matrix",
    "dark": "neoscope.views.theme",
    "das": "neoscope.views.patching_das",
    "effective_rank": "neoscope.views.dimensions_cone",
    "evaluation": "neoscope.views.evaluation_figure",
    "faithfulness": "neoscope.views.circuit_curves",
    "generation": "neoscope.views.words_generated",
    "heads": "neoscope.views.head_map",
    "input_attribution": "neoscope.views.words_attribution",
    "lens": "neoscope.views.lens_figure",
    "lens_calibration": "neoscope.views.lens_curves",
    "losses": "neoscope.views.words_losses",
    "minimality": "neoscope.views.circuit_curves",
    "nearest_neighbours": "neoscope.views.similarity_words",
    "norm_weighted_attention": "neoscope.views.attention_norms",
    "outlier_dimensions": "neoscope.views.dimensions_outliers",
    "patching": "neoscope.views.patching_heatmap",
    "patching_all": "neoscope.views.patching_first_look",
    "paths": "neoscope.views.circuit_paths",
    "plot": "neoscope.views.dispatch",
    "probes": "neoscope.views.probe_sweep",
    "projection": "neoscope.views.projection_plot",
    "review": "neoscope.views.reviewing",
    "rollout": "neoscope.views.rolling",
    "save": "neoscope.views.saving",
    "similarity": "neoscope.views.similarity_cka",
    "top_activations": "neoscope.views.neuron_figure",
    "trace": "neoscope.views.patching_trace",
    "training": "neoscope.views.training_curve",
    "tuned_training": "neoscope.views.lens_training",
}

__all__ = [
    "Microscope",
    "Report",
    "anisotropy",
    "attention",
    "attention_flow",
    "attention_heads",
    "attention_profile",
    "attribution",
    "attribution_heads",
    "attribution_sources",
    "audit",
    "causal_effect",
    "circuit",
    "comparison",
    "composition",
    "confusion",
    "dark",
    "das",
    "effective_rank",
    "evaluation",
    "faithfulness",
    "generation",
    "heads",
    "input_attribution",
    "lens",
    "lens_calibration",
    "losses",
    "minimality",
    "nearest_neighbours",
    "norm_weighted_attention",
    "outlier_dimensions",
    "patching",
    "patching_all",
    "paths",
    "plot",
    "probes",
    "projection",
    "review",
    "rollout",
    "save",
    "similarity",
    "top_activations",
    "trace",
    "training",
    "tuned_training",
]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neoscope.views' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
