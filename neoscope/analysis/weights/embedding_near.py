"""Nearest neighbours in the embedding: exact, a part of the vocabulary at a time.

GPT-Neo's token embeddings share one large offset: the mean cosine between two tokens of
``gpt-neo-125m`` is above 0.9 (GPT-2 small: 0.2). Raw cosines therefore rank tokens by how much of
the offset they have; the mean is taken away first unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.reading import GivenModel, as_model
from neoscope.analysis.result import Result
from neoscope.analysis.weights.embedding_space import (
    ANISOTROPIC,
    chunks,
    mean_cosine,
    mean_of,
    rows_of,
    token_ids,
)
from neoscope.analysis.words import vocabulary
from neoscope.errors import AnalysisError, nearest

if TYPE_CHECKING:
    import pandas as pd


METRICS = ("cosine", "euclidean", "dot")


@dataclass(frozen=True, eq=False, repr=False)
class NearestNeighbours(Result):
    """The tokens nearest to some tokens."""

    query_ids: Int[np.ndarray, " query"]
    queries: tuple[str, ...]
    """What each query is in words."""
    ids: Int[np.ndarray, "query k"]
    """Nearest first; equally near ones in the order of their ids."""
    tokens: tuple[tuple[str, ...], ...]
    scores: Float[np.ndarray, "query k"]
    """Cosine, Euclidean distance or dot product."""
    metric: str
    space: str
    centred: bool
    """Whether the mean of all rows was taken away first."""
    mean_cosine: float
    """Mean cosine between all different rows as they are: near 1 where they share one offset."""
    model: str

    @property
    def note(self) -> str:
        """What the shared offset means for these neighbours; empty where there is none."""
        if self.mean_cosine < ANISOTROPIC:
            return ""
        shared = (
            f"the rows share one offset (mean cosine {self.mean_cosine:.2f} between any two tokens)"
        )
        if self.centred:
            return f"{shared}, which was taken away first"
        return f"{shared}: these neighbours are mostly those of the offset; center=True removes it"

    def heading(self) -> str:
        """Return what was searched and how, with the warning of a shared offset."""
        how = f"{self.metric}{', centred' if self.centred else ''}"
        note = f"; {self.note}" if self.note else ""
        return f"nearest tokens in the {self.space} of {self.model}, {how}{note}"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each neighbour of each query."""
        import pandas as pd

        n, k = self.ids.shape
        return pd.DataFrame(
            {
                "query": np.repeat(np.array(self.queries, object), k),
                "query_id": np.repeat(self.query_ids, k),
                "rank": np.tile(np.arange(1, k + 1), n),
                "token": [token for row in self.tokens for token in row],
                "id": self.ids.ravel(),
                self.metric: self.scores.ravel(),
            }
        )


def nearest_neighbours(
    model: GivenModel,
    tokens: Any,
    k: int = 10,
    *,
    space: str = "embedding",
    center: bool = True,
    metric: str = "cosine",
) -> NearestNeighbours:
    """Return the tokens nearest to some tokens, themselves left out; exact, in float64.

    Args:
        model: The model.
        tokens: One or several: texts that are one token each (``" cat"`` with its space), or ids.
        k: How many.
        space: ``"embedding"`` or ``"unembedding"`` (in GPT-Neo the same matrix).
        center: Take the mean of all rows away first: GPT-Neo's rows share one large offset, which
            makes every raw cosine near 1. It changes no Euclidean distance.
        metric: ``"cosine"``, ``"euclidean"`` or ``"dot"``.

    Raises:
        AnalysisError: A text is not one token, an id does not exist, or an argument means nothing.

    Example:
        >>> import neoscope as ns
        >>> near = nearest_neighbours(ns.load("organism"), " Mary", k=3)
        >>> near.ids.shape, near.centred
        ((1, 3), True)
    """
    model = as_model(model, "nearest_neighbours")
    if metric not in METRICS:
        hint = nearest(str(metric), METRICS)
        raise AnalysisError(f"metric={metric!r}; expected one of {', '.join(METRICS)}{hint}")
    rows = rows_of(model, space)
    count = whole_number(k, "k", most=len(rows) - 1)
    ids = token_ids(model, tokens)
    mean = mean_of(rows)
    shift = mean if center else torch.zeros_like(mean)
    found, scores = _search(rows, ids, shift, metric, count)
    return NearestNeighbours(
        query_ids=np.array(ids),
        queries=tuple(vocabulary(ids, model.tokenizer)),
        ids=found,
        tokens=tuple(tuple(vocabulary(row.tolist(), model.tokenizer)) for row in found),
        scores=scores,
        metric=metric,
        space=space,
        centred=bool(center),
        mean_cosine=mean_cosine(rows, torch.zeros_like(mean)),
        model=str(model.cfg.model_name),
    )


def _search(
    rows: Tensor, ids: list[int], shift: Tensor, metric: str, k: int
) -> tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]:
    queries = rows[torch.tensor(ids, device=rows.device)].double() - shift
    best = np.empty((len(ids), 0))
    best_ids = np.empty((len(ids), 0), np.int64)
    for start, part in chunks(rows):
        score = _scores(queries, part - shift, metric).cpu().numpy()
        for i, own in enumerate(ids):
            if start <= own < start + len(part):
                score[i, own - start] = -np.inf
        here = np.broadcast_to(np.arange(start, start + len(part)), score.shape)
        best = np.concatenate([best, score], axis=1)
        best_ids = np.concatenate([best_ids, here], axis=1)
        # Stable: of equally near tokens the first in the vocabulary stays first.
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(best, order, 1)
        best_ids = np.take_along_axis(best_ids, order, 1)
    return best_ids, -best if metric == "euclidean" else best


def _scores(queries: Tensor, part: Tensor, metric: str) -> Float[Tensor, "query row"]:
    """Return how near each row is to each query, more being nearer."""
    if metric == "euclidean":
        return -torch.cdist(queries, part, compute_mode="donot_use_mm_for_euclid_dist")
    scores = queries @ part.T
    if metric == "cosine":
        norms = queries.norm(dim=1)[:, None] * part.norm(dim=1)[None]
        # A row that is the mean itself has no direction, and is near to nothing.
        scores = torch.where(norms > 0, scores / norms.clamp_min(1e-300), torch.zeros_like(scores))
    return scores
