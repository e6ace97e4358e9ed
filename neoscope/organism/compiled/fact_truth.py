"""What is known exactly about the compiled fact memory: who knows what, and what every patch does.

Numbers follow from the circuit in closed form; the model agrees to float32.
"""

from __future__ import annotations

import dataclasses
import math

from neoscope.organism.compiled.truth import Grid, Head, head_grid, ln_factor

_SUBJECTS = ("anna", "boris", "clara", "david", "elena", "felix", "greta", "hugo")
_RELATIONS = ("lives-in", "plays")
_OBJECTS = ("athens", "berlin", "cairo", "dublin", "drums", "flute", "harp", "violin")
_WORDS = ("<|endoftext|>", *_SUBJECTS, *_RELATIONS, *_OBJECTS)
_N_LAYERS, _N_HEADS, _N_POSITIONS = 3, 4, 3
_MOVERS: tuple[Head, ...] = ((2, 1), (2, 3))
D_MODEL = 72
"""Width of the residual stream."""
PRIOR, MOVED = 0.5, 1.0
"""What layer 1 adds to the prediction of each object of a relation, and layer 2 to the answer's."""
# All numbers of features count twice, because features are antipodal pairs.
_SEEN = ln_factor(2 * (1 + 3 * PRIOR**2 + (PRIOR + MOVED) ** 2), D_MODEL)
_FROM_PRIOR, _FROM_FACT = 2 * PRIOR * _SEEN, 2 * MOVED * _SEEN
_OTHERS = len(_WORDS) - 4  # Words whose logit is 0: all but the relation's objects.
_PARTITION = math.exp(_FROM_PRIOR + _FROM_FACT) + 3 * math.exp(_FROM_PRIOR) + _OTHERS


@dataclasses.dataclass(frozen=True)
class FactRelation:
    """One relation, and the circuit that serves it."""

    word: int
    """Its id."""
    objects: tuple[int, ...]
    """Ids of the words that can follow it."""
    neuron: int
    """The neuron of layer 1 that fires at it and raises all its objects alike."""
    mover: Head
    """The head that attends from it to the subject, and from any other word to position 0."""


@dataclasses.dataclass(frozen=True)
class FactEffects:
    """What comes of patching one place; 0 is the run without the answer and 1 the run with it."""

    resid: Grid
    """``[depth][position]``: row ``l`` is ``resid_pre`` of layer ``l``, the last one the stream
    out of the last layer."""
    attn_out: Grid
    """``[layer][position]``."""
    mlp_out: Grid
    """``[layer][position]``."""
    heads: tuple[Grid, ...]
    """For each relation ``[layer][head]``: the head's whole output, at all positions."""


@dataclasses.dataclass(frozen=True)
class FactAttribution:
    """How much of a logit difference each component writes, the final LayerNorm's scale held."""

    total: float
    """The logit difference; it is the sum of all the others."""
    embed: float
    """Written by the token embedding."""
    pos_embed: float
    """Written by the position embedding, which is zero."""
    mover: float
    """Written by the relation's mover; all other heads and all attention biases write 0."""
    mlps: tuple[float, ...]
    """Written by the MLP of each layer."""


@dataclasses.dataclass(frozen=True)
class FactTruth:
    """All that is known about the compiled fact memory.

    A prompt is ``<|endoftext|>``, a subject, a relation. Layer 0 recalls at the subject all that is
    known of it; layer 1 tells at the relation which words can follow; layer 2 moves the one
    attribute asked for from the subject to the relation. ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> FACT_TRUTH.neurons[0], FACT_TRUTH.words[FACT_TRUTH.answers[0][1]]
        (5, 'drums')
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    bos: int
    """Id of the token that begins every prompt."""
    subjects: tuple[int, ...]
    """Ids of the subjects, each one token long."""
    relations: tuple[FactRelation, ...]
    """The relations."""
    answers: tuple[tuple[int, ...], ...]
    """Id of the object for ``[subject][relation]``."""
    subject_position: int
    """Where the subject stands."""
    recall_layer: int
    """The layer whose MLP recalls, at the subject's position."""
    prior_layer: int
    """The layer whose MLP tells, at the relation, which words can follow."""
    neurons: tuple[int, ...]
    """For each subject the one neuron of ``recall_layer`` that fires at it and nowhere else."""
    distractors: tuple[tuple[int, tuple[int, ...]], ...]
    """Neurons of ``recall_layer`` that fire at four of the subjects each (given as places in
    ``subjects``) and write nothing."""
    on: float
    """Activation of a neuron that fires; one that does not is at exactly 0."""
    neuron_f1: float
    """F1 of a subject's own neuron as a probe for that subject."""
    distractor_f1: float
    """F1 of a distractor as a probe for one of its subjects, all subjects being equally common."""
    dead: tuple[Head, ...]
    """Heads whose weights are all zero: they write exactly nothing."""
    mover_score: float
    """Attention of a mover from its relation to the subject."""
    accuracy: float
    """Share of the 16 facts whose object has the highest logit."""
    logit_answer: float
    """Logit of the object."""
    logit_sibling: float
    """Logit of the other three objects of the relation; that of all further words is 0."""
    probability: float
    """Probability of the object."""
    corrupt_probability: float
    """Probability of that object when the subject is replaced by one with another object."""
    clean: float
    """Logit of the object minus logit of the other subject's, in the clean prompt of a pair."""
    corrupted: float
    """The same in the corrupted prompt."""
    denoise: FactEffects
    """Effect of putting what a place holds in the clean run into the corrupted run."""
    noise: FactEffects
    """What is left of the effect when a place of the clean run gets the corrupted run's content."""
    first_order: float
    """What attribution patching makes of a mover's ``denoise`` of 1: the final LayerNorm bends."""
    direct: FactAttribution
    """Attribution of the object's logit minus that of a sibling."""
    direct_other: FactAttribution
    """Attribution of the object's logit minus that of an object of the other relation."""
    tok: tuple[int, int]
    """Residual dimensions ``[start, stop)`` of the word; its negative is ``d_model / 2`` higher."""
    attribute: tuple[int, int]
    """The same for what is recalled: the objects, first those of the first relation."""
    out: tuple[int, int]
    """The same for the prediction, in the same order."""


