"""What stands in the cells of a lens's figure: numbers, and what is said of them on hover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from neoscope.views.heatmaps import gaps
from neoscope.views.labels import cut, escaped, visible

if TYPE_CHECKING:
    from neoscope.analysis import LensResult
else:
    LensResult = Any

LENS_COLOURS = ("probability", "next_probability", "entropy", "kl", "cross_entropy", "rank")
UNITS = {
    "probability": "probability of the top token",
    "next_probability": "probability of the next token",
    "entropy": "entropy, nats",
    "kl": "KL from the model's output, nats",
    "cross_entropy": "surprisal of the next token, nats",
    "rank": "rank of the next token",
}
SHORT = {
    "probability": "probability",
    "next_probability": "probability",
    "entropy": "nats",
    "kl": "nats",
    "cross_entropy": "nats",
    "rank": "rank",
}
"""For the colour bar."""
SCALE = {"probability": "share", "next_probability": "share"}
"""Of those that are no amounts."""
_FULL, _SHORT, _TOP = 3000, 20_000, 5


def numbers(result: LensResult, color: str, at: Sequence[int]) -> Float[np.ndarray, "row token"]:
    """Return what colours the cells; of ranks, decimal logarithms; NaN where nothing follows.

    Args:
        result: The lens.
        color: One of :data:`LENS_COLOURS`.
        at: The tokens.
    """
    if color == "probability":
        values = result.top_probability[:, :, 0]
    elif color == "next_probability":
        values = np.exp(-result.cross_entropy)
    elif color == "rank":
        values = np.log10(np.where(result.next_rank > 0, result.next_rank, np.nan))
    else:
        values = getattr(result, color)
    return np.asarray(values[:, list(at)], np.float64)


def missing(
    result: LensResult, values: Float[np.ndarray, "row token"], at: Sequence[int], color: str
) -> str:
    """Say which cells hold no number, and why.

    Args:
        result: The lens.
        values: What colours the cells.
        at: The tokens.
        color: One of :data:`LENS_COLOURS`.
    """
    absent = ~np.isfinite(values)
    last = np.zeros_like(absent)
    if color in ("next_probability", "cross_entropy", "rank"):
        last = absent & (result.next_ids[list(at)] < 0)[None, :]
    why = [(absent & ~last, "the model gave no number"), (last, "no token follows")]
    return " ".join(gaps(np.where(some, np.nan, 0.0), reason) for some, reason in why).strip()


def blocks_said(
    result: LensResult, at: Sequence[int], rows: Sequence[int], columns: Sequence[int]
) -> list[list[str]]:
    """Return where blocks of cells stand, for the hover box.

    Args:
        result: The lens.
        at: The tokens.
        rows: At which rows blocks begin.
        columns: At which of the tokens they begin.
    """
    n, m = len(result.labels), len(at)
    down = [
        _span([result.labels[row] for row in (a, b - 1)], "row")
        for a, b in zip(rows, [*rows[1:], n], strict=True)
    ]
    across = [
        _span([str(int(result.position[at[i]])) for i in (a, b - 1)], "position")
        for a, b in zip(columns, [*columns[1:], m], strict=True)
    ]
    return [[f"{row}, {column}" for column in across] for row in down]


def _span(ends: Sequence[str], what: str) -> str:
    first, last = (escaped(cut(end)) for end in ends)
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def said(result: LensResult, at: Sequence[int]) -> list[list[str]] | None:
    """Return the hover text of every cell; shorter where there are many, None where too many.

    Args:
        result: The lens.
        at: The tokens.
    """
    cells = len(result.labels) * len(at)
    if cells > _SHORT:
        return None
    words = [visible(word) for word in result.words]
    of = dict(zip(result.word_ids.tolist(), words, strict=True))
    heads = [f"{int(result.position[i])} {visible(result.tokens[i])}" for i in at]
    most = min(result.top_ids.shape[2], _TOP if cells <= _FULL else 1)
    return [
        [
            _cell(result, row, i, most, of, f"row {result.labels[row]} at {head}")
            for i, head in zip(at, heads, strict=True)
        ]
        for row in range(len(result.labels))
    ]


def _cell(result: LensResult, row: int, i: int, most: int, of: dict[int, str], where: str) -> str:
    top = [
        f"{of[int(result.top_ids[row, i, k])]} {result.top_probability[row, i, k]:.3g}"
        for k in range(most)
    ]
    parts = [where, *(f"<b>{one}</b>" if not k else one for k, one in enumerate(top))]
    parts.append(f"entropy {result.entropy[row, i]:.3g} nats, KL {result.kl[row, i]:.3g} nats")
    following = int(result.next_ids[i])
    if following >= 0:
        chance = float(np.exp(-result.cross_entropy[row, i]))
        rank = int(result.next_rank[row, i])
        parts.append(f"next {of[following]}: rank {rank:,}, probability {chance:.3g}")
    targets: list[Any] = result.target_ids.tolist()
    for k, target in enumerate(targets):
        chance, rank = result.target_probability[row, i, k], int(result.target_rank[row, i, k])
        parts.append(f"{of[target]}: rank {rank:,}, probability {chance:.3g}")
    return "<br>".join(parts)
