"""The warning that texts were cut."""

from __future__ import annotations

import sys
import warnings

from neoscope.unseen import levels_to_caller


class TruncationWarning(UserWarning):
    """Texts were longer than the model's context, or than ``max_length``, and were cut."""


def warn_of_cut(n_texts: int, n_tokens: int) -> None:
    """Warn the code that gave the texts.

    Args:
        n_texts: How many were cut; none, and there is no warning.
        n_tokens: How many of their tokens were cut off.
    """
    if n_texts:
        warnings.warn(
            f"{n_texts} text{'s were' if n_texts > 1 else ' was'} longer than the model reads at "
            f"once and cut on the right ({n_tokens} tokens); truncation='stride' reads them whole",
            TruncationWarning,
            stacklevel=levels_to_caller(sys._getframe()),
        )
