"""The next greedy token without reading the whole unembedding: exact, at half the memory traffic.

A bfloat16 copy of the unembedding gives every logit with an error that is bounded rigorously; only
tokens whose interval reaches the best lower bound can win, and those few get exact float32 logits.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.linear import has_onednn

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_CHUNK = 128
_HALF = 2.0**-8
"""bfloat16 rounds to a relative error of at most this."""
_SINGLE = 2.0**-24
_FEWEST_TOKENS, _FEWEST_STEPS = 8192, 24
_MOST = 2048
"""More candidates than this in a step, and the full product is as fast."""
_PATIENCE = 8
"""Steps with too many candidates after which screening is given up."""


class Screen:
    """A bfloat16 copy of an unembedding, and how far its logits may be from the true ones."""

    def __init__(self, rows: Float[Tensor, "d_vocab d_model"]) -> None:
        """Copy the rows, less their mean, which moves all logits alike.

        Memory: two bytes a weight (77 MB for the 125M shape).
        """
        self.check = _product(rows)
        mean = (rows.new_ones(len(rows)) @ rows) / len(rows)
        half = torch.empty(rows.shape, dtype=torch.bfloat16)
        lost, size = torch.empty(len(rows)), torch.empty(len(rows))
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            centred = rows[part] - mean
            half[part] = centred
            size[part] = torch.linalg.vector_norm(centred, dim=1)
            lost[part] = torch.linalg.vector_norm(centred.sub_(half[part]), dim=1)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(half, 8)
        # Float32 sums of n products are off by at most n ulps of the product of the norms: in the
        # kernel, in the exact logits of the candidates, and in those that an argmax would compare.
        ulps = 8 * (rows.shape[1] + 8) * _SINGLE
        whole = 2 * size + torch.linalg.vector_norm(mean)  # of a row and of what is left of it
        self._bound = torch.stack([1.001 * lost + ulps * whole, 1.001 * size])
        self._misses = 0

    def argmax(
        self, hidden: Float[Tensor, "row d_model"], rows: Float[Tensor, "d_vocab d_model"]
    ) -> Int[Tensor, " row"] | None:
        """Return each row's highest logit's token, the lowest of equals; None if it cannot help."""
        half = hidden.bfloat16()
        near = torch.ops.mkldnn._linear_pointwise(half, self._packed, None, "none", [], "").float()
        norms = torch.stack(
            [
                torch.linalg.vector_norm(hidden, dim=1),
                torch.linalg.vector_norm(hidden - half.float(), dim=1),
            ],
            dim=1,
        )
        slack = (norms @ self._bound).add_(near.abs(), alpha=1.01 * _HALF).mul_(1.001)
        least = (near - slack).amax(dim=1, keepdim=True)
        row, token = (near.add_(slack) >= least).nonzero(as_tuple=True)
        if not 0 < len(token) <= _MOST * len(hidden):
            self._misses += 1
            return None
        if bool(least.isnan().any()):  # not a number: nothing here can be compared
            return None
        # Summed row by row, so that equal rows give equal logits, whatever stands beside them.
        exact = (rows[token] * hidden[row]).sum(1)
        if len(hidden) == 1:
            best: Tensor = token[exact.argmax()][None]
            return best
        counts = torch.bincount(row, minlength=len(hidden)).tolist()
        parts = zip(exact.split(counts), token.split(counts), strict=True)
        return torch.stack([some[logits.argmax()] for logits, some in parts])

    @property
    def helps(self) -> bool:
        """Whether candidates have been few enough so far."""
        return self._misses < _PATIENCE


_SCREENS: weakref.WeakKeyDictionary[HookedGPTNeo, Screen] = weakref.WeakKeyDictionary()


def screen_for(model: HookedGPTNeo, steps: int) -> Screen | None:
    """Return the model's screen where it pays off, made anew if the unembedding has changed.

    Args:
        model: Its copy is kept as long as it lives.
        steps: New tokens that may come.
    """
    rows = model.unembed.rows
    fits = (
        rows.dtype == torch.float32
        and rows.device.type == "cpu"
        and len(rows) >= _FEWEST_TOKENS
        and steps >= _FEWEST_STEPS
        and has_onednn()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    if not fits:
        return None
    kept = _SCREENS.get(model)
    if kept is None or not torch.equal(kept.check, _product(rows)):
        kept = _SCREENS[model] = Screen(rows.detach())
    return kept if kept.helps else None


def _product(rows: Float[Tensor, "d_vocab d_model"]) -> Float[Tensor, " d_vocab"]:
    """One number a row that tells whether any weight of it has changed."""
    generator = torch.Generator().manual_seed(rows.shape[1])
    return rows.detach() @ torch.rand(rows.shape[1], generator=generator).add_(0.5)
