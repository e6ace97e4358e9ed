"""The span between the baselines, by which effects are normalised; refused where it is tiny."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError

_RELATIVE = 1e-3
_FLOORS = {"logits": 0.01, "nats": 0.01, "rank": 0.5, "probability": 1e-4}


def check_span(
    clean: NDArray[Any], corrupted: NDArray[Any], unit: str, minimum: float | None = None
) -> float:
    """Return mean(clean) - mean(corrupted), if one can divide by it.

    Args:
        clean: The metric in each unpatched clean run.
        corrupted: In each unpatched corrupted run.
        unit: The metric's unit.
        minimum: The smallest magnitude that is accepted, in that unit; None for a thousandth of
            the baselines' mean magnitude, and no less than 0.01 logits or nats, a probability of
            0.0001 or half a rank.

    Raises:
        PatchingError: It is smaller; the message has the numbers.
    """
    a, b = np.asarray(clean, np.float64), np.asarray(corrupted, np.float64)
    span = float(a.mean() - b.mean())
    if minimum is None:
        size = float(np.mean([np.abs(a).mean(), np.abs(b).mean()]))
        minimum = max(_RELATIVE * size, _FLOORS.get(unit, 0.0))
    if span == 0.0 or not abs(span) >= minimum:
        found = (
            f"cannot normalise: the metric is {a.mean():.6g} in the clean and {b.mean():.6g} in "
            f"the corrupted runs ({len(a)} pair{'s' * (len(a) > 1)})"
        )
        if span == 0.0:
            raise PatchingError(
                f"{found}: there is nothing between them to divide by. Look at the effects "
                "themselves, or take prompts between which the metric differs"
            )
        raise PatchingError(
            f"{found}, a difference of {f'{span:.3g} {unit}'.rstrip()}, less than {minimum:.3g}; "
            "dividing by it would show noise. Look at the effects themselves, take prompts between "
            "which the metric differs, or accept it with minimum="
        )
    return span
