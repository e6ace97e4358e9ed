"""Effect: what an intervention does to the model's logits, and what random ones do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.estimating.arguments import number, whole_number
from probes.judging.bootstrap import percentile_interval

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
ALPHA = 0.05
"""The largest p on which a verdict says that the model uses something."""
_MOVED = 1e-6
"""Nats or logits: smaller effects are float32's rounding."""
_DRAWS = 2000
_TIE = 1e-6
"""Relative: random effects that fall short by less are as large but for float32's rounding."""


@dataclass(frozen=True, eq=False)
class Effect:
    """The effect of one intervention on one measure."""

    kind: str
    """``erase``, ``steer`` or ``interchange``."""
    direction: str
    """What was steered along, with its sign; ``all`` where it is the whole subspace."""
    measure: str
    """``kl``: divergence of the last token's next-token distribution, in nats; ``logit_diff``:
    change of the logit of the answer minus that of the wrong word; ``log_prob``: change of the
    answer's log-probability, in nats."""
    control: str
    """How the random interventions are alike: ``same rank``, ``same norm``."""
    value: float
    """Mean over texts."""
    low: float
    """Lower end of its bootstrap interval over texts."""
    high: float
    """Upper end."""
    p: float
    """Share of random interventions, this one counted with them, whose effect is as large."""
    random: Float[np.ndarray, " draws"]
    """Mean over texts of each random intervention's effect."""
    per_text: Float[np.ndarray, " texts"]

    @property
    def random_mean(self) -> float:
        """Mean size of the random interventions' effects."""
        return float(np.abs(self.random).mean())

    @property
    def smallest_p(self) -> float:
        """The p of an effect larger than all random ones; with few draws it is large."""
        return 1 / (1 + len(self.random))

    @property
    def moved(self) -> bool:
        """Whether the intervention or any random one changed the measure at all."""
        return bool(max(np.abs(self.per_text).max(), np.abs(self.random).max()) > _MOVED)

    def beyond_random(self, alpha: float = ALPHA) -> bool | None:
        """Whether the effect is larger than random ones; None where that cannot be told.

        Args:
            alpha: Largest p. It cannot be told with so few draws that no p could be as small, and
                where neither the intervention nor any random one changed anything.
        """
        if self.smallest_p > alpha or not self.moved:
            return None
        return self.p <= alpha

    def __repr__(self) -> str:
        """Return one line without the draws."""
        return (
            f"Effect({self.kind} {self.direction}: {self.measure} {self.value:+.4g}, "
            f"{len(self.random)} random ones of the {self.control} {self.random_mean:.4g}, "
            f"p = {self.p:.3g})"
        )


def table(effects: Sequence[Effect]) -> pd.DataFrame:
    """Return one row an effect, without the draws.

    Args:
        effects: Of a report.
    """
    import pandas as pd

    names = ["kind", "direction", "measure", "control", "value", "low", "high", "random_mean", "p"]
    rows = [{name: getattr(one, name) for name in names} for one in effects]
    return pd.DataFrame(rows, columns=names)


def check_draws(n_random: Any, confidence: Any) -> None:
    """Check how many random interventions are asked for, and the confidence of intervals.

    Raises:
        ProbeError: Fewer than one, or no share between 0 and 1.
    """
    whole_number("n_random", n_random)
    if number("confidence", confidence, positive=True) >= 1:
        raise ProbeError(
            f"confidence={confidence!r}; expected a share between 0 and 1, such as 0.95"
        )


def too_few(n_random: int) -> str:
    """Return the verdict where the draws are too few for any other, or nothing.

    Args:
        n_random: Random interventions of each kind.
    """
    least = 1 / (1 + n_random)
    if least <= ALPHA:
        return ""
    return (
        f"too few random draws to decide: with {n_random} of them no p can be below {least:.3g}, "
        f"and a verdict needs {ALPHA}; give n_random={round(1 / ALPHA) - 1} or more"
    )


def compare(
    kind: str,
    direction: str,
    measure: str,
    control: str,
    per_text: Array,
    random: Array,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Effect:
    """Return an effect with its interval over texts and its rank among random effects.

    Args:
        kind: As :attr:`Effect.kind`.
        direction: As :attr:`Effect.direction`.
        measure: As :attr:`Effect.measure`.
        control: As :attr:`Effect.control`.
        per_text: [texts].
        random: [draws, texts].
        confidence: Of the interval.
        seed: Of the bootstrap.
    """
    value, draws = float(per_text.mean()), random.mean(1)
    low, high = interval(per_text, confidence, seed)
    as_large = int((np.abs(draws) >= abs(value) * (1 - _TIE)).sum())
    p = (1 + as_large) / (1 + len(draws))
    return Effect(kind, direction, measure, control, value, low, high, p, draws, per_text)


def interval(values: Array, confidence: float, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean; NaN for fewer than two values.

    Args:
        values: [texts].
        confidence: Share of resampled means inside.
        seed: Of the draws.
    """
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=_DRAWS)
    found = percentile_interval(times @ values / n, n, confidence)
    return found.low, found.high
