"""What is known exactly about the compiled gates, and the prompts that it is known of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from neoscope.errors import ArgumentError
from neoscope.organism.compiled.truth import Grid, Head, PromptPairs, head_grid, ln_factor

if TYPE_CHECKING:
    import torch

_WORDS = ("<|endoftext|>", "off", "on", "and", "or", "true", "false")
_SHAPE = (1, 4)
_LEFT: Head = (0, 0)
_RIGHT: Head = (0, 1)
_D_MODEL = 48
_MARGIN, _GAIN = 40.0, 2.0
# At the end of a prompt: a word, its own prediction, a position, two bits, "true" and "false".
_FINAL = ln_factor(10 + 4 * _GAIN**2, _D_MODEL)
_DIFF = 4 * _GAIN * _FINAL
_INPUTS = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclasses.dataclass(frozen=True)
class GateState:
    """What the model does with one pair of inputs."""

    left: int
    """The first input, which stands at position 1; 1 is "on"."""
    right: int
    """The second, at position 2."""
    output: int
    """What is predicted after the gate's word at position 3; 1 is "true"."""
    logit_diff: float
    """Logit of "true" minus logit of "false" there."""
    pre: tuple[float, ...]
    """What goes into each neuron there."""
    post: tuple[float, ...]
    """What comes out: exactly 0 or, to float32, what went in, since GELU is far from its bend."""
    direct_neurons: tuple[float, ...]
    """How much of ``logit_diff`` each neuron writes; ``direct_bias`` is the rest."""


@dataclasses.dataclass(frozen=True)
class GateTruth:
    """What must come out when one gate's inputs are patched between both on and both off.

    Effects are normalised: 0 is the corrupted run's logit difference and 1 the clean run's. Each
    number is for patching the whole output of one component, at all positions.
    """

    word: str
    """The word that asks for this gate."""
    neurons: tuple[int, ...]
    """The neurons that compute it; they are off at all other words."""
    states: tuple[GateState, ...]
    """All four, in the order of ``gate_prompts``."""
    clean: float
    """Logit of "true" minus logit of "false" where both inputs are on."""
    corrupted: float
    """The same where both are off."""
    denoise: Grid
    """Effect of putting one head's clean output into the corrupted run."""
    noise: Grid
    """What is left of the effect when one head's corrupted output is put into the clean run."""
    denoise_both: float
    """As ``denoise``, for the two input heads together."""
    noise_both: float
    """As ``noise``, for the two input heads together."""
    denoise_mlp: float
    """As ``denoise``, for the output of the MLP."""
    noise_mlp: float
    """As ``noise``, for the output of the MLP."""
    first_order: Grid
    """What attribution patching makes of ``denoise``. GELU is flat at the corrupted run, so that
    only the final LayerNorm, which heeds the heads' outputs, is seen."""


@dataclasses.dataclass(frozen=True)
class GatesTruth:
    """All that is known about the compiled gates.

    ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> GATES_TRUTH.both.denoise, GATES_TRUTH.both.noise
        (((0.0, 0.0, 0.0, 0.0),), ((0.0, 0.0, 1.0, 1.0),))
        >>> GATES_TRUTH.either.denoise, GATES_TRUTH.either.noise
        (((1.0, 1.0, 0.0, 0.0),), ((1.0, 1.0, 1.0, 1.0),))
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    bos: int
    """Id of the token that begins every prompt."""
    left: Head
    """The head that brings the first input, by attending to position 1 from there on."""
    right: Head
    """The head that brings the second input, by attending to position 2 from there on."""
    dead: tuple[Head, ...]
    """Heads whose weights are all zero: they attend evenly and write exactly nothing."""
    sharpness: float
    """Factor in the queries."""
    margin: float
    """Factor in what goes into the neurons, in units of one input: none is nearer to GELU's bend
    than a quarter of it."""
    gain: float
    """How much of the prediction the MLP writes, in units of an embedding."""
    left_score: float
    """Attention of its head from the end of a prompt to position 1."""
    right_score: float
    """Attention of its head from the end of a prompt to position 2."""
    accuracy: float
    """Share of "true" and "false" predicted rightly, over both gates and all inputs."""
    direct: Grid
    """How much of a logit difference each head writes itself: nothing, the MLP writes all."""
    direct_bias: float
    """How much the MLP's bias writes, whatever the inputs; it makes both outcomes equally far."""
    dead_neurons: tuple[int, ...]
    """Neurons whose weights are all zero."""
    both: GateTruth
    """AND: denoising one head finds nothing, and noising one destroys all."""
    either: GateTruth
    """OR: denoising one head restores all, and noising one finds nothing."""
    tok: tuple[int, int]
    """Residual dimensions ``[start, stop)`` of the word; its negative is ``d_model / 2`` higher."""
    pos: tuple[int, int]
    """The same for the position."""
    left_bit: tuple[int, int]
    """The same for the first input: off, on."""
    right_bit: tuple[int, int]
    """The same for the second input: off, on."""
    out: tuple[int, int]
    """The same for the prediction: the word itself, then what the MLP adds."""


