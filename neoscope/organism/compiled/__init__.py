"""Hand-compiled GPT-Neos: checkpoints built in code, never trained, each with its exact truth."""

from neoscope.organism.compiled.direction_truth import DIRECTION_TRUTH, DirectionTruth
from neoscope.organism.compiled.duplicate_circuit import (
    DUPLICATE_TRUTH,
    DuplicateTruth,
    duplicate_pairs,
    duplicate_token,
)
from neoscope.organism.compiled.fact_memory import FactPrompts, fact_pairs, fact_prompts, facts
from neoscope.organism.compiled.fact_truth import (
    FACT_TRUTH,
    FactAttribution,
    FactEffects,
    FactRelation,
    FactTruth,
)
from neoscope.organism.compiled.gates_circuit import gates
from neoscope.organism.compiled.gates_truth import (
    GATES_TRUTH,
    GateState,
    GatesTruth,
    GateTruth,
    gate_pairs,
    gate_prompts,
)
from neoscope.organism.compiled.induction_circuit import induction, write_induction
from neoscope.organism.compiled.induction_truth import (
    INDUCTION_TRUTH,
    InductionPairs,
    InductionTruth,
    pairs,
    repeated,
)
from neoscope.organism.compiled.lens_networks import (
    ROTATED_TRUTH,
    ZERO_TAIL_TRUTH,
    RotatedTruth,
    ZeroTailTruth,
    lens_prompts,
    rotated,
    rotation,
    translators,
    zero_tail,
)
from neoscope.organism.compiled.planted_direction import (
    DirectionPrompts,
    direction,
    direction_prompts,
)
from neoscope.organism.compiled.planted_outliers import (
    OUTLIER_TRUTH,
    OutlierTruth,
    outlier_prompts,
    outliers,
)
from neoscope.organism.compiled.short_window_circuit import (
    SHORT_WINDOW_TRUTH,
    ShortWindowTruth,
    induction_short_window,
)
from neoscope.organism.compiled.truth import Corruption, Grid, Head, PromptPairs

__all__ = [
    "DIRECTION_TRUTH",
    "DUPLICATE_TRUTH",
    "FACT_TRUTH",
    "GATES_TRUTH",
    "INDUCTION_TRUTH",
    "OUTLIER_TRUTH",
    "ROTATED_TRUTH",
    "SHORT_WINDOW_TRUTH",
    "ZERO_TAIL_TRUTH",
    "Corruption",
    "DirectionPrompts",
    "DirectionTruth",
    "DuplicateTruth",
    "FactAttribution",
    "FactEffects",
    "FactPrompts",
    "FactRelation",
    "FactTruth",
    "GateState",
    "GateTruth",
    "GatesTruth",
    "Grid",
    "Head",
    "InductionPairs",
    "InductionTruth",
    "OutlierTruth",
    "PromptPairs",
    "RotatedTruth",
    "ShortWindowTruth",
    "ZeroTailTruth",
    "direction",
    "direction_prompts",
    "duplicate_pairs",
    "duplicate_token",
    "fact_pairs",
    "fact_prompts",
    "facts",
    "gate_pairs",
    "gate_prompts",
    "gates",
    "induction",
    "induction_short_window",
    "lens_prompts",
    "outlier_prompts",
    "outliers",
    "pairs",
    "repeated",
    "rotated",
    "rotation",
    "translators",
    "write_induction",
    "zero_tail",
]
