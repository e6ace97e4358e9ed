"""The induction circuit behind a local window that is too short for it, so that it fails.

The induction head looks 14 positions back and sees 8. It finds its word nowhere, so it attends
evenly to what it sees and copies a little of each, the current word among them. The truth that
follows is ``SHORT_WINDOW_TRUTH``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from neoscope.organism.compiled.induction_circuit import induction
from neoscope.organism.compiled.induction_truth import INDUCTION_TRUTH
from neoscope.organism.compiled.truth import Grid, Head, head_grid, ln_factor

_WINDOW = 8
_SHAPE = (2, 4)
_D_MODEL = 2 * INDUCTION_TRUTH.out[1]
# A stream is a word, a position, the previous word and a prediction, each of them antipodal.
_PREV = ln_factor(6.0, _D_MODEL)
_COPY = INDUCTION_TRUTH.gain * ln_factor(6 + 2 * _PREV**2, _D_MODEL) / _WINDOW
_SQUARES = 4 + 2 * _PREV**2 + 2 * (1 + _COPY) ** 2 + 2 * (_WINDOW - 1) * _COPY**2
_READ = 2 * ln_factor(_SQUARES, _D_MODEL)


@dataclasses.dataclass(frozen=True)
class ShortWindowTruth:
    """All that is known about ``induction_short_window()`` on the prompts of induction.

    Scores and logits are those of the second copy of ``repeated``. Vocabulary, heads and spaces
    are those of ``INDUCTION_TRUTH``. ``dataclasses.asdict`` gives plain JSON.

    Example:
        >>> SHORT_WINDOW_TRUTH.accuracy, SHORT_WINDOW_TRUTH.induction_score
        (0.0, 0.0)
        >>> round(SHORT_WINDOW_TRUTH.current_logit, 4), round(SHORT_WINDOW_TRUTH.near_logit, 4)
        (4.511, 1.3173)
    """

    window: int
    """Keys that a query of layer 1 sees, itself included."""
    distance: int
    """How far back the key is that the induction head looks for; at least ``window``."""
    previous_token: Head
    """The head that still does its work, because layer 0 is global."""
    induction: Head
    """The head that fails."""
    previous_token_score: float
    """Mean attention of its head to the position before."""
    induction_score: float
    """Attention of its head to ``distance`` positions before: exactly 0, the key is masked."""
    even_score: float
    """Attention of that head to each key it sees: there is nothing to prefer one for."""
    accuracy: float
    """Share of next words predicted: none, since the current word is predicted always."""
    current_logit: float
    """Logit of the current word: it stands in its own prediction space, and is copied a little."""
    near_logit: float
    """Logit of each of the ``window - 1`` words before, which are copied a little too."""
    far_logit: float
    """Logit of every other word, the next one among them: exactly 0."""
    logit_diff: float
    """Logit of the next word minus that of another that is out of sight; also in ``pairs``, for the
    answer and the wrong answer, clean and corrupted alike, whichever the corruption."""
    direct: Grid
    """How much of ``logit_diff`` each head writes itself."""
    patched: Grid
    """``logit_diff`` after the whole output of one head was patched, from clean to corrupted or the
    reverse, in either corruption: not one logit of the last position changes. An effect normalised
    by clean minus corrupted is 0 / 0, that is to say not defined."""
    first_order: Grid
    """What attribution patching foretells as the change of ``logit_diff``."""


SHORT_WINDOW_TRUTH = ShortWindowTruth(
    window=_WINDOW,
    distance=INDUCTION_TRUTH.period - 1,
    previous_token=INDUCTION_TRUTH.previous_token,
    induction=INDUCTION_TRUTH.induction,
    previous_token_score=1.0,
    induction_score=0.0,
    even_score=1 / _WINDOW,
    accuracy=0.0,
    current_logit=_READ * (1 + _COPY),
    near_logit=_READ * _COPY,
    far_logit=0.0,
    logit_diff=0.0,
    direct=head_grid(_SHAPE, {}),
    patched=head_grid(_SHAPE, {}),
    first_order=head_grid(_SHAPE, {}),
)
"""The truth about ``compiled.induction_short_window()``, which is compiled from it."""


def induction_short_window() -> Path:
    """Return the folder of the induction model with a window of 8 in the user's cache.

    It is ``induction(window=8)``; ``write_induction`` writes it elsewhere.

    Raises:
        CheckpointError: The cache cannot be written.
    """
    return induction(window=SHORT_WINDOW_TRUTH.window)
