"""Readings of a model: lenses, attribution, head scores, rollout, similarity, neurons, weights.

Each takes a cache (or a model and texts) and returns a frozen result that prints itself, has units
and labels, ``to_dataframe()`` and ``save()``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.analysis import metrics as metrics
    from neoscope.analysis.attribution_direct import ATTRIBUTION_SITES as ATTRIBUTION_SITES
    from neoscope.analysis.attribution_direct import (
        direct_logit_attribution as direct_logit_attribution,
    )
    from neoscope.analysis.attribution_result import Attribution as Attribution
    from neoscope.analysis.circuit_composition import Composition as Composition
    from neoscope.analysis.circuit_composition import composition as composition
    from neoscope.analysis.circuit_svd import SvdReading as SvdReading
    from neoscope.analysis.circuit_svd import svd_reading as svd_reading
    from neoscope.analysis.circuits import ov_circuit as ov_circuit
    from neoscope.analysis.circuits import qk_circuit as qk_circuit
    from neoscope.analysis.embedding_figures import EmbeddingStatistics as EmbeddingStatistics
    from neoscope.analysis.embedding_figures import embedding_statistics as embedding_statistics
    from neoscope.analysis.embedding_near import NearestNeighbours as NearestNeighbours
    from neoscope.analysis.embedding_near import nearest_neighbours as nearest_neighbours
    from neoscope.analysis.head_kinds import HEAD_SCORES as HEAD_SCORES
    from neoscope.analysis.head_measuring import heads as heads
    from neoscope.analysis.head_norms import NormWeightedAttention as NormWeightedAttention
    from neoscope.analysis.head_norms import norm_weighted_attention as norm_weighted_attention
    from neoscope.analysis.head_profile import AttentionProfile as AttentionProfile
    from neoscope.analysis.head_profiling import attention_profile as attention_profile
    from neoscope.analysis.head_scores import HeadScores as HeadScores
    from neoscope.analysis.input_gradients import input_attribution as input_attribution
    from neoscope.analysis.input_result import InputAttribution as InputAttribution
    from neoscope.analysis.lens_reading import logit_lens as logit_lens
    from neoscope.analysis.lens_reading import tuned_lens as tuned_lens
    from neoscope.analysis.lens_result import LensResult as LensResult
    from neoscope.analysis.loss_reading import token_losses as token_losses
    from neoscope.analysis.loss_result import TokenLosses as TokenLosses
    from neoscope.analysis.neuron_contexts import top_activations as top_activations
    from neoscope.analysis.neuron_result import TopActivations as TopActivations
    from neoscope.analysis.result import Result as Result
    from neoscope.analysis.result_file import load as load
    from neoscope.analysis.rolling_flow import attention_flow as attention_flow
    from neoscope.analysis.rolling_out import rollout as rollout
    from neoscope.analysis.rolling_result import AttentionFlow as AttentionFlow
    from neoscope.analysis.rolling_result import Rollout as Rollout
    from neoscope.analysis.similar_cka import StreamingCKA as StreamingCKA
    from neoscope.analysis.similar_cka import cka as cka
    from neoscope.analysis.similar_cosines import Anisotropy as Anisotropy
    from neoscope.analysis.similar_cosines import anisotropy as anisotropy
    from neoscope.analysis.similar_layers import Similarity as Similarity
    from neoscope.analysis.similar_layers import similarity as similarity
    from neoscope.analysis.similar_moments import Moments as Moments
    from neoscope.analysis.similar_outliers import OutlierDimensions as OutlierDimensions
    from neoscope.analysis.similar_outliers import outlier_dimensions as outlier_dimensions
    from neoscope.analysis.similar_rank import EffectiveRank as EffectiveRank
    from neoscope.analysis.similar_rank import effective_rank as effective_rank
    from neoscope.analysis.tuned_evaluation import LensEvaluation as LensEvaluation
    from neoscope.analysis.tuned_weights import TunedLens as TunedLens
    from neoscope.analysis.weight_views import WeightView as WeightView
    from neoscope.analysis.weight_views import weight_view as weight_view

_HOMES = {
    "ATTRIBUTION_SITES": "neoscope.analysis.attribution_direct",
    "Anisotropy": "neoscope.analysis.similar_cosines",
    "AttentionFlow": "neoscope.analysis.rolling_result",
    "AttentionProfile": "neoscope.analysis.head_profile",
    "Attribution": "neoscope.analysis.attribution_result",
    "Composition": "neoscope.analysis.circuit_composition",
    "EffectiveRank": "neoscope.analysis.similar_rank",
    "EmbeddingStatistics": "neoscope.analysis.embedding_figures",
    "HEAD_SCORES": "neoscope.analysis.head_kinds",
    "HeadScores": "neoscope.analysis.head_scores",
    "InputAttribution": "neoscope.analysis.input_result",
    "LensEvaluation": "neoscope.analysis.tuned_evaluation",
    "LensResult": "neoscope.analysis.lens_result",
    "Moments": "neoscope.analysis.similar_moments",
    "NearestNeighbours": "neoscope.analysis.embedding_near",
    "NormWeightedAttention": "neoscope.analysis.head_norms",
    "OutlierDimensions": "neoscope.analysis.similar_outliers",
    "Result": "neoscope.analysis.result",
    "Rollout": "neoscope.analysis.rolling_result",
    "Similarity": "neoscope.analysis.similar_layers",
    "StreamingCKA": "neoscope.analysis.similar_cka",
    "SvdReading": "neoscope.analysis.circuit_svd",
    "TokenLosses": "neoscope.analysis.loss_result",
    "TopActivations": "neoscope.analysis.neuron_result",
    "TunedLens": "neoscope.analysis.tuned_weights",
    "WeightView": "neoscope.analysis.weight_views",
    "anisotropy": "neoscope.analysis.similar_cosines",
    "attention_flow": "neoscope.analysis.rolling_flow",
    "attention_profile": "neoscope.analysis.head_profiling",
    "cka": "neoscope.analysis.similar_cka",
    "composition": "neoscope.analysis.circuit_composition",
    "direct_logit_attribution": "neoscope.analysis.attribution_direct",
    "effective_rank": "neoscope.analysis.similar_rank",
    "embedding_statistics": "neoscope.analysis.embedding_figures",
    "heads": "neoscope.analysis.head_measuring",
    "input_attribution": "neoscope.analysis.input_gradients",
    "load": "neoscope.analysis.result_file",
    "logit_lens": "neoscope.analysis.lens_reading",
    "metrics": "neoscope.analysis.metrics",
    "nearest_neighbours": "neoscope.analysis.embedding_near",
    "norm_weighted_attention": "neoscope.analysis.head_norms",
    "outlier_dimensions": "neoscope.analysis.similar_outliers",
    "ov_circuit": "neoscope.analysis.circuits",
    "qk_circuit": "neoscope.analysis.circuits",
    "rollout": "neoscope.analysis.rolling_out",
    "similarity": "neoscope.analysis.similar_layers",
    "svd_reading": "neoscope.analysis.circuit_svd",
    "token_losses": "neoscope.analysis.loss_reading",
    "top_activations": "neoscope.analysis.neuron_contexts",
    "tuned_lens": "neoscope.analysis.lens_reading",
    "weight_view": "neoscope.analysis.weight_views",
}

__all__ = [
    "ATTRIBUTION_SITES",
    "HEAD_SCORES",
    "Anisotropy",
    "AttentionFlow",
    "AttentionProfile",
    "Attribution",
    "Composition",
    "EffectiveRank",
    "EmbeddingStatistics",
    "HeadScores",
    "InputAttribution",
    "LensEvaluation",
    "LensResult",
    "Moments",
    "NearestNeighbours",
    "NormWeightedAttention",
    "OutlierDimensions",
    "Result",
    "Rollout",
    "Similarity",
    "StreamingCKA",
    "SvdReading",
    "TokenLosses",
    "TopActivations",
    "TunedLens",
    "WeightView",
    "anisotropy",
    "attention_flow",
    "attention_profile",
    "cka",
    "composition",
    "direct_logit_attribution",
    "effective_rank",
    "embedding_statistics",
    "heads",
    "input_attribution",
    "load",
    "logit_lens",
    "metrics",
    "nearest_neighbours",
    "norm_weighted_attention",
    "outlier_dimensions",
    "ov_circuit",
    "qk_circuit",
    "rollout",
    "similarity",
    "svd_reading",
    "token_losses",
    "top_activations",
    "tuned_lens",
    "weight_view",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neoscope.analysis' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    value = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
