"""What was measured on the organism, beside the truth card that brute force wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import NeoscopeError

if TYPE_CHECKING:
    from neoscope.views.report.study import Study

    GivenStudy = Study
else:
    GivenStudy = Any


@dataclass(frozen=True)
class Beside:
    """One number twice: measured now, and as the truth card has it."""

    what: str
    head: str
    """Layer and head, such as ``"2.0"``."""
    measured: float
    low: float
    """Ends of the measurement's own 95 % interval; NaN where it has none."""
    high: float
    card: float
    """NaN where there is no card."""
    card_low: float
    card_high: float

    @property
    def agrees(self) -> bool | None:
        """Whether the two intervals meet; None where there is no card."""
        if np.isnan(self.card):
            return None
        ends = np.array([self.low, self.high, self.card_low, self.card_high])
        low, high, card_low, card_high = np.where(
            np.isnan(ends), [self.measured, self.measured, self.card, self.card], ends
        )
        return bool(low <= card_high + 5e-3 and card_low <= high + 5e-3)


def card_of(study: GivenStudy) -> dict[str, Any] | None:
    """Return what the truth card says of the model; None for any other model.

    Args:
        study: Of a model.
    """
    from neoscope import organism

    found = study.model.checkpoint
    if found is None or found.folder != organism.path():
        return None
    card: dict[str, Any] = organism.truth_card()["models"][0]
    return card


def patched_beside_card(study: GivenStudy, k: int = 3) -> tuple[Beside, ...]:
    """Return the heads whose clean output restores most, beside the card.

    Args:
        study: Of a model.
        k: How many heads.
    """
    result = study.patched_heads
    ratio = result.normalised()
    card = card_of(study)
    told = None if card is None else card["tasks"]["ioi"]["heads"]["denoise"]
    order = np.argsort(-np.abs(ratio.value), axis=None)[:k]
    found = []
    for layer, head in (np.unravel_index(i, ratio.value.shape) for i in order):
        there = (int(layer), int(head))
        ends = (float(ratio.interval[0][there]), float(ratio.interval[1][there]))
        found.append(
            Beside("indirect object", f"{layer}.{head}", float(ratio.value[there]),
                   *ends, *_told(told, there))
        )  # fmt: skip
    return tuple(found)


def _told(told: dict[str, Any] | None, there: tuple[int, int]) -> tuple[float, float, float]:
    if told is None:
        return (np.nan, np.nan, np.nan)
    effect, low, high = (told[name][there[0]][there[1]] for name in ("effect", "low", "high"))
    return float(effect), float(low), float(high)


def induction_beside_card(study: GivenStudy) -> tuple[Beside, ...]:
    """Return the previous-token and the induction head, beside the card.

    On the organism they are measured on the card's own kind of text, repeats of random words;
    elsewhere on repeats of random tokens.

    Args:
        study: Of a model.
    """
    from neoscope import analysis, organism

    card = card_of(study)
    scores = study.heads
    if card is not None:
        n = int(card["repeats"]["n"])
        texts = [one.text for one in organism.sentences("induction", n, seed=study.seed)]
        names = ["previous_token", "induction"]
        scores = analysis.heads(study.model, texts=texts, scores=names, progress=False)
    found = []
    for name, said in (
        ("previous_token", "previous word"),
        ("induction", "induction"),
    ):
        try:
            row = scores.top(name, 1).iloc[0]
        except NeoscopeError:
            continue
        there = (int(row["layer"]), int(row["head"]))
        off = 1.96 * float(row["stderr"])
        value = float(row["score"])
        told = np.nan if card is None else float(card["repeats"]["near"][name][there[0]][there[1]])
        found.append(
            Beside(said, f"{there[0]}.{there[1]}", value, value - off, value + off, told, np.nan,
                   np.nan)
        )  # fmt: skip
    return tuple(found)
