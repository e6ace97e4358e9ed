"""Named suites: which tasks, how many shots and which metric a published table means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from neoscope.errors import EvaluationError, nearest
from neoscope.evaluate.published import CARD, README, SCORES, Scores


@dataclass(frozen=True)
class Entry:
    """One column of a published table."""

    label: str
    """Its name there."""
    task: str
    """lm-evaluation-harness's name of the task."""
    metric: str
    folder: str
    """Where the task stands among lm-evaluation-harness's, so that not all need be read."""
    num_fewshot: int | None = None
    """Examples before the question; None for what the task itself says."""
    filter: str = "none"
    """Which reading of a generated answer."""
    mean_of_parts: bool = False
    """Whether it is the plain mean over a group's tasks, each counted once."""


@dataclass(frozen=True)
class Suite:
    """A published table."""

    name: str
    entries: tuple[Entry, ...]
    source: str
    """Where it was published."""
    averaged: bool
    """Whether it has an average over its entries."""

    @property
    def published(self) -> Mapping[str, Scores]:
        """Its figures by model."""
        return SCORES[self.name]


_LEADERBOARD = (
    Entry("ARC (25-shot)", "arc_challenge", "acc_norm", "arc", 25),
    Entry("HellaSwag (10-shot)", "hellaswag", "acc_norm", "hellaswag", 10),
    Entry("MMLU (5-shot)", "mmlu", "acc", "mmlu/default", 5, mean_of_parts=True),
    Entry("TruthfulQA (0-shot)", "truthfulqa_mc2", "acc", "truthfulqa", 0),
    Entry("Winogrande (5-shot)", "winogrande", "acc", "winogrande", 5),
    Entry("GSM8K (5-shot)", "gsm8k", "exact_match", "gsm8k", 5, "strict-match"),
    Entry("DROP (3-shot)", "drop", "f1", "drop", 3),
)
_README = (
    Entry("Wikitext PPL", "wikitext", "word_perplexity", "wikitext", 0),
    Entry("LAMBADA PPL", "lambada_openai", "perplexity", "lambada", 0),
    Entry("LAMBADA Acc", "lambada_openai", "acc", "lambada", 0),
    Entry("Winogrande", "winogrande", "acc", "winogrande", 0),
    Entry("HellaSwag", "hellaswag", "acc", "hellaswag", 0),
    Entry("MathQA", "mathqa", "acc", "mathqa", 0),
    Entry("PubMedQA", "pubmedqa", "acc", "pubmedqa", 0),
    Entry("PIQA", "piqa", "acc", "piqa", 0),
)
SUITES: Mapping[str, Suite] = MappingProxyType({
    "leaderboard-v1": Suite("leaderboard-v1", _LEADERBOARD, CARD, averaged=True),
    "gpt-neo-readme": Suite("gpt-neo-readme", _README, README, averaged=False),
})  # fmt: skip
"""The Open LLM Leaderboard's first table, as on the model card, and EleutherAI's own."""


def suite_of(name: str) -> Suite:
    """Return a suite by its name.

    Raises:
        EvaluationError: There is none of that name.
    """
    if name not in SUITES:
        known = ", ".join(SUITES)
        raise EvaluationError(f"there is no suite {name!r}; known: {known}{nearest(name, SUITES)}")
    return SUITES[name]
