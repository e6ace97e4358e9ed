"""A hand-compiled three-layer GPT-Neo in which sentiment is one direction, from layer 1 on.

Three heads of layer 0 bring topic, negation and polarity to the last position; four neurons of
layer 1 take the exclusive or of the last two; two neurons of layer 2 turn it into an answer. The
truth that follows is ``DIRECTION_TRUTH``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.config import NeoConfig
from neoscope.errors import ArgumentError
from neoscope.indices import whole
from neoscope.organism.compiled.building import checkpoint_files, zero_weights
from neoscope.organism.compiled.direction_truth import (
    ANSWER_WEIGHT,
    D_MODEL,
    DIRECTION_TRUTH,
    MOVED_TOPIC,
    N_PLAIN,
    NUISANCE,
    TOPIC_SIZE,
    feature,
)
from neoscope.organism.compiled.folder import cached
from neoscope.organism.compiled.truth import ln_factor, seeded

if TYPE_CHECKING:
    import torch

_TRUTH = DIRECTION_TRUTH
_ON = 8.0  # A neuron stands at 8 or at -8, where the float32 GELU is exactly 8 or 0.
_SHARPNESS = 4.0  # Attended keys score 255 above others: a float32 softmax is exactly one-hot.


def direction() -> Path:
    """Return the folder of the compiled sentiment model in the user's cache, written if need be.

    Raises:
        CheckpointError: The cache cannot be written.

    Example:
        >>> import neoscope as ns
        >>> word = int(ns.load(direction())("<|endoftext|> film not awful .")[0, -1].argmax())
        >>> DIRECTION_TRUTH.words[word]
        'positive'
    """
    config = NeoConfig(
        n_layers=3,
        d_model=D_MODEL,
        n_heads=4,
        n_ctx=16,
        d_vocab=len(_TRUTH.words),
        attention_layers=("global", "global", "global"),
        d_mlp=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    return cached("direction", checkpoint_files(config, _weights(config), _TRUTH.words))


def _weights(config: NeoConfig) -> dict[str, torch.Tensor]:
    import torch

    weights = zero_weights(config)
    words = torch.tensor([feature(i + 1) for i in range(N_PLAIN)])
    answer = ANSWER_WEIGHT * torch.tensor(_TRUTH.answer_direction)
    weights["wte.weight"] = torch.cat([words, answer[None], -answer[None]])
    _add_movers(weights, config, words)
    _add_exclusive_or(weights)
    _add_answer(weights)
    return weights


def _add_movers(weights: dict[str, torch.Tensor], config: NeoConfig, words: torch.Tensor) -> None:
    """Give layer 0 a head for each bit and one for the topic, which all but endings leave idle."""
    import torch

    def total(ids: tuple[int, ...]) -> torch.Tensor:
        return words[list(ids)].sum(0)

    endings, bos = total(_TRUTH.endings), words[0]
    topics = torch.tensor([feature(MOVED_TOPIC + i) for i in range(len(_TRUTH.topics))])
    negation = total(_TRUTH.negations) - total(_TRUTH.intensifiers)
    polarity = total(_TRUTH.good) - total(_TRUTH.bad)
    heads = (
        (_TRUTH.topics, words[list(_TRUTH.topics)], TOPIC_SIZE * topics),
        (
            _TRUTH.negations + _TRUTH.intensifiers,
            negation[None],
            torch.tensor([_TRUTH.negation_direction]),
        ),
        (_TRUTH.good + _TRUTH.bad, polarity[None], torch.tensor([_TRUTH.polarity_direction])),
    )
    attention = f"h.{_TRUTH.bits_layer}.attn.attention"
    for head, (keys, read, write) in enumerate(heads):
        first = head * config.d_head
        asks = ((endings, total(keys)), (words.sum(0) - endings, bos))
        for row, (query, key) in enumerate(asks):
            weights[f"{attention}.q_proj.weight"][first + row] = _SHARPNESS * query
            weights[f"{attention}.k_proj.weight"][first + row] = key
        values = slice(first, first + len(read))
        weights[f"{attention}.v_proj.weight"][values] = read
        weights[f"{attention}.out_proj.weight"][:, values] = (write / ln_factor(1.0, D_MODEL)).T


def _add_exclusive_or(weights: dict[str, torch.Tensor]) -> None:
    """Give layer 1 one neuron for each of the four ways that two bits can be."""
    import torch

    negation = torch.tensor(_TRUTH.negation_direction)
    polarity = torch.tensor(_TRUTH.polarity_direction)
    sentiment = _TRUTH.projection * torch.tensor(_TRUTH.direction)
    seen = ln_factor(NUISANCE, D_MODEL)
    mlp = f"h.{_TRUTH.layer}.mlp"
    for neuron, (p, n) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        # Both bits right sum to 2, one to 0, none to -2; the bias puts the threshold at 1.
        weights[f"{mlp}.c_fc.weight"][neuron] = _ON / seen * (p * polarity + n * negation)
        weights[f"{mlp}.c_fc.bias"][neuron] = -_ON
        weights[f"{mlp}.c_proj.weight"][:, neuron] = -p * n * sentiment / _ON


def _add_answer(weights: dict[str, torch.Tensor]) -> None:
    """Give layer 2 one neuron for each side of the direction; in the middle both are at 0."""
    import torch

    sentiment = torch.tensor(_TRUTH.direction) / _TRUTH.projection
    answer = _TRUTH.answer_projection * torch.tensor(_TRUTH.answer_direction)
    seen = ln_factor(NUISANCE + _TRUTH.projection**2, D_MODEL)
    mlp = f"h.{_TRUTH.answer_layer}.mlp"
    for neuron, sign in enumerate((1, -1)):
        weights[f"{mlp}.c_fc.weight"][neuron] = sign * _ON / seen * sentiment
        weights[f"{mlp}.c_proj.weight"][:, neuron] = sign * answer / _ON


@dataclasses.dataclass(frozen=True)
class DirectionPrompts:
    """Prompts with their class, and the two bits that it is made of."""

    tokens: torch.Tensor
    """Token ids ``[n, 5]``."""
    label: torch.Tensor
    """Whether each is positive, bool ``[n]``: ``good != negated``."""
    good: torch.Tensor
    """Whether its adjective is of positive polarity, bool ``[n]``."""
    negated: torch.Tensor
    """Whether that is turned round, bool ``[n]``."""


def direction_prompts(n: int, seed: int = 0) -> DirectionPrompts:
    """Return labelled prompts in balanced groups of four.

    The four prompts of a group have one topic and one ending; each polarity meets each negation.
    So every sum of features of single words has the same mean in both classes, whatever was drawn:
    to keep that, divide prompts into parts between groups only.

    Args:
        n: Number of prompts, a multiple of 4.
        seed: Of the draw.

    Raises:
        ArgumentError: ``n`` is no multiple of 4 of at least 4, or the seed is no whole number.

    Example:
        >>> prompts = direction_prompts(8)
        >>> tuple(prompts.tokens.shape), prompts.label.tolist()[:4]
        ((8, 5), [True, False, False, True])
    """
    import torch

    count = whole(n) or 0
    if count < 1 or count % 4:
        raise ArgumentError(f"n is {n!r}; expected a multiple of 4, at least 4")
    n, generator = count, seeded(seed)

    def draw(ids: tuple[int, ...]) -> torch.Tensor:
        chosen = torch.randint(len(ids), (n // 4,), generator=generator)
        return torch.tensor(ids)[chosen]

    topic, ending = draw(_TRUTH.topics), draw(_TRUTH.endings)
    modifiers = torch.stack([draw(_TRUTH.intensifiers), draw(_TRUTH.negations)], dim=1)
    adjectives = torch.stack([draw(_TRUTH.bad), draw(_TRUTH.good)], dim=1)
    good, negated = torch.tensor([1, 1, 0, 0]), torch.tensor([0, 1, 0, 1])
    columns = (
        torch.zeros(n, dtype=torch.int64),
        topic.repeat_interleave(4),
        modifiers[:, negated].flatten(),
        adjectives[:, good].flatten(),
        ending.repeat_interleave(4),
    )
    rows = n // 4
    return DirectionPrompts(
        tokens=torch.stack(columns, dim=1),
        label=(good != negated).repeat(rows),
        good=good.bool().repeat(rows),
        negated=negated.bool().repeat(rows),
    )
