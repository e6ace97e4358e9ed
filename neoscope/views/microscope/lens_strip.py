"""What each layer would say at one token, through a lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neoscope.views.microscope.prompt_run import PromptRun

if TYPE_CHECKING:
    from neoscope.analysis.tuned.weights import TunedLens


@dataclass(frozen=True)
class LensStrip:
    """One row for the embeddings, where the lens reads them, and one for each layer."""

    lens: str
    """``"logit"``, ``"tuned"``..."""
    position: int
    labels: tuple[str, ...]
    tokens: tuple[str, ...]
    """The likeliest next token."""
    probabilities: tuple[float, ...]
    """Of that token."""
    caveat: str
    """What to keep in mind; empty for a trained lens."""


def read_strip(run: PromptRun, lens: TunedLens | None, position: int) -> LensStrip:
    """Read every layer of a run at one token.

    Args:
        run: With or without edits.
        lens: A trained one, or None for the logit lens.
        position: From 0.

    Raises:
        AnalysisError: The lens was trained for another model, or is none.
    """
    from neoscope import analysis

    if lens is None:
        read = analysis.logit_lens(run.cache, positions=position, k=1)
    else:
        read = analysis.tuned_lens(run.cache, lens, positions=position, k=1)
    return LensStrip(
        lens=read.lens,
        position=position,
        labels=read.labels,
        tokens=tuple(str(one) for one in read.top_tokens[:, 0, 0]),
        probabilities=tuple(float(one) for one in read.top_probability[:, 0, 0]),
        caveat=read.caveat,
    )
