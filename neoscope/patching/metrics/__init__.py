"""What an experiment measures: logit difference, probability, KL, loss or a user's function."""

from __future__ import annotations

from neoscope.patching.metrics.answers import (
    log_prob,
    logit,
    logit_diff,
    probability,
    rank,
)
from neoscope.patching.metrics.columns import metric_columns
from neoscope.patching.metrics.custom import as_metric
from neoscope.patching.metrics.metric import Metric
from neoscope.patching.metrics.over_text import kl, loss
from neoscope.patching.metrics.scaling import normalised

__all__ = [
    "Metric",
    "as_metric",
    "kl",
    "log_prob",
    "logit",
    "logit_diff",
    "loss",
    "metric_columns",
    "normalised",
    "probability",
    "rank",
]
