"""Position or content: how much of a head's choice positions alone foretell.

The logits of a head are ``S[i, j] = q_i k_j``. On random tokens that come twice, ``[u, u]``, and
stand once at every position of a copy (each u is a row of a Latin square), let ``P[i, j]`` be the
product of the mean query at position i and the mean key at position j: what positions alone say. A
softmax sees differences within a row only, so both are taken less their row's mean over the keys
that are seen. The share of position is ``|P|^2 / (|P|^2 + E|S - P|^2)``: 1 for a head that never
looks at tokens; 0 for one that never looks at positions, whose mean queries and keys are the same
everywhere. No beginning-of-text token is put first: of a token that is always there, position and
content cannot be told apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.head.words import squares
from neoscope.config import NeoConfig
from neoscope.corpus import cached_sites
from neoscope.errors import AnalysisError
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_SQUARES, _SIZE = 2, 24
_ROUNDING = 1e-12
Found = tuple[Tensor, Tensor]


class _Watch:
    """Measures each layer's queries and keys as they pass."""

    keep_graph = False

    def __init__(self, model: HookedGPTNeo, layers: list[int], n_squares: int) -> None:
        refs = cached_sites(model, ["q", "k"], layers)
        self.wanted = {ref.name: ref for ref in refs}
        self.found: dict[int, Found] = {}
        self._model, self._n_squares = model, n_squares
        self._q: Tensor | None = None

    def see(self, name: str, x: Tensor, visibility: Visibility) -> Tensor:
        ref = self.wanted.get(name)
        if ref is None or ref.layer is None:
            return x
        by_square = x.detach().double().unflatten(0, (self._n_squares, -1))
        if ref.kind.short == "q":
            self._q = by_square
            return x
        assert self._q is not None
        window = self._model.config.window(ref.layer)
        self.found[ref.layer] = variances(self._q, by_square, window)
        return x


def variances(
    q: Float[Tensor, "square text pos head d_head"],
    k: Float[Tensor, "square text pos head d_head"],
    window: int | None,
) -> tuple[Float[Tensor, " head"], Float[Tensor, "square head"]]:
    """Return ``|P|^2`` of each head (NaN where S never differs), and ``E|S - P|^2`` by square.

    Args:
        q: Queries.
        k: Keys.
        window: Keys that a query sees.
    """
    n = q.shape[2]
    i, j = torch.arange(n)[:, None], torch.arange(n)[None]
    seen = j <= i
    if window is not None:
        seen = seen & (i - j < window)
    seen = seen.to(q.device)
    mean = torch.einsum("ihe,jhe->hij", q.mean((0, 1)), k.mean((0, 1)))
    position = _within(mean, seen)
    left, size = [], []
    for one in zip(q, k, strict=True):
        scores = torch.einsum("tihe,tjhe->thij", *one)
        left.append((_within(scores, seen) - position).square().sum((2, 3)).mean(0))
        size.append((scores * seen).square().sum((2, 3)).mean(0))
    explained, rest = position.square().sum((1, 2)), torch.stack(left)
    # Logits that differ by rounding alone do not differ.
    none = explained + rest.mean(0) <= _ROUNDING * torch.stack(size).mean(0)
    return torch.where(none, torch.nan, explained), rest


def _within(scores: Tensor, seen: Tensor) -> Tensor:
    """Scores less their row's mean over the keys that are seen; 0 for the others."""
    count = seen.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.where(seen, scores, 0.0).sum(-1, keepdim=True) / count
    return torch.where(seen, scores - mean, 0.0)


def square_size(config: NeoConfig, n_words: int) -> int:
    """Return how many tokens a square has on a side; less than 2 is none.

    Args:
        config: Its context holds each text twice over.
        n_words: Different tokens there are.
    """
    return min(_SIZE, config.n_ctx // 2, n_words)


def position_shares(
    model: HookedGPTNeo, layers: list[int], words: Int[Tensor, " word"], seed: int
) -> tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, "layer head"], int]:
    """Return position shares, their standard errors over squares, and the texts run.

    NaN for a head whose logits never differ.

    Args:
        model: Any model.
        layers: Which.
        words: Token ids to draw from.
        seed: Of the draw.

    Raises:
        AnalysisError: There are too few tokens or positions for a square.
    """
    size = square_size(model.config, len(words))
    if size < 2:
        raise AnalysisError(
            f"position_share needs two tokens that come twice; the model has {len(words)} to draw "
            f"from and a context of {model.config.n_ctx}"
        )
    drawn = squares(words, _SQUARES, size, seed).repeat(1, 1, 2)
    watch = _Watch(model, layers, _SQUARES)
    with torch.no_grad():
        model(drawn.flatten(0, 1), return_type=None, _record=watch)
    explained = torch.stack([watch.found[layer][0] for layer in layers])
    left = torch.stack([watch.found[layer][1] for layer in layers], dim=1)
    whole = explained + left.mean(0)
    share = explained / whole
    # The change of the share with what is left, times the standard error of that.
    stderr = explained / whole.square() * left.std(0) / _SQUARES**0.5
    return share.cpu().numpy(), stderr.cpu().numpy(), _SQUARES * size
