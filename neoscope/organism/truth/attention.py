"""Where heads attend: from the end of prompts to their roles, and in repeats of random words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from neoscope.organism.asking import batch
from neoscope.organism.language.vocabulary import encode
from neoscope.organism.truth.bootstrap import rounded

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo
    from neoscope.organism.language import Sentence

DISTANCES = range(17)
"""Words back, from 0, of ``RepeatScores.by_distance``."""
OFFSETS = range(-4, 17)
"""Words after a first occurrence, of ``RepeatScores.by_offset``."""

HeadGrid = list[list[float | None]]
"""One number for each head, ``[layer][head]``; None where the head's window cannot reach."""


@dataclasses.dataclass(frozen=True)
class RepeatScores:
    """How much attention heads pay to what matters in repeats (Olsson et al. 2022)."""

    previous_token: HeadGrid
    """From every word but the first to the word before it."""
    duplicate_token: HeadGrid
    """From each word of the second copy to the same word in the first."""
    induction: HeadGrid
    """From each word of the second copy, but the last, to the word after it in the first copy."""
    by_distance: list[HeadGrid]
    """From every word but the first to that many words back, ``[layer][head][DISTANCES]``."""
    by_offset: list[HeadGrid]
    """From each word of the second copy, but the last, to that many words after the same word in
    the first; ``[layer][head][OFFSETS]``. A peak elsewhere than at 1 shows a head that looks at
    positions to which earlier layers carried the words."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: rounded(grid) for name, grid in dataclasses.asdict(self).items()}


def from_last(
    model: HookedGPTNeo,
    tokens: torch.Tensor,
    roles: Sequence[str],
    changed: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Return the mean attention from the last position, as plain JSON values.

    Args:
        model: Any model.
        tokens: Prompts ``[pair, pos]``.
        roles: What each position is; "" for most.
        changed: Of each pair the positions that decide.

    Returns:
        ``roles``: a grid for each role, summed over its positions; ``places``: one for the
        position itself, the previous and the first one, and the changed ones.
    """
    with torch.inference_mode():
        _, cache = model.run_with_cache(tokens, sites="pattern", positions=-1)
    n_pos = tokens.shape[1]
    last = n_pos - 1
    decides = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, where in enumerate(changed):
        decides[row, list(where)] = True

    def at(*places: int) -> torch.Tensor:
        return torch.isin(torch.arange(n_pos), torch.tensor(places)).expand(len(tokens), -1)

    def grid(wanted: torch.Tensor) -> Any:
        rows: list[Any] = []
        for layer in range(model.config.n_layers):
            window = model.config.window(layer)
            seen = wanted if window is None else wanted & at(*range(max(0, n_pos - window), n_pos))
            if not seen.any():
                rows.append([None] * model.config.n_heads)
                continue
            pattern = cache["pattern", layer][:, :, 0].double().cpu()
            rows.append((pattern * wanted[:, None]).sum(-1).mean(0).tolist())
        return rounded(rows)

    names = sorted({role for role in roles if role})
    places = {"own": at(last), "previous": at(max(0, last - 1)), "first": at(0), "changed": decides}
    return {
        "roles": {
            name: grid(at(*(i for i, role in enumerate(roles) if role == name))) for name in names
        },
        "places": {name: grid(wanted) for name, wanted in places.items()},
    }


def repeat_scores(model: HookedGPTNeo, items: Sequence[Sentence]) -> RepeatScores:
    """Return previous-token, duplicate-token and induction scores of every head.

    Args:
        model: A model whose vocabulary is the organism's.
        items: Sentences of ``induction`` or ``far-induction``.
    """
    n_layers, n_heads = model.config.n_layers, model.config.n_heads
    n_kinds = 3 + len(DISTANCES) + len(OFFSETS)
    totals = torch.zeros(n_kinds, n_layers, n_heads, dtype=torch.float64)
    # What a window never reaches is counted apart: 0 would say that the head might have.
    counts = torch.zeros(n_kinds, n_layers, dtype=torch.float64)
    for first in range(0, len(items), 64):
        some = items[first : first + 64]
        ids, mask = batch([encode(item.words) for item in some])
        with torch.inference_mode():
            _, cache = model.run_with_cache(ids, attention_mask=mask, sites="pattern")
        for layer in range(n_layers):
            window = model.config.window(layer) or model.config.n_ctx
            pattern = cache["pattern", layer].double().cpu()
            for row, item in enumerate(some):
                for kind, (queries, back) in enumerate(_asked(item)):
                    if 0 <= back < window and len(queries):
                        found = pattern[row, :, queries, queries - back]
                        totals[kind, layer] += found.sum(-1)
                        counts[kind, layer] += len(queries)
    grids = [_grid(total, seen) for total, seen in zip(totals, counts.tolist(), strict=True)]
    distances, offsets = grids[3 : 3 + len(DISTANCES)], grids[3 + len(DISTANCES) :]
    previous, duplicate, induction = grids[:3]
    return RepeatScores(previous, duplicate, induction, _profile(distances), _profile(offsets))


def _grid(totals: torch.Tensor, counts: Sequence[float]) -> HeadGrid:
    return [
        [float(total / n) if n else None for total in heads]
        for heads, n in zip(totals, counts, strict=True)
    ]


def _profile(grids: Sequence[HeadGrid]) -> list[HeadGrid]:
    """Turn ``[what][layer][head]`` into ``[layer][head][what]``."""
    layers, heads = range(len(grids[0])), range(len(grids[0][0]))
    return [[[grid[layer][head] for grid in grids] for head in heads] for layer in layers]


def _asked(item: Sentence) -> list[tuple[torch.Tensor, int]]:
    """Return queries, and how far back each score looks from them."""
    start, apart = item.attributes["start"], item.attributes["distance"]
    size = len(item.words)
    copy = torch.arange(start, size)
    scores = [(torch.arange(1, size), 1), (copy, apart), (copy[:-1], apart - 1)]
    distances = [(torch.arange(min(max(1, back), size), size), back) for back in DISTANCES]
    return [*scores, *distances, *((copy[:-1], apart - offset) for offset in OFFSETS)]
