"""What was published of GPT-Neo: scores of model cards, and statistics of the embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neoscope.config import NeoConfig
    from neoscope.model import HookedGPTNeo

README = "https://github.com/EleutherAI/gpt-neo#model-evaluations"
CARD = "https://huggingface.co/EleutherAI/gpt-neo-125m"
WALKTHROUGH = "A. Arora and others, comments on the IOI walkthrough, LessWrong"

Scores = Mapping[tuple[str, str], float]
"""(task, metric) of lm-evaluation-harness, and the figure: accuracies as shares, not percent."""


def _readme(*figures: float) -> Scores:
    """Name one row of the README's two tables."""
    columns = (
        ("wikitext", "word_perplexity"),
        ("lambada_openai", "perplexity"),
        ("lambada_openai", "acc"),
        ("winogrande", "acc"),
        ("hellaswag", "acc"),
        ("mathqa", "acc"),
        ("pubmedqa", "acc"),
        ("piqa", "acc"),
    )
    shares = (round(x / 100, 6) if metric == "acc" else x
              for (_, metric), x in zip(columns, figures, strict=True))  # fmt: skip
    return MappingProxyType(dict(zip(columns, shares, strict=True)))


SCORES: Mapping[str, Mapping[str, Scores]] = MappingProxyType({
    "gpt-neo-readme": {
        "125m": _readme(32.285, 30.266, 37.36, 50.43, 28.67, 22.78, 55.10, 63.06),
        "350m": _readme(22.5657, 13.876, 47.27, 51.14, 32.16, 23.45, 53.80, 65.07),
        "1.3b": _readme(13.10, 7.498, 57.23, 55.01, 38.66, 24.05, 54.40, 71.11),
        "2.7b": _readme(11.39, 5.626, 62.22, 56.50, 42.73, 24.72, 57.54, 72.14),
    },
    "leaderboard-v1": {
        "125m": {
            ("arc_challenge", "acc_norm"): 0.2295,
            ("hellaswag", "acc_norm"): 0.3026,
            ("mmlu", "acc"): 0.2597,
            ("truthfulqa_mc2", "acc"): 0.4558,
            ("winogrande", "acc"): 0.5178,
            ("gsm8k", "exact_match"): 0.003,
            ("drop", "f1"): 0.0369,
            ("average", "score"): 0.2579,
        },
    },
})  # fmt: skip
"""By suite and model."""


@dataclass(frozen=True)
class Shape:
    """The sizes by which a published checkpoint is told."""

    n_layers: int
    d_model: int
    n_heads: int
    n_params: int
    """Without the attention masks that old files also hold."""

    def fits(self, config: NeoConfig) -> bool:
        """Whether a configuration is of this shape."""
        found = (config.n_layers, config.d_model, config.n_heads)
        return found == (self.n_layers, self.d_model, self.n_heads)


SHAPES: Mapping[str, Shape] = MappingProxyType({
    "125m": Shape(12, 768, 12, 125_198_592),
    "350m": Shape(24, 1024, 16, 355_798_016),
    "1.3b": Shape(24, 2048, 16, 1_315_575_808),
    "2.7b": Shape(32, 2560, 20, 2_651_307_520),
})  # fmt: skip


@dataclass(frozen=True)
class Statistic:
    """One published number about a checkpoint."""

    name: str
    what: str
    value: float
    within: float
    """How far the number of the same checkpoint may be from it: it was published rounded."""
    source: str


EMBEDDING: Mapping[str, tuple[Statistic, ...]] = MappingProxyType({
    "125m": (
        Statistic("mean_cosine", "mean cosine of token embeddings", 0.945, 0.02, WALKTHROUGH),
        Statistic("mean_norm", "mean norm of token embeddings", 11.4, 0.5, WALKTHROUGH),
        Statistic("norm_of_mean", "norm of their mean", 11.0, 0.5, WALKTHROUGH),
        Statistic("mean_cosine_centred", "mean cosine, less their mean", 0.0024, 0.002,
                  WALKTHROUGH),
        Statistic("mean_abs_cosine_centred", "mean |cosine|, less their mean", 0.1831, 0.01,
                  WALKTHROUGH),
    ),
})  # fmt: skip
"""By model. The first was published as 0.93 to 0.96."""


def known_as(model: HookedGPTNeo) -> str | None:
    """Return which published model this is by its name and shape, or None.

    The name alone could be anyone's fine-tune in another shape, the shape alone anyone's weights.
    """
    names = [model.cfg.model_name or ""]
    if model.checkpoint is not None:
        names.append(str(model.checkpoint.folder))
    for part in re.split(r"[/\\]|--", " / ".join(names).lower()):
        found = re.fullmatch(r"gpt-?neo-?(125m|350m|1\.3b|2\.7b)", part.strip())
        if found and SHAPES[found[1]].fits(model.config):
            return found[1]
    return None


def shaped_as(config: NeoConfig) -> str | None:
    """Return which published model has this shape, or None."""
    return next((name for name, shape in SHAPES.items() if shape.fits(config)), None)
