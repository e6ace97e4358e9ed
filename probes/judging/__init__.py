"""How good a probe is, against chance, controls and its own description length."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.judging.baselines import Judgement as Judgement
    from probes.judging.baselines import judge as judge
    from probes.judging.baselines import majority as majority
    from probes.judging.baselines import shuffled as shuffled
    from probes.judging.bootstrap import Interval as Interval
    from probes.judging.bootstrap import bootstrap_scores as bootstrap_scores
    from probes.judging.bootstrap import percentile_interval as percentile_interval
    from probes.judging.bootstrap import resampled_scores as resampled_scores
    from probes.judging.controls import ControlTask as ControlTask
    from probes.judging.controls import Selectivity as Selectivity
    from probes.judging.controls import control_labels as control_labels
    from probes.judging.controls import control_task as control_task
    from probes.judging.controls import selectivity as selectivity
    from probes.judging.controls import unseen_types as unseen_types
    from probes.judging.curves import LearningCurve as LearningCurve
    from probes.judging.curves import SampleComplexity as SampleComplexity
    from probes.judging.curves import learning_curve as learning_curve
    from probes.judging.curves import sample_complexity as sample_complexity
    from probes.judging.mdl.codelength import Codelength as Codelength
    from probes.judging.mdl.online import CodeBlocks as CodeBlocks
    from probes.judging.mdl.online import code_blocks as code_blocks
    from probes.judging.mdl.online import codelength_from as codelength_from
    from probes.judging.mdl.online import online_codelength as online_codelength
    from probes.judging.mdl.online import true_log2 as true_log2
    from probes.judging.mdl.variational import variational_codelength as variational_codelength
    from probes.judging.metrics import LOWER_IS_BETTER as LOWER_IS_BETTER
    from probes.judging.metrics import scores as scores
    from probes.judging.permutation import PermutationResult as PermutationResult
    from probes.judging.permutation import permutation_test as permutation_test
    from probes.judging.permutation import permuted_labels as permuted_labels
    from probes.judging.reliability import Bin as Bin
    from probes.judging.reliability import Calibration as Calibration
    from probes.judging.reliability import apply_temperature as apply_temperature
    from probes.judging.reliability import calibration as calibration
    from probes.judging.reliability import fit_temperature as fit_temperature

_HOMES = {
    "Bin": "reliability",
    "Calibration": "reliability",
    "CodeBlocks": "mdl.online",
    "Codelength": "mdl.codelength",
    "ControlTask": "controls",
    "Interval": "bootstrap",
    "Judgement": "baselines",
    "LOWER_IS_BETTER": "metrics",
    "LearningCurve": "curves",
    "PermutationResult": "permutation",
    "SampleComplexity": "curves",
    "Selectivity": "controls",
    "apply_temperature": "reliability",
    "bootstrap_scores": "bootstrap",
    "calibration": "reliability",
    "code_blocks": "mdl.online",
    "codelength_from": "mdl.online",
    "control_labels": "controls",
    "control_task": "controls",
    "fit_temperature": "reliability",
    "judge": "baselines",
    "learning_curve": "curves",
    "majority": "baselines",
    "online_codelength": "mdl.online",
    "percentile_interval": "bootstrap",
    "permutation_test": "permutation",
    "permuted_labels": "permutation",
    "resampled_scores": "bootstrap",
    "sample_complexity": "curves",
    "scores": "metrics",
    "selectivity": "controls",
    "shuffled": "baselines",
    "true_log2": "mdl.online",
    "unseen_types": "controls",
    "variational_codelength": "mdl.variational",
}

__all__ = [
    "LOWER_IS_BETTER",
    "Bin",
    "Calibration",
    "CodeBlocks",
    "Codelength",
    "ControlTask",
    "Interval",
    "Judgement",
    "LearningCurve",
    "PermutationResult",
    "SampleComplexity",
    "Selectivity",
    "apply_temperature",
    "bootstrap_scores",
    "calibration",
    "code_blocks",
    "codelength_from",
    "control_labels",
    "control_task",
    "fit_temperature",
    "judge",
    "learning_curve",
    "majority",
    "online_codelength",
    "percentile_interval",
    "permutation_test",
    "permuted_labels",
    "resampled_scores",
    "sample_complexity",
    "scores",
    "selectivity",
    "shuffled",
    "true_log2",
    "unseen_types",
    "variational_codelength",
]


def __getattr__(name: str) -> Any:
    """Import a public name, and what it needs, when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'probes.judging' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"probes.judging.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
