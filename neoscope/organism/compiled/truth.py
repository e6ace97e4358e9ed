"""The words in which the truths about compiled models are put."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError
from neoscope.indices import whole

if TYPE_CHECKING:
    import torch

Head = tuple[int, int]
"""A layer and a head of it."""
Grid = tuple[tuple[float, ...], ...]
"""One number for each head, as ``[layer][head]``."""


@dataclasses.dataclass(frozen=True)
class Corruption:
    """What must come out when heads are patched between the two prompts of a pair.

    Effects are normalised: 0 is the corrupted run's logit difference and 1 the clean run's. Each
    number of a grid is for patching the whole output of one head, at all positions.
    """

    changed: int
    """The only position at which the two prompts differ."""
    clean: float
    """Logit of the answer minus logit of the wrong answer at the end of the clean prompt."""
    corrupted: float
    """The same for the corrupted prompt."""
    denoise: Grid
    """Effect of putting a head's clean output into the corrupted run."""
    noise: Grid
    """What is left of the effect when a head's corrupted output is put into the clean run."""
    first_order: Grid
    """What attribution patching makes of ``denoise``: the corrupted gradient, times the change."""


@dataclasses.dataclass(frozen=True)
class PromptPairs:
    """Pairs of prompts of one length, and the two next words to tell them apart by."""

    clean: torch.Tensor
    """Token ids ``[batch, pos]``; what follows the last one is asked for."""
    corrupted: torch.Tensor
    """The same with what matters replaced, ``[batch, pos]``."""
    answer: torch.Tensor
    """The clean prompt's next word, ``[batch]``."""
    wrong: torch.Tensor
    """Another word, ``[batch]``; where the corruption leads to a next word, it is that one."""


def head_grid(shape: tuple[int, int], live: Mapping[Head, float], rest: float = 0.0) -> Grid:
    """Return one number for each head: those named, and the same for all others.

    Args:
        shape: Number of layers, and of heads in each.
        live: The numbers of some heads.
        rest: That of the others.

    Example:
        >>> head_grid((1, 3), {(0, 1): 2.0})
        ((0.0, 2.0, 0.0),)
    """
    return tuple(
        tuple(live.get((layer, head), rest) for head in range(shape[1]))
        for layer in range(shape[0])
    )


def ln_factor(squares: float, d_model: int, eps: float = 1e-5) -> float:
    """Return what a LayerNorm multiplies a stream by that has mean 0.

    Args:
        squares: Sum of the stream's squares; an antipodal feature of size ``x`` adds ``2 * x**2``.
        d_model: Width of the stream.
        eps: GPT-Neo's is 1e-5.

    Example:
        >>> round(ln_factor(6.0, 176), 6)
        5.415231
    """
    return float((squares / d_model + eps) ** -0.5)


def check_count(n: Any) -> int:
    """Return ``n`` as an int, or raise ``ArgumentError`` unless it is one of at least 1."""
    count = whole(n)
    if count is None or count < 1:
        raise ArgumentError(f"n is {n!r}; expected a whole number, at least 1")
    return count


def seeded(seed: Any) -> torch.Generator:
    """Return a source of randomness, or raise ``ArgumentError`` unless the seed can be one."""
    import torch

    number = whole(seed)
    if number is None or not -(2**63) <= number < 2**63:
        raise ArgumentError(f"seed is {seed!r}; expected a whole number of at most 63 bits")
    return torch.Generator().manual_seed(number)
