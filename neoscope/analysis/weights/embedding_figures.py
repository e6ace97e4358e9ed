"""The embedding in figures: how large, how alike, and how much of it one shared offset is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.reading import GivenModel, as_model
from neoscope.analysis.result import Result
from neoscope.analysis.weights.embedding_space import chunks, mean_cosine, mean_of, rows_of
from neoscope.analysis.words import vocabulary

if TYPE_CHECKING:
    import pandas as pd


PUBLISHED_125M: dict[str, str] = {
    "mean_cosine": "0.93 to 0.96",
    "mean_norm": "11.4",
    "norm_of_mean": "11",
    "mean_cosine_centred": "0.0024",
    "mean_abs_cosine_centred": "0.1831",
}
"""What was measured of ``EleutherAI/gpt-neo-125m`` by others (A. Arora and others, comments on the
IOI walkthrough, LessWrong); GPT-2 small's mean cosine is 0.225."""
_SHAPE_125M = (12, 768, 50257)
_MOST_PAIRED = 4096
_SAMPLE_SEED = 0


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingStatistics(Result):
    """What the rows of an embedding have in common; the unit of norms is the stream's own."""

    model: str
    space: str
    n_tokens: int
    d_model: int
    mean_cosine: float
    """Between all different rows, exactly."""
    mean_norm: float
    norm_of_mean: float
    mean_cosine_centred: float
    """Between all different rows after their mean was taken away, exactly."""
    mean_abs_cosine_centred: float
    """Mean size of those cosines, over ``n_paired`` rows."""
    n_paired: int
    """All rows, or a seeded sample of them where their pairs would be too many."""
    min_norm: float
    max_norm: float
    largest: str
    """The token of the largest norm."""
    is_125m: bool
    """Whether the model has the shape of gpt-neo-125m, whose published figures are then shown."""

    def heading(self) -> str:
        """Return what was measured, and how much of it is offset."""
        share = self.norm_of_mean / self.mean_norm if self.mean_norm else 0.0
        return (
            f"{self.space} of {self.model}: {self.n_tokens:,} tokens, d_model {self.d_model}; the "
            f"offset that all share is {share:.0%} of a mean norm"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each figure; beside it what is published of gpt-neo-125m.

        Columns: ``figure``, ``value``, and ``gpt-neo-125m`` for a model of that shape.
        """
        import pandas as pd

        names = (*PUBLISHED_125M, "min_norm", "max_norm")
        table = pd.DataFrame({"figure": names, "value": [getattr(self, name) for name in names]})
        if self.is_125m:
            table["gpt-neo-125m"] = [PUBLISHED_125M.get(name, "") for name in names]
        return table


def embedding_statistics(model: GivenModel, *, space: str = "embedding") -> EmbeddingStatistics:
    """Return how alike the rows of the embedding are, before and after their mean is taken away.

    Mean cosines are exact, from the sum of the unit vectors; only the mean of their sizes needs
    pairs, and takes a seeded sample of 4,096 rows where there are more.

    Args:
        model: The model.
        space: ``"embedding"`` or ``"unembedding"`` (in GPT-Neo the same matrix).

    Raises:
        AnalysisError: There is no such space.

    Example:
        >>> import neoscope as ns
        >>> found = embedding_statistics(ns.load("outliers"))
        >>> found.mean_norm == 32 ** 0.5, round(found.mean_cosine, 6), found.norm_of_mean
        (True, -0.015873, 0.0)
    """
    model = as_model(model, "embedding_statistics")
    rows = rows_of(model, space)
    mean = mean_of(rows)
    norms = torch.cat([part.norm(dim=1) for _, part in chunks(rows)])
    paired = _sample(rows)
    config = model.config
    return EmbeddingStatistics(
        model=str(model.cfg.model_name),
        space=space,
        n_tokens=len(rows),
        d_model=rows.shape[1],
        mean_cosine=mean_cosine(rows, torch.zeros_like(mean)),
        mean_norm=float(norms.mean()),
        norm_of_mean=float(mean.norm()),
        mean_cosine_centred=mean_cosine(rows, mean),
        mean_abs_cosine_centred=_mean_abs_cosine(paired.double() - mean),
        n_paired=len(paired),
        min_norm=float(norms.min()),
        max_norm=float(norms.max()),
        largest=vocabulary([int(norms.argmax())], model.tokenizer)[0],
        is_125m=(config.n_layers, config.d_model, config.d_vocab) == _SHAPE_125M,
    )


def _sample(rows: Tensor) -> Float[Tensor, "row d_model"]:
    if len(rows) <= _MOST_PAIRED:
        return rows
    generator = torch.Generator().manual_seed(_SAMPLE_SEED)
    chosen = torch.randperm(len(rows), generator=generator)[:_MOST_PAIRED].sort().values
    return rows[chosen.to(rows.device)]


def _mean_abs_cosine(rows: Tensor) -> float:
    norms = rows.norm(dim=1)
    units = rows[norms > 0] / norms[norms > 0, None]
    n = len(units)
    if n < 2:
        return float("nan")
    total = sum(float((part @ units.T).abs().sum()) for part in units.split(1024))
    return (total - float((units * units).sum())) / (n * (n - 1))
