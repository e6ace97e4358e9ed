"""A hand-compiled three-layer GPT-Neo that knows sixteen facts, one neuron for each subject.

The MLP of layer 0 recalls at the subject, the MLP of layer 1 tells at the relation which words can
follow, and a head of layer 2 moves the attribute asked for to the last position, where the logits
read it. The truth that follows is ``FACT_TRUTH``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.config import NeoConfig
from neoscope.errors import ArgumentError
from neoscope.indices import whole
from neoscope.organism.compiled.building import antipodal, checkpoint_files, zero_weights
from neoscope.organism.compiled.fact_truth import D_MODEL, FACT_TRUTH, MOVED, PRIOR
from neoscope.organism.compiled.folder import cached
from neoscope.organism.compiled.truth import PromptPairs, ln_factor

if TYPE_CHECKING:
    import torch

_TRUTH = FACT_TRUTH
_SHARPNESS = 10.0  # Attended keys score above 140, so that a float32 softmax is exactly one-hot.


def facts() -> Path:
    """Return the folder of the compiled fact memory in the user's cache, written if need be.

    Raises:
        CheckpointError: The cache cannot be written.

    Example:
        >>> import neoscope as ns
        >>> model = ns.load(facts())
        >>> word = int(model("<|endoftext|> hugo plays")[0, -1].argmax())
        >>> FACT_TRUTH.words[word]
        'drums'
    """
    config = NeoConfig(
        n_layers=3,
        d_model=D_MODEL,
        n_heads=4,
        n_ctx=16,
        d_vocab=len(_TRUTH.words),
        attention_layers=("global", "global", "global"),
        d_mlp=16,
        bos_token_id=_TRUTH.bos,
        eos_token_id=_TRUTH.bos,
    )
    return cached("facts", checkpoint_files(config, _weights(config), _TRUTH.words))


class _Builder:
    """Weights in the making, and the feature spaces that they read and write."""

    def __init__(self, config: NeoConfig) -> None:
        self.config = config
        self.weights = zero_weights(config)
        d = config.d_model
        self.tok, self.attribute, self.out = (
            antipodal(d, *space) for space in (_TRUTH.tok, _TRUTH.attribute, _TRUTH.out)
        )

    def neuron(self, layer: int, index: int, words: Iterable[int], write: torch.Tensor) -> None:
        """Make a neuron that is ``on`` at these words, stands at 0 elsewhere, and adds ``write``.

        Off, it gets ``-on``, where the float32 GELU is exactly 0.
        """
        mlp = f"h.{layer}.mlp"
        reader = self.tok[list(words)].sum(0) / 2 / ln_factor(2.0, D_MODEL)
        self.weights[f"{mlp}.c_fc.weight"][index] = 2 * _TRUTH.on * reader
        self.weights[f"{mlp}.c_fc.bias"][index] = -_TRUTH.on
        self.weights[f"{mlp}.c_proj.weight"][:, index] = write / _TRUTH.on

    def mover(self, relation: int) -> None:
        """Make the head that serves a relation; without work it attends to position 0."""
        served = _TRUTH.relations[relation]
        layer, head = served.mover
        attention = f"h.{layer}.attn.attention"
        first = head * self.config.d_head
        ask, rest = self.tok[served.word], self.tok.sum(0) - self.tok[served.word]
        subjects, bos = self.tok[list(_TRUTH.subjects)].sum(0), self.tok[_TRUTH.bos]
        for row, (query, key) in enumerate(((ask, subjects), (rest, bos))):
            self.weights[f"{attention}.q_proj.weight"][first + row] = _SHARPNESS * query / 2
            self.weights[f"{attention}.k_proj.weight"][first + row] = key / 2
        objects = slice(4 * relation, 4 * relation + 4)
        # A subject's stream holds the word and what is recalled of it: three features.
        moved = self.out[objects] * MOVED / ln_factor(6.0, D_MODEL)
        values = slice(first, first + 4)
        self.weights[f"{attention}.v_proj.weight"][values] = self.attribute[objects] / 2
        self.weights[f"{attention}.out_proj.weight"][:, values] = moved.T


def _weights(config: NeoConfig) -> dict[str, torch.Tensor]:
    import torch

    builder = _Builder(config)
    tok, attribute, out = builder.tok, builder.attribute, builder.out
    first = _TRUTH.relations[0].objects[0]
    # The unembedding is the embedding; the final LayerNorm lets it read the prediction only.
    builder.weights["wte.weight"] = tok.clone()
    builder.weights["wte.weight"][first : first + len(out)] += out
    builder.weights["ln_f.weight"] = out.abs().sum(dim=0)
    for i, neuron in enumerate(_TRUTH.neurons):
        known = attribute[[answer - first for answer in _TRUTH.answers[i]]].sum(0)
        builder.neuron(_TRUTH.recall_layer, neuron, [_TRUTH.subjects[i]], known)
    for neuron, places in _TRUTH.distractors:
        subjects = [_TRUTH.subjects[place] for place in places]
        builder.neuron(_TRUTH.recall_layer, neuron, subjects, torch.zeros(D_MODEL))
    for i, relation in enumerate(_TRUTH.relations):
        prior = PRIOR * out[4 * i : 4 * i + 4].sum(0)
        builder.neuron(_TRUTH.prior_layer, relation.neuron, [relation.word], prior)
        builder.mover(i)
    return builder.weights


@dataclasses.dataclass(frozen=True)
class FactPrompts:
    """All facts as prompts."""

    tokens: torch.Tensor
    """Token ids ``[16, 3]``."""
    subject: torch.Tensor
    """Place of the subject in ``FACT_TRUTH.subjects``, ``[16]``."""
    relation: torch.Tensor
    """Place of the relation in ``FACT_TRUTH.relations``, ``[16]``."""
    answer: torch.Tensor
    """Id of the object, ``[16]``."""


def fact_prompts() -> FactPrompts:
    """Return every fact once: each subject, and each relation within it.

    Example:
        >>> tuple(fact_prompts().tokens.shape)
        (16, 3)
    """
    import torch

    places: Any = torch.cartesian_prod(
        torch.arange(len(_TRUTH.subjects)), torch.arange(len(_TRUTH.relations))
    )
    subject, relation = places.T.contiguous()
    words = torch.tensor([each.word for each in _TRUTH.relations])
    columns = (
        torch.full_like(subject, _TRUTH.bos),
        torch.tensor(_TRUTH.subjects)[subject],
        words[relation],
    )
    answer = torch.tensor(_TRUTH.answers)[subject, relation]
    return FactPrompts(torch.stack(columns, dim=1), subject, relation, answer)


def fact_pairs(relation: int) -> PromptPairs:
    """Return all pairs of subjects between which one relation tells, as prompts.

    Each prompt is about one subject; answer and wrong answer are the two subjects' objects.

    Args:
        relation: Its place in ``FACT_TRUTH.relations``.

    Raises:
        ArgumentError: There is no such relation.

    Example:
        >>> tuple(fact_pairs(1).clean.shape)
        (48, 3)
    """
    import torch

    if whole(relation) not in range(len(_TRUTH.relations)):
        raise ArgumentError(f"relation is {relation!r}; expected 0 or 1")
    known = fact_prompts()
    rows = known.relation == relation
    tokens, answer = known.tokens[rows], known.answer[rows]
    first, second = torch.nonzero(answer[:, None] != answer[None], as_tuple=True)
    return PromptPairs(tokens[first], tokens[second], answer[first], answer[second])
