"""CausalReport: whether the model uses what a probe reads, in numbers and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.data.places import Place
from probes.keeping.results import SavedResult
from probes.use.effects import ALPHA, Effect, table, too_few

if TYPE_CHECKING:
    import pandas as pd

_SAID = {
    "kl": "the next-token distribution by {:.3g} nats (KL)",
    "logit_diff": "the logit difference of answer and wrong word by {:+.3g}",
    "log_prob": "the answer's log-probability by {:+.3g} nats",
}
_BEYOND = {
    True: "moves the logits more than random directions of the same norm",
    False: "moves the logits no more than random directions of the same norm",
    None: "changes nothing, and neither do random directions of the same norm",
}


@dataclass(frozen=True, eq=False)
class CausalReport(SavedResult):
    """Effects of interventions on what a probe reads, beside random ones of the same size."""

    place: Place
    """Where the probe reads."""
    effects: tuple[Effect, ...]
    measure: str
    """The measure that verdicts rest on: ``logit_diff`` or ``log_prob`` where there are answers,
    otherwise ``kl``."""
    eraser: str
    """How the subspace was erased."""
    shifts: tuple[float, ...]
    """By how much steering moved the probe's logit, for each direction."""
    n_random: int
    """Random interventions beside each."""
    model: str = ""
    """What the language model is called."""
    label: str | None = None
    """What the probe predicts, where it knows."""

    def find(
        self,
        kind: str,
        direction: str = "all",
        measure: str | None = None,
        control: str = "same norm",
    ) -> Effect | None:
        """Return one effect, or None where it was not measured.

        Args:
            kind: ``erase``, ``steer`` or ``interchange``.
            direction: As in :class:`Effect`; ``all`` of steering is the mean magnitude.
            measure: None for :attr:`measure`.
            control: ``same norm`` or ``same rank``.
        """
        key = (kind, direction, measure or self.measure, control)
        for one in self.effects:
            if (one.kind, one.direction, one.measure, one.control) == key:
                return one
        return None

    def beyond_random(self, kind: str, alpha: float = ALPHA) -> bool | None:
        """Whether an intervention moves the model more than random ones of the same norm do.

        Args:
            kind: ``erase``, ``steer`` or ``interchange``.
            alpha: Largest p; with ``n_random`` draws none is below ``1 / (1 + n_random)``.

        Returns:
            None where it cannot be told: the intervention was not measured, no p can be as small
            as ``alpha``, or nothing moved, of the random interventions neither.
        """
        effect = self.find(kind)
        return None if effect is None else effect.beyond_random(alpha)

    @property
    def verdict(self) -> str:
        """What follows, in one sentence."""
        few = too_few(self.n_random)
        if few:
            return f"{few[0].upper()}{few[1:]}."
        erased, steered = self.beyond_random("erase"), self.beyond_random("steer")
        if erased is None or steered is None:
            return (
                "It cannot be told whether the model uses what the probe reads, on these texts: "
                f"erasing it {_BEYOND[erased]}; steering along it {_BEYOND[steered]}."
            )
        if erased and steered:
            return (
                "The model uses what the probe reads, on these texts: erasing it and steering "
                "along it both move the logits more than random directions of the same norm."
            )
        if steered:
            return (
                "Decodable, and the model responds to it, but nothing shows that it relies on it: "
                "steering moves the logits more than random directions of the same norm, erasing "
                "does not."
            )
        if erased:
            return (
                "Erasing what the probe reads moves the logits more than random directions of the "
                "same norm, but steering along it does not: the model uses something in that "
                "subspace, perhaps not as the probe reads it."
            )
        return (
            "Decodable is not used: what the probe reads moves the logits no more than random "
            "directions of the same norm, so the label can be decoded here, but nothing shows that "
            "the model uses it."
        )

    @property
    def report(self) -> str:
        """The verdict and the numbers under it, as plain text."""
        lines = [f"{self.place}: {self.verdict}"]
        for kind, verb in (
            ("erase", "Erasing"),
            ("steer", "Steering"),
            ("interchange", "Swapping"),
        ):
            effect = self.find(kind)
            if effect is None:
                continue
            said = _SAID[effect.measure].format(effect.value)
            around = f"interval {effect.low:.3g} to {effect.high:.3g}"
            if len(effect.per_text) < 2:
                around = "one text, so no interval"
            lines.append(
                f"{verb} moves {said} ({around}); "
                f"{self.n_random} random ones of the same norm {effect.random_mean:.3g} on average "
                f"(p = {effect.p:.3g})."
            )
        lines.append(
            f"No p can be below {1 / (1 + self.n_random):.3g}, with {self.n_random} random draws."
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        """Return the report."""
        return self.report

    def __repr__(self) -> str:
        """Return the place and the verdict, in one line."""
        return f"CausalReport({self.place}: {self.verdict})"

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row an effect."""
        return table(self.effects)
