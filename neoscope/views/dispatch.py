"""plot: the view of any result, found by what the result is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import ViewError, nearest

if TYPE_CHECKING:
    import plotly.graph_objects as go

VIEWS = {
    "ActivationCache": "attention_heads",
    "AmnesicReport": "causal_effect",
    "Anisotropy": "anisotropy",
    "AttentionFlow": "attention_flow",
    "AttentionProfile": "attention_profile",
    "Attribution": "attribution",
    "AttributionResult": "patching",
    "Audit": "audit",
    "Calibration": "calibration",
    "CausalReport": "causal_effect",
    "Circuit": "circuit",
    "Codelength": "codelength",
    "Comparison": "comparison",
    "Composition": "composition",
    "DasResult": "das",
    "EdgeScores": "paths",
    "EffectiveRank": "effective_rank",
    "EmbeddingStatistics": "embedding_statistics",
    "Evaluation": "evaluation",
    "Every": "patching_all",
    "Faithfulness": "faithfulness",
    "FeatureStore": "projection",
    "Features": "projection",
    "Generated": "generation",
    "HeadScores": "heads",
    "Identity": "identity",
    "InputAttribution": "input_attribution",
    "LearningCurve": "learning_curve",
    "LensEvaluation": "lens_calibration",
    "LensResult": "lens",
    "Minimality": "minimality",
    "NearestNeighbours": "nearest_neighbours",
    "NormWeightedAttention": "norm_weighted_attention",
    "OutlierDimensions": "outlier_dimensions",
    "PatchingResult": "patching",
    "PermutationResult": "permutation_test",
    "ProbeData": "projection",
    "Rollout": "rollout",
    "Similarity": "similarity",
    "SparseCurve": "sparse_curve",
    "SvdReading": "svd_reading",
    "SweepResult": "probes",
    "TokenLosses": "losses",
    "TopActivations": "top_activations",
    "TraceResult": "trace",
    "TunedLens": "tuned_training",
}
"""Which view draws what: names of result classes, and of functions of :mod:`neoscope.views`."""


def plot(result: Any, **options: Any) -> go.Figure:
    """Draw any result of neoscope with the view that is made for it.

    Args:
        result: What an analysis, a sweep, an evaluation or a probe's sweep returned.
        **options: Those of that view.

    Raises:
        ViewError: Nothing draws such a result (the message lists what can be drawn), or its view
            has no such option.

    Example:
        >>> import neoscope as ns
        >>> read = ns.analysis.token_losses(ns.load("organism"), "The keys near the cabinet are")
        >>> plot(read, color="rank").layout.title.text
        'Where each token stood among the model&#x27;s guesses'
    """
    name = view_of(result)
    if name is None:
        raise ViewError(
            f"there is no view of a {type(result).__name__}; what can be drawn: "
            f"{', '.join(sorted(VIEWS))}"
        )
    from neoscope import views

    view = getattr(views, name)
    _check_options(view, name, options)
    figure: go.Figure = view(result, **options)
    return figure


def _check_options(view: Callable[..., Any], name: str, options: dict[str, Any]) -> None:
    """Refuse an option that a view does not have, and name those that it has."""
    named = inspect.Parameter.KEYWORD_ONLY
    known = [one.name for one in inspect.signature(view).parameters.values() if one.kind == named]
    unknown = [one for one in options if one not in known]
    if unknown:
        hint = nearest(unknown[0], known)
        raise ViewError(
            f"views.{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}{hint}"
        )


def view_of(result: object) -> str | None:
    """Return the name of the view that draws a result, or None.

    Args:
        result: Anything.
    """
    axes = getattr(result, "axes", ())
    # Of other results it may be a method.
    axes = axes if isinstance(axes, Sequence) else ()
    if {"sender", "receiver"} <= {str(getattr(axis, "name", axis)) for axis in axes}:
        return "paths"
    for base in type(result).__mro__:
        if base.__name__ in VIEWS:
            return VIEWS[base.__name__]
    return None
