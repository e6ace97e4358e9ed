"""Which heads repeats are continued by: accuracy without each."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from neoscope.organism.asking import continued, find_induction_head
from neoscope.organism.language import sentences
from neoscope.organism.language.repeats import FAR
from neoscope.organism.truth.bootstrap import rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from neoscope.model import HookedGPTNeo

BEYOND = (64, FAR[1])
"""Words from a word to its repeat such that what followed it is out of two local layers' reach.

What followed is one word nearer than the word itself, and a window of 32 reaches 31 back: the
shortest is 2 * 31 + 2.
"""


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What is left of the accuracy on repeats when one head's ``z`` is zero everywhere."""

    far: list[list[float | None]]
    """Share left on repeats beyond the window, ``[layer][head]``."""
    beyond: list[list[float | None]]
    """The same beyond the reach of both local layers."""
    far_intact: float
    """Accuracy of the whole model beyond the window."""
    beyond_intact: float
    """The same beyond the reach of both local layers."""
    induction_head: tuple[int, int]
    """The head without which the gates find repeats not continued."""
    n: int
    """Sentences of each kind."""

    def record(self) -> dict[str, Any]:
        """Return plain JSON values; the ranges of distances with them."""
        values = dataclasses.asdict(self)
        return {
            "n": self.n,
            "induction_head": list(self.induction_head),
            "far_distance": list(FAR),
            "far_intact": rounded(self.far_intact),
            "far_share_left": rounded(values["far"]),
            "beyond_distance": list(BEYOND),
            "beyond_intact": rounded(self.beyond_intact),
            "beyond_share_left": rounded(values["beyond"]),
        }


def ablation(
    model: HookedGPTNeo, n: int = 64, *, seed: int = 2, tick: Callable[[], None] = lambda: None
) -> Ablation:
    """Silence each head in turn.

    Args:
        model: A model whose vocabulary is the organism's.
        n: Sentences of each kind.
        seed: Of the sentences; the gates look for the induction head on others.
        tick: Called after each measurement, ``2 + 2 * heads`` times.
    """
    config = model.config
    grids: list[list[list[float | None]]] = []
    intacts: list[float] = []
    for distance in (FAR, BEYOND):
        items = sentences("far-induction", n, seed=seed, distance=distance, length=(8, 20))
        intact = continued(model, items)
        tick()
        grid: list[list[float | None]] = []
        for layer in range(config.n_layers):
            grid.append([])
            for head in range(config.n_heads):
                left = continued(model, items, (layer, head))
                grid[-1].append(left / intact if intact else None)
                tick()
        grids.append(grid)
        intacts.append(intact)
    (far, beyond), (far_intact, beyond_intact) = grids, intacts
    found = find_induction_head(model, n=n)
    return Ablation(far, beyond, far_intact, beyond_intact, found, n)
