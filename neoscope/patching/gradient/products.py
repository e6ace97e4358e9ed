"""What stands between gradients and scores: the change from base to donor, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.patching.gradient.gradients import Trace
from neoscope.patching.gradient.sums import Sums, visible
from neoscope.patching.metrics.metric import full


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one chunk of pairs, and what its base run gave; nothing here holds a graph."""

    scores: Float[Tensor, "chunk *cells"]
    values: Float[Tensor, "chunk"]
    """The metric in the base run."""
    components: Float[Tensor, "chunk parts"]
    """The logits behind it."""


def change(
    sums: Sums, pairs: Int[Tensor, "chunk"], base: Trace, donor: Trace, layer: int | None
) -> Float[Tensor, "chunk *axes"]:
    """Return donor minus base at one layer of the site, in float32 or better.

    It is exactly zero in padding and left of the first different token, where two runs of a causal
    model agree but for rounding.
    """
    x, y = full(base.at(sums.traced, layer)), full(donor.at(sums.traced, layer))
    # Masked scores are -inf in both.
    return only_visible(sums, pairs, torch.where(x == y, 0.0, y - x), layer)


def only_visible(
    sums: Sums,
    pairs: Int[Tensor, "chunk"],
    x: Float[Tensor, "chunk *axes"],
    layer: int | None,
) -> Float[Tensor, "chunk *axes"]:
    """Return ``x``, shaped as the site, with exact zeros where base and donor cannot differ."""
    real = visible(sums.prompts, sums.site, layer)[pairs].to(x.device)
    shape = [1] * x.ndim
    shape[0], shape[2 if sums.square else 1] = real.shape
    return torch.where(real.view(shape), x, 0.0)


def by_layer(
    sums: Sums, pairs: Int[Tensor, "chunk"], product: Callable[[int | None], Tensor]
) -> Float[Tensor, "chunk *cells"]:
    """Sum the product of each layer into its cells, and stack the layers.

    Args:
        sums: The cells.
        pairs: The pair of each row.
        product: Change times gradient at a layer (None for ``embed``), shaped as the site.
    """
    if not sums.layers:
        return sums.reduce(product(None), pairs)
    return torch.stack([sums.reduce(product(layer), pairs) for layer in sums.layers], dim=1)
