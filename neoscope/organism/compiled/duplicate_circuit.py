"""A hand-compiled one-layer GPT-Neo that says whether the current word has come before.

Head (0, 0) attends from a word to its earlier occurrence, or to the first position if there is
none, and never to the word itself. From a word it copies "again" to the output, from the first
position, where ``<|endoftext|>`` stands, "new". The other heads, and the MLP, are zero. The truth
that follows is ``DUPLICATE_TRUTH``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from neoscope.config import NeoConfig
from neoscope.organism.compiled.building import antipodal, checkpoint_files, zero_weights
from neoscope.organism.compiled.folder import cached
from neoscope.organism.compiled.induction_truth import INDUCTION_TRUTH
from neoscope.organism.compiled.truth import (
    Corruption,
    Grid,
    Head,
    PromptPairs,
    check_count,
    head_grid,
    ln_factor,
    seeded,
)

_WORDS = (*INDUCTION_TRUTH.words, "again", "new")
_N_WORDS = len(INDUCTION_TRUTH.words) - 1
_SHAPE = (1, 3)
_DUPLICATE: Head = (0, 0)
_N_CTX, _D_MODEL = 18, 108
_SHARPNESS, _GAIN = 60.0, 2.0
_SOURCE, _QUERY = 4, 10
_READ = ln_factor(6.0, _D_MODEL)
# Score of an earlier occurrence, before the softmax.
_UNIT = _SHARPNESS * _READ**2
_WRITTEN = _GAIN * _READ
_FINAL = ln_factor(6 + 2 * _WRITTEN**2, _D_MODEL)
_DIFF = 2 * _WRITTEN * _FINAL


@dataclasses.dataclass(frozen=True)
class DuplicateTruth:
    """All that is known about the compiled duplicate-token model.

    ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> DUPLICATE_TRUTH.duplicate, DUPLICATE_TRUTH.words[DUPLICATE_TRUTH.again]
        ((0, 0), 'again')
        >>> round(DUPLICATE_TRUTH.logit_diff, 6)
        14.399896
    """

    words: tuple[str, ...]
    """The vocabulary in the order of ids."""
    bos: int
    """Id of the token that begins every prompt."""
    again: int
    """Id of the word predicted after a word that has come before."""
    new: int
    """Id of the word predicted after any other, ``<|endoftext|>`` included."""
    duplicate: Head
    """The head that attends from a word to its earlier occurrence, else to the first position."""
    dead: tuple[Head, ...]
    """Heads whose weights are all zero: they attend evenly and write exactly nothing."""
    sharpness: float
    """Factor in the queries."""
    gain: float
    """Factor in the values."""
    earlier_attn_score: float
    """The head's score, before the softmax, of an earlier occurrence of the query's word."""
    first_attn_score: float
    """Its score of the first position."""
    other_attn_score: float
    """Its score of another word."""
    self_attn_score: float
    """Its score of the query itself, which is further down than all others."""
    duplicate_score: float
    """Attention of the head from a repeated word to its earlier occurrence; to several, evenly."""
    first_score: float
    """Its attention from a word without an earlier occurrence to the first position."""
    accuracy: float
    """Share of right predictions of "again" and "new", at every position of every prompt."""
    logit_diff: float
    """Logit of the right one of "again" and "new" minus that of the wrong one."""
    direct: Grid
    """How much of ``logit_diff`` each head writes itself; embeddings and the MLP write none."""
    query: int
    """Last position of ``duplicate_pairs``: nowhere else does patching the head do anything."""
    earlier: Corruption
    """The earlier occurrence is replaced: the head finds none, and the prediction is reversed."""
    tok: tuple[int, int]
    """Residual dimensions ``[start, stop)`` of the word; its negative is ``d_model / 2`` higher."""
    pos: tuple[int, int]
    """The same for the position."""
    out: tuple[int, int]
    """The same for the prediction: the word itself, then what the head adds."""


DUPLICATE_TRUTH = DuplicateTruth(
    words=_WORDS,
    bos=0,
    again=_WORDS.index("again"),
    new=_WORDS.index("new"),
    duplicate=_DUPLICATE,
    dead=((0, 1), (0, 2)),
    sharpness=_SHARPNESS,
    gain=_GAIN,
    earlier_attn_score=_UNIT,
    first_attn_score=_UNIT / 2,
    other_attn_score=0.0,
    self_attn_score=-_UNIT,
    duplicate_score=1.0,
    first_score=1.0,
    accuracy=1.0,
    logit_diff=_DIFF,
    direct=head_grid(_SHAPE, {_DUPLICATE: _DIFF}),
    query=_QUERY,
    earlier=Corruption(
        changed=_SOURCE,
        clean=_DIFF,
        corrupted=-_DIFF,
        denoise=head_grid(_SHAPE, {_DUPLICATE: 1.0}),
        noise=head_grid(_SHAPE, {_DUPLICATE: 0.0}, rest=1.0),
        # Not 1: the final LayerNorm bends between the two runs.
        first_order=head_grid(_SHAPE, {_DUPLICATE: 1 - (_WRITTEN * _FINAL) ** 2 / _D_MODEL}),
    ),
    tok=(0, 18),
    pos=(18, 36),
    out=(36, 54),
)
"""The truth about ``compiled.duplicate_token()``, which is compiled from it."""


def duplicate_token() -> Path:
    """Return the folder of the compiled duplicate-token model in the user's cache.

    Raises:
        CheckpointError: The cache cannot be written.
    """
    return cached("duplicate-token", _files())


def duplicate_pairs(n: int, seed: int = 0) -> PromptPairs:
    """Return pairs of prompts of which ``DUPLICATE_TRUTH`` knows the outcome of every patch.

    A clean prompt is ``<|endoftext|>``, nine different words and the fourth of these again; the
    answer is "again" and the wrong answer "new". In the corrupted one the earlier of the two is
    replaced.

    Args:
        n: Number of pairs, at least 1.
        seed: Of the words.

    Raises:
        ArgumentError: ``n`` is no whole number of at least 1, or the seed none.

    Example:
        >>> tuple(duplicate_pairs(8).clean.shape)
        (8, 11)
    """
    import torch

    n, generator = check_count(n), seeded(seed)
    clean = torch.full((n, _QUERY + 1), DUPLICATE_TRUTH.bos)
    corrupted = clean.clone()
    for prompt, other in zip(clean, corrupted, strict=True):
        words = 1 + torch.randperm(_N_WORDS, generator=generator)
        prompt[1:_QUERY] = words[: _QUERY - 1]
        prompt[_QUERY] = prompt[_SOURCE]
        other[:] = prompt
        other[_SOURCE] = words[_QUERY]
    answer = torch.full((n,), DUPLICATE_TRUTH.again)
    return PromptPairs(clean, corrupted, answer, torch.full((n,), DUPLICATE_TRUTH.new))


def _files() -> dict[str, bytes]:
    import torch

    truth = DUPLICATE_TRUTH
    config = NeoConfig(
        n_layers=_SHAPE[0],
        d_model=_D_MODEL,
        n_heads=_SHAPE[1],
        n_ctx=_N_CTX,
        d_vocab=len(_WORDS),
        window_size=_N_CTX,
        attention_layers=("global",),
        d_mlp=len(_WORDS),  # The MLP is zero, so it need not be wide.
        bos_token_id=truth.bos,
        eos_token_id=truth.bos,
    )
    tok, pos, out = (antipodal(_D_MODEL, *space) for space in (truth.tok, truth.pos, truth.out))
    # Half the difference of a pair reads its feature. A query asks for its word, but not at its own
    # position, and half as strongly for the first one.
    wanted = -2 * pos / 2
    wanted[0] += pos.sum(dim=0) / 4
    value = _GAIN * tok / 2
    said = out[[truth.new if word == truth.bos else truth.again for word in range(len(_WORDS))]]
    matrices = {
        "q": _SHARPNESS * torch.cat([tok / 2, wanted]),
        "k": torch.cat([tok, pos]) / 2,
        "v": value,
        "out": said.T,
    }
    weights = zero_weights(config)
    # The unembedding is the embedding; the final LayerNorm lets it read the prediction only.
    weights |= {"wte.weight": tok + out, "wpe.weight": pos, "ln_f.weight": out.abs().sum(dim=0)}
    for name, matrix in matrices.items():
        full = weights[f"h.0.attn.attention.{name}_proj.weight"]
        full[: matrix.shape[0], : matrix.shape[1]] = matrix
    return checkpoint_files(config, weights, _WORDS)
