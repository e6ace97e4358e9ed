"""Views: results as figures and widgets, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope.views.dispatch import plot as plot
    from neoscope.views.figures.attention.corpus import attention_profile as attention_profile
    from neoscope.views.figures.attention.grid import attention_heads as attention_heads
    from neoscope.views.figures.attention.head import attention as attention
    from neoscope.views.figures.attention.norms import (
        norm_weighted_attention as norm_weighted_attention,
    )
    from neoscope.views.figures.attention.rolling import attention_flow as attention_flow
    from neoscope.views.figures.attention.rolling import rollout as rollout
    from neoscope.views.figures.attribution.figure import attribution as attribution
    from neoscope.views.figures.attribution.maps import attribution_heads as attribution_heads
    from neoscope.views.figures.attribution.maps import attribution_sources as attribution_sources
    from neoscope.views.figures.circuits.curves import faithfulness as faithfulness
    from neoscope.views.figures.circuits.curves import minimality as minimality
    from neoscope.views.figures.circuits.graph import circuit as circuit
    from neoscope.views.figures.circuits.paths import paths as paths
    from neoscope.views.figures.evaluation.figure import comparison as comparison
    from neoscope.views.figures.evaluation.figure import evaluation as evaluation
    from neoscope.views.figures.evaluation.identity import identity as identity
    from neoscope.views.figures.heads.composition import composition as composition
    from neoscope.views.figures.heads.map import heads as heads
    from neoscope.views.figures.lens.curves import lens_calibration as lens_calibration
    from neoscope.views.figures.lens.figure import lens as lens
    from neoscope.views.figures.lens.training import tuned_training as tuned_training
    from neoscope.views.figures.neurons.figure import top_activations as top_activations
    from neoscope.views.figures.patching.audit import audit as audit
    from neoscope.views.figures.patching.das import das as das
    from neoscope.views.figures.patching.first_look import patching_all as patching_all
    from neoscope.views.figures.patching.heatmap import patching as patching
    from neoscope.views.figures.patching.trace import trace as trace
    from neoscope.views.figures.probes.codes import codelength as codelength
    from neoscope.views.figures.probes.confusion_matrix import confusion as confusion
    from neoscope.views.figures.probes.learning import learning_curve as learning_curve
    from neoscope.views.figures.probes.permutation import permutation_test as permutation_test
    from neoscope.views.figures.probes.reliability import calibration as calibration
    from neoscope.views.figures.probes.reviewing import review as review
    from neoscope.views.figures.probes.sparse import sparse_curve as sparse_curve
    from neoscope.views.figures.probes.sweep import probes as probes
    from neoscope.views.figures.probes.use import causal_effect as causal_effect
    from neoscope.views.figures.projection.plot import projection as projection
    from neoscope.views.figures.similarity.cka import similarity as similarity
    from neoscope.views.figures.similarity.cone import anisotropy as anisotropy
    from neoscope.views.figures.similarity.cone import effective_rank as effective_rank
    from neoscope.views.figures.similarity.outliers import outlier_dimensions as outlier_dimensions
    from neoscope.views.figures.similarity.words import nearest_neighbours as nearest_neighbours
    from neoscope.views.figures.training.curve import training as training
    from neoscope.views.figures.weights.embedding import (
        embedding_statistics as embedding_statistics,
    )
    from neoscope.views.figures.weights.svd import svd_reading as svd_reading
    from neoscope.views.figures.words.attribution import input_attribution as input_attribution
    from neoscope.views.figures.words.generated import generation as generation
    from neoscope.views.figures.words.losses import losses as losses
    from neoscope.views.microscope import Microscope as Microscope
    from neoscope.views.report.reporting import Report as Report
    from neoscope.views.saving import save as save
    from neoscope.views.theme import dark as dark

_HOMES = {
    "Microscope": "neoscope.views.microscope",
    "Report": "neoscope.views.report.reporting",
    "anisotropy": "neoscope.views.figures.similarity.cone",
    "attention": "neoscope.views.figures.attention.head",
    "attention_flow": "neoscope.views.figures.attention.rolling",
    "attention_heads": "neoscope.views.figures.attention.grid",
    "attention_profile": "neoscope.views.figures.attention.corpus",
    "attribution": "neoscope.views.figures.attribution.figure",
    "attribution_heads": "neoscope.views.figures.attribution.maps",
    "attribution_sources": "neoscope.views.figures.attribution.maps",
    "audit": "neoscope.views.figures.patching.audit",
    "calibration": "neoscope.views.figures.probes.reliability",
    "causal_effect": "neoscope.views.figures.probes.use",
    "circuit": "neoscope.views.figures.circuits.graph",
    "codelength": "neoscope.views.figures.probes.codes",
    "comparison": "neoscope.views.figures.evaluation.figure",
    "composition": "neoscope.views.figures.heads.composition",
    "confusion": "neoscope.views.figures.probes.confusion_matrix",
    "dark": "neoscope.views.theme",
    "das": "neoscope.views.figures.patching.das",
    "effective_rank": "neoscope.views.figures.similarity.cone",
    "embedding_statistics": "neoscope.views.figures.weights.embedding",
    "evaluation": "neoscope.views.figures.evaluation.figure",
    "faithfulness": "neoscope.views.figures.circuits.curves",
    "generation": "neoscope.views.figures.words.generated",
    "heads": "neoscope.views.figures.heads.map",
    "identity": "neoscope.views.figures.evaluation.identity",
    "input_attribution": "neoscope.views.figures.words.attribution",
    "learning_curve": "neoscope.views.figures.probes.learning",
    "lens": "neoscope.views.figures.lens.figure",
    "lens_calibration": "neoscope.views.figures.lens.curves",
    "losses": "neoscope.views.figures.words.losses",
    "minimality": "neoscope.views.figures.circuits.curves",
    "nearest_neighbours": "neoscope.views.figures.similarity.words",
    "norm_weighted_attention": "neoscope.views.figures.attention.norms",
    "outlier_dimensions": "neoscope.views.figures.similarity.outliers",
    "patching": "neoscope.views.figures.patching.heatmap",
    "patching_all": "neoscope.views.figures.patching.first_look",
    "paths": "neoscope.views.figures.circuits.paths",
    "permutation_test": "neoscope.views.figures.probes.permutation",
    "plot": "neoscope.views.dispatch",
    "probes": "neoscope.views.figures.probes.sweep",
    "projection": "neoscope.views.figures.projection.plot",
    "review": "neoscope.views.figures.probes.reviewing",
    "rollout": "neoscope.views.figures.attention.rolling",
    "save": "neoscope.views.saving",
    "similarity": "neoscope.views.figures.similarity.cka",
    "sparse_curve": "neoscope.views.figures.probes.sparse",
    "svd_reading": "neoscope.views.figures.weights.svd",
    "top_activations": "neoscope.views.figures.neurons.figure",
    "trace": "neoscope.views.figures.patching.trace",
    "training": "neoscope.views.figures.training.curve",
    "tuned_training": "neoscope.views.figures.lens.training",
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
    "calibration",
    "causal_effect",
    "circuit",
    "codelength",
    "comparison",
    "composition",
    "confusion",
    "dark",
    "das",
    "effective_rank",
    "embedding_statistics",
    "evaluation",
    "faithfulness",
    "generation",
    "heads",
    "identity",
    "input_attribution",
    "learning_curve",
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
    "permutation_test",
    "plot",
    "probes",
    "projection",
    "review",
    "rollout",
    "save",
    "similarity",
    "sparse_curve",
    "svd_reading",
    "top_activations",
    "trace",
    "training",
    "tuned_training",
]

__getattr__, __dir__ = public_names(__name__, _HOMES)