def _effects(*, noise: bool) -> FactEffects:
    """Everything is all or nothing here, so that noising leaves what denoising does not bring."""
    subject, last = 1, _N_POSITIONS - 1

    def grid(rows: int, columns: int, *live: tuple[int, int]) -> Grid:
        return head_grid((rows, columns), dict.fromkeys(live, float(not noise)), float(noise))

    stream = [(depth, subject) for depth in range(_N_LAYERS)]
    return FactEffects(
        resid=grid(_N_LAYERS + 1, _N_POSITIONS, *stream, (_N_LAYERS, last)),
        attn_out=grid(_N_LAYERS, _N_POSITIONS, (2, last)),
        mlp_out=grid(_N_LAYERS, _N_POSITIONS, (0, subject)),
        heads=tuple(grid(_N_LAYERS, _N_HEADS, mover) for mover in _MOVERS),
    )


_FIRST_OBJECT = 1 + len(_SUBJECTS) + len(_RELATIONS)
# Two subjects share each object, but no two share both.
_PLACES = tuple((i % 4, 4 + (i + i // 4) % 4) for i in range(len(_SUBJECTS)))

FACT_TRUTH = FactTruth(
    words=_WORDS,
    bos=0,
    subjects=tuple(range(1, 1 + len(_SUBJECTS))),
    relations=tuple(
        FactRelation(
            word=1 + len(_SUBJECTS) + i,
            objects=tuple(range(_FIRST_OBJECT + 4 * i, _FIRST_OBJECT + 4 * i + 4)),
            neuron=(3, 12)[i],
            mover=_MOVERS[i],
        )
        for i in range(len(_RELATIONS))
    ),
    answers=tuple(tuple(_FIRST_OBJECT + place for place in places) for places in _PLACES),
    subject_position=1,
    recall_layer=0,
    prior_layer=1,
    neurons=(5, 11, 2, 14, 8, 0, 13, 6),
    distractors=tuple(
        (neuron, tuple(sorted((i, (i + 1) % 8, (i + 2) % 8, (i + 5) % 8))))
        for i, neuron in enumerate((1, 3, 4, 7, 9, 10, 12, 15))
    ),
    on=8.0,
    neuron_f1=1.0,
    distractor_f1=0.4,  # Precision 1/4 and recall 1.
    dead=tuple(
        (layer, head)
        for layer in range(_N_LAYERS)
        for head in range(_N_HEADS)
        if (layer, head) not in _MOVERS
    ),
    mover_score=1.0,
    accuracy=1.0,
    logit_answer=_FROM_PRIOR + _FROM_FACT,
    logit_sibling=_FROM_PRIOR,
    probability=math.exp(_FROM_PRIOR + _FROM_FACT) / _PARTITION,
    corrupt_probability=math.exp(_FROM_PRIOR) / _PARTITION,
    clean=_FROM_FACT,
    corrupted=-_FROM_FACT,
    denoise=_effects(noise=False),
    noise=_effects(noise=True),
    first_order=1 - MOVED**2 / D_MODEL * _SEEN**2,
    direct=FactAttribution(
        total=_FROM_FACT, embed=0.0, pos_embed=0.0, mover=_FROM_FACT, mlps=(0.0, 0.0, 0.0)
    ),
    direct_other=FactAttribution(
        total=_FROM_PRIOR + _FROM_FACT,
        embed=0.0,
        pos_embed=0.0,
        mover=_FROM_FACT,
        mlps=(0.0, _FROM_PRIOR, 0.0),
    ),
    tok=(0, 19),
    attribute=(19, 27),
    out=(27, 35),
)
"""The truth about ``compiled.facts()``, which is compiled from it."""
