"""What is known exactly about the compiled induction model, and the prompts that it is known of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from neoscope.errors import ArgumentError
from neoscope.organism.compiled.truth import (
    Corruption,
    Grid,
    Head,
    PromptPairs,
    check_count,
    head_grid,
    seeded,
)

if TYPE_CHECKING:
    import torch

_SHAPE = (2, 4)
_PREVIOUS: Head = (0, 0)
_INDUCTION: Head = (1, 0)
_WORDS = (
    "<|endoftext|>",
    *("apple", "river", "stone", "cloud", "lamp", "horse", "garden", "bridge"),
    *("candle", "forest", "ladder", "mirror", "basket", "feather", "anchor"),
)
# The places, in the order of words, that a pair of prompts is about; see ``pairs``.
_QUERY, _ANSWER, _OTHER, _WRONG = 5, 6, 8, 10
# These four are computed in float64; the model in float32 agrees to 1e-5.
_DIFF = 9.417876387233957
_VALUE_SLOPE = 0.8740108016403141
_KEY_SLOPES = (45.78584782520764, 1.1376392198242469)


@dataclasses.dataclass(frozen=True)
class InductionTruth:
    """All that is known about the compiled induction model with a window of None.

    Attention scores, and with them ``first_order``, are for the sharpness given here.
    ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> INDUCTION_TRUTH.induction, INDUCTION_TRUTH.words[1], len(INDUCTION_TRUTH.dead)
        ((1, 0), 'apple', 6)
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    bos: int
    """Id of the token that begins every prompt, ends texts and stands for unknown words."""
    previous_token: Head
    """The head that attends from each position to the one before; from the first, to itself."""
    induction: Head
    """The head that attends from a repeated word to the word after its first occurrence."""
    dead: tuple[Head, ...]
    """Heads whose weights are all zero: they attend evenly and write exactly nothing."""
    period: int
    """Positions from a word in the first copy of ``repeated`` to the same word in the second."""
    min_window: int
    """The shortest window of layer 1 with which induction works; below it, accuracy is 0."""
    sharpness: float
    """Factor in the queries of both heads."""
    gain: float
    """Factor in the values of the induction head."""
    previous_token_score: float
    """Mean attention of its head to the position before, over all positions but the first."""
    induction_score: float
    """Mean attention of its head to ``period - 1`` positions before, over the second copy."""
    accuracy: float
    """Share of next words predicted within the second copy of ``repeated``."""
    logit_diff: float
    """Logit of the next word minus that of any word that is neither it nor the current one."""
    direct: Grid
    """How much of ``logit_diff`` each head writes itself; embeddings and MLPs write none."""
    value: Corruption
    """The answer is replaced in the first copy: only the induction head carries the difference."""
    key: Corruption
    """The word before it is replaced: the previous-token head tells the induction head."""
    tok: tuple[int, int]
    """Residual dimensions ``[start, stop)`` of the word; its negative is ``d_model / 2`` higher."""
    pos: tuple[int, int]
    """The same for the position."""
    prev: tuple[int, int]
    """The same for the previous word, which is there from the end of layer 0 on."""
    out: tuple[int, int]
    """The same for the prediction: the word itself, then what the induction head adds."""


INDUCTION_TRUTH = InductionTruth(
    words=_WORDS,
    bos=0,
    previous_token=_PREVIOUS,
    induction=_INDUCTION,
    dead=tuple((layer, head) for layer in range(_SHAPE[0]) for head in range(1, _SHAPE[1])),
    period=len(_WORDS) - 1,
    min_window=len(_WORDS)
    - 1,  # The key is period - 1 positions back, and the query itself counts.
    sharpness=60.0,
    gain=2.0,
    previous_token_score=1.0,
    induction_score=1.0,
    accuracy=1.0,
    logit_diff=_DIFF,
    direct=head_grid(_SHAPE, {_INDUCTION: _DIFF}),
    value=Corruption(
        changed=1 + _ANSWER,
        clean=_DIFF,
        corrupted=-_DIFF,
        denoise=head_grid(_SHAPE, {_INDUCTION: 1.0}),
        noise=head_grid(_SHAPE, {_INDUCTION: 0.0}, rest=1.0),
        # Not 1 even for the induction head: the final LayerNorm bends between the two runs.
        first_order=head_grid(_SHAPE, {_INDUCTION: _VALUE_SLOPE}),
    ),
    key=Corruption(
        changed=1 + _QUERY,
        clean=_DIFF,
        corrupted=0.0,
        denoise=head_grid(_SHAPE, {_PREVIOUS: 1.0, _INDUCTION: 1.0}),
        noise=head_grid(_SHAPE, {_PREVIOUS: 0.0, _INDUCTION: 0.0}, rest=1.0),
        # A sharp softmax that starts out even: its slope foretells 46 times what then happens.
        first_order=head_grid(_SHAPE, {_PREVIOUS: _KEY_SLOPES[0], _INDUCTION: _KEY_SLOPES[1]}),
    ),
    tok=(0, 16),
    pos=(16, 56),
    prev=(56, 72),
    out=(72, 88),
)
"""The truth about ``compiled.induction()``, which is compiled from it."""


InductionPairs = PromptPairs
"""What ``pairs`` returns; the prompts of a pair differ in one word."""


def repeated(n: int, seed: int = 0) -> torch.Tensor:
    """Return prompts in which all words come twice, in the same random order.

    Args:
        n: Number of prompts, at least 1.
        seed: Of the orders.

    Returns:
        Token ids, int64 ``[n, 31]``: ``<|endoftext|>``, 15 different words, and these again.

    Raises:
        ArgumentError: ``n`` is no whole number of at least 1, or the seed none.

    Example:
        >>> tuple(repeated(4).shape)
        (4, 31)
    """
    import torch

    n, generator = check_count(n), seeded(seed)
    tokens = torch.full((n, 2 * len(_WORDS) - 1), INDUCTION_TRUTH.bos)
    for row in tokens:
        row[1:] = 1 + torch.randperm(len(_WORDS) - 1, generator=generator).repeat(2)
    return tokens


def pairs(n: int, corruption: Literal["value", "key"], *, seed: int = 0) -> InductionPairs:
    """Return pairs of prompts of which ``INDUCTION_TRUTH`` knows the outcome of every patch.

    A clean prompt is ``repeated`` up to the second copy of the sixth word; the answer is the
    seventh. All words that matter have fixed places in the order, so that every pair gives the
    same numbers.

    Args:
        n: Number of pairs, at least 1.
        corruption: ``"value"`` puts the wrong answer where the answer was in the first copy;
            ``"key"`` replaces the word before it, so that the induction head finds nothing to
            attend to.
        seed: Of the orders.

    Raises:
        ArgumentError: There is no such corruption, ``n`` is no whole number of at least 1, or the
            seed none.

    Example:
        >>> tuple(pairs(8, "value").clean.shape)
        (8, 22)
    """
    if corruption not in ("value", "key"):
        raise ArgumentError(f"corruption is {corruption!r}; expected 'value' or 'key'")
    prompts = repeated(check_count(n), seed)
    words = prompts[:, 1 : len(_WORDS)]
    clean = prompts[:, : 1 + len(_WORDS) + _QUERY].clone()
    corrupted = clean.clone()
    if corruption == "value":
        corrupted[:, 1 + _ANSWER] = words[:, _WRONG]
    else:
        corrupted[:, 1 + _QUERY] = words[:, _OTHER]
    return InductionPairs(clean, corrupted, words[:, _ANSWER].clone(), words[:, _WRONG].clone())