def _state(word: str, left: int, right: int) -> GateState:
    total = left + right
    # AND fires at a total of 3, that of its word included; OR, whose word counts twice, levels off
    # there as the difference of two neurons.
    pre = (
        _MARGIN * (total + (word == "and") - 2.5),
        _MARGIN * (total + 2 * (word == "or") - 2.25),
        _MARGIN * (total + 2 * (word == "or") - 2.75),
        0.0,
    )
    post = tuple(max(x, 0.0) for x in pre)
    signs = (1, 1, -1, 0)
    output = min(left, right) if word == "and" else max(left, right)
    return GateState(
        left=left,
        right=right,
        output=output,
        logit_diff=_DIFF if output else -_DIFF,
        pre=pre,
        post=post,
        direct_neurons=tuple(
            4 * _DIFF / _MARGIN * sign * x for sign, x in zip(signs, post, strict=True)
        ),
    )


def _gate(word: str, neurons: tuple[int, ...], *, one_is_enough: float) -> GateTruth:
    """Return a gate's truth; in either direction, one head of two does what it does alone."""
    inputs = (_LEFT, _RIGHT)
    return GateTruth(
        word=word,
        neurons=neurons,
        states=tuple(_state(word, *bits) for bits in _INPUTS),
        clean=_DIFF,
        corrupted=-_DIFF,
        denoise=head_grid(_SHAPE, dict.fromkeys(inputs, one_is_enough)),
        noise=head_grid(_SHAPE, dict.fromkeys(inputs, one_is_enough), rest=1.0),
        denoise_both=1.0,
        noise_both=0.0,
        denoise_mlp=1.0,
        noise_mlp=0.0,
        first_order=head_grid(_SHAPE, dict.fromkeys(inputs, -(_FINAL**2) / _D_MODEL)),
    )


GATES_TRUTH = GatesTruth(
    words=_WORDS,
    bos=0,
    left=_LEFT,
    right=_RIGHT,
    dead=((0, 2), (0, 3)),
    sharpness=60.0,
    margin=_MARGIN,
    gain=_GAIN,
    left_score=1.0,
    right_score=1.0,
    accuracy=1.0,
    direct=head_grid(_SHAPE, {}),
    direct_bias=-_DIFF,
    dead_neurons=(3,),
    both=_gate("and", (0,), one_is_enough=0.0),
    either=_gate("or", (1, 2), one_is_enough=1.0),
    tok=(0, 7),
    pos=(7, 13),
    left_bit=(13, 15),
    right_bit=(15, 17),
    out=(17, 24),
)
"""The truth about ``compiled.gates()``, which is compiled from it."""


def gate_prompts(gate: Literal["and", "or"]) -> torch.Tensor:
    """Return a gate's four prompts, such as ``<|endoftext|> on off and``.

    Args:
        gate: Which one.

    Returns:
        Token ids, int64 ``[4, 4]``; in binary order of the inputs: off off, off on, on off, on on.

    Raises:
        ArgumentError: There is no such gate.

    Example:
        >>> gate_prompts("and").tolist()
        [[0, 1, 1, 3], [0, 1, 2, 3], [0, 2, 1, 3], [0, 2, 2, 3]]
    """
    import torch

    if gate not in ("and", "or"):
        raise ArgumentError(f"gate is {gate!r}; expected 'and' or 'or'")
    ids, bits = _WORDS.index, ("off", "on")
    return torch.tensor([[0, ids(bits[a]), ids(bits[b]), ids(gate)] for a, b in _INPUTS])


def gate_pairs(gate: Literal["and", "or"]) -> PromptPairs:
    """Return the pair of prompts of which a ``GateTruth`` knows the outcome of every patch.

    The clean prompt has both inputs on, the corrupted one both off; the answer is "true" and the
    wrong answer "false".

    Args:
        gate: Which one.

    Raises:
        ArgumentError: There is no such gate.

    Example:
        >>> gate_pairs("or").clean.tolist(), gate_pairs("or").corrupted.tolist()
        ([[0, 2, 2, 4]], [[0, 1, 1, 4]])
    """
    import torch

    prompts = gate_prompts(gate)
    answer, wrong = (torch.tensor([_WORDS.index(word)]) for word in ("true", "false"))
    return PromptPairs(prompts[3:], prompts[:1], answer, wrong)
