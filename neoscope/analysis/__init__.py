"""Readings of a model: lenses, attribution, head scores, rollout, similarity, neurons, weights.

Each takes a cache (or a model and texts) and returns a frozen result that prints itself, has units
and labels, ``to_dataframe()`` and ``save()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoscope.lazy import public_names

if TYPE_CHECKING:
    from neoscope.analysis import metrics as metrics
    from neoscope.analysis.attribution.reading import ATTRIBUTION_SITES as ATTRIBUTION_SITES
    from neoscope.analysis.attribution.reading import (
        direct_logit_attribution as direct_logit_attribution,
    )
    from neoscope.analysis.attribution.result import Attribution as Attribution
    from neoscope.analysis.head.kinds import HEAD_SCORES as HEAD_SCORES
    from neoscope.analysis.head.norm_weighted import NormWeightedAttention as NormWeightedAttention
    from neoscope.analysis.head.norm_weighted import (
        norm_weighted_attention as norm_weighted_attention,
    )
    from neoscope.analysis.head.reading import heads as heads
    from neoscope.analysis.head.result import HeadScores as HeadScores
    from neoscope.analysis.inputs.reading import input_attribution as input_attribution
    from neoscope.analysis.inputs.result import InputAttribution as InputAttribution
    from neoscope.analysis.lens.reading import logit_lens as logit_lens
    from neoscope.analysis.lens.reading import tuned_lens as tuned_lens
    from neoscope.analysis.lens.result import LensResult as LensResult
    from neoscope.analysis.losses.reading import token_losses as token_losses
    from neoscope.analysis.losses.result import TokenLosses as TokenLosses
    from neoscope.analysis.neuron.reading import top_activations as top_activations
    from neoscope.analysis.neuron.result import TopActivations as TopActivations
    from neoscope.analysis.profile.reading import attention_profile as attention_profile
    from neoscope.analysis.profile.result import AttentionProfile as AttentionProfile
    from neoscope.analysis.result import Result as Result
    from neoscope.analysis.result_file import load as load
    from neoscope.analysis.rolling.flow import attention_flow as attention_flow
    from neoscope.analysis.rolling.result import AttentionFlow as AttentionFlow
    from neoscope.analysis.rolling.result import Rollout as Rollout
    from neoscope.analysis.rolling.rollout import rollout as rollout
    from neoscope.analysis.similar.cka import StreamingCKA as StreamingCKA
    from neoscope.analysis.similar.cka import cka as cka
    from neoscope.analysis.similar.cosines import Anisotropy as Anisotropy
    from neoscope.analysis.similar.cosines import anisotropy as anisotropy
    from neoscope.analysis.similar.layers import Similarity as Similarity
    from neoscope.analysis.similar.layers import similarity as similarity
    from neoscope.analysis.similar.moments import Moments as Moments
    from neoscope.analysis.similar.outliers import OutlierDimensions as OutlierDimensions
    from neoscope.analysis.similar.outliers import outlier_dimensions as outlier_dimensions
    from neoscope.analysis.similar.rank import EffectiveRank as EffectiveRank
    from neoscope.analysis.similar.rank import effective_rank as effective_rank
    from neoscope.analysis.tuned.evaluation import LensEvaluation as LensEvaluation
    from neoscope.analysis.tuned.weights import TunedLens as TunedLens
    from neoscope.analysis.weights.circuits import ov_circuit as ov_circuit
    from neoscope.analysis.weights.circuits import qk_circuit as qk_circuit
    from neoscope.analysis.weights.composition import Composition as Composition
    from neoscope.analysis.weights.composition import composition as composition
    from neoscope.analysis.weights.embedding_figures import (
        EmbeddingStatistics as EmbeddingStatistics,
    )
    from neoscope.analysis.weights.embedding_figures import (
        embedding_statistics as embedding_statistics,
    )
    from neoscope.analysis.weights.embedding_near import NearestNeighbours as NearestNeighbours
    from neoscope.analysis.weights.embedding_near import nearest_neighbours as nearest_neighbours
    from neoscope.analysis.weights.svd import SvdReading as SvdReading
    from neoscope.analysis.weights.svd import svd_reading as svd_reading
    from neoscope.analysis.weights.views import WeightView as WeightView
    from neoscope.analysis.weights.views import weight_view as weight_view

_HOMES = {
    "ATTRIBUTION_SITES": "neoscope.analysis.attribution.reading",
    "Anisotropy": "neoscope.analysis.similar.cosines",
    "AttentionFlow": "neoscope.analysis.rolling.result",
    "AttentionProfile": "neoscope.analysis.profile.result",
    "Attribution": "neoscope.analysis.attribution.result",
    "Composition": "neoscope.analysis.weights.composition",
    "EffectiveRank": "neoscope.analysis.similar.rank",
    "EmbeddingStatistics": "neoscope.analysis.weights.embedding_figures",
    "HEAD_SCORES": "neoscope.analysis.head.kinds",
    "HeadScores": "neoscope.analysis.head.result",
    "InputAttribution": "neoscope.analysis.inputs.result",
    "LensEvaluation": "neoscope.analysis.tuned.evaluation",
    "LensResult": "neoscope.analysis.lens.result",
    "Moments": "neoscope.analysis.similar.moments",
    "NearestNeighbours": "neoscope.analysis.weights.embedding_near",
    "NormWeightedAttention": "neoscope.analysis.head.norm_weighted",
    "OutlierDimensions": "neoscope.analysis.similar.outliers",
    "Result": "neoscope.analysis.result",
    "Rollout": "neoscope.analysis.rolling.result",
    "Similarity": "neoscope.analysis.similar.layers",
    "StreamingCKA": "neoscope.analysis.similar.cka",
    "SvdReading": "neoscope.analysis.weights.svd",
    "TokenLosses": "neoscope.analysis.losses.result",
    "TopActivations": "neoscope.analysis.neuron.result",
    "TunedLens": "neoscope.analysis.tuned.weights",
    "WeightView": "neoscope.analysis.weights.views",
    "anisotropy": "neoscope.analysis.similar.cosines",
    "attention_flow": "neoscope.analysis.rolling.flow",
    "attention_profile": "neoscope.analysis.profile.reading",
    "cka": "neoscope.analysis.similar.cka",
    "composition": "neoscope.analysis.weights.composition",
    "direct_logit_attribution": "neoscope.analysis.attribution.reading",
    "effective_rank": "neoscope.analysis.similar.rank",
    "embedding_statistics": "neoscope.analysis.weights.embedding_figures",
    "heads": "neoscope.analysis.head.reading",
    "input_attribution": "neoscope.analysis.inputs.reading",
    "load": "neoscope.analysis.result_file",
    "logit_lens": "neoscope.analysis.lens.reading",
    "metrics": "neoscope.analysis.metrics",
    "nearest_neighbours": "neoscope.analysis.weights.embedding_near",
    "norm_weighted_attention": "neoscope.analysis.head.norm_weighted",
    "outlier_dimensions": "neoscope.analysis.similar.outliers",
    "ov_circuit": "neoscope.analysis.weights.circuits",
    "qk_circuit": "neoscope.analysis.weights.circuits",
    "rollout": "neoscope.analysis.rolling.rollout",
    "similarity": "neoscope.analysis.similar.layers",
    "svd_reading": "neoscope.analysis.weights.svd",
    "token_losses": "neoscope.analysis.losses.reading",
    "top_activations": "neoscope.analysis.neuron.reading",
    "tuned_lens": "neoscope.analysis.lens.reading",
    "weight_view": "neoscope.analysis.weights.views",
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

__getattr__, __dir__ = public_names(__name__, _HOMES)
