"""Faithfulness, Minimality: what exact runs of a circuit found, with shares and tables."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.results import json_file, saved, statistics
from neoscope.patching.results.span import check_span

if TYPE_CHECKING:
    from pandas import DataFrame

Values = NDArray[np.float64]
T = TypeVar("T", bound="OfCircuit")


class OfCircuit:
    """What was measured of a circuit; its files."""

    circuit: Circuit
    _format: ClassVar[str]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all.

        Args:
            path: A ``.json`` file; an older one of the same kind is replaced, any other file is
                not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        said = json_file.from_fields(self, apart=("circuit",))
        return json_file.write(path, self._format, {**said, "circuit": self.circuit.to_json()})

    @classmethod
    def load(cls: type[T], path: str | os.PathLike[str]) -> T:
        """Read what :meth:`save` wrote.

        Args:
            path: A ``.json`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        with saved.reading(path, cls.__name__) as source:
            said = json_file.read(source, cls._format)
            circuit = Circuit.from_json(said.pop("circuit"))
            return cls(**{"circuit": circuit, **json_file.to_fields(said)})


@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness(OfCircuit):
    """How much of the clean run's metric a circuit brings back; from :func:`faithfulness`."""

    _format = "neoscope faithfulness 1"

    circuit: Circuit
    """What ran as in the clean run; all other edges carried the corrupted run's value."""
    patched: Values
    """[pairs], the metric in the circuit's runs."""
    clean: Values
    """[pairs], in the clean runs."""
    corrupted: Values
    """[pairs], in the corrupted runs."""
    metric: str
    unit: str
    minimum: float | None = None
    """Smallest difference of the baselines' means that is divided by."""
    label: str = "faithfulness"
    complete: bool = True
    """False: it was interrupted, and is of the pairs that were done."""

    @functools.cached_property
    def value(self) -> float:
        """``(M(circuit) - M(corrupted)) / (M(clean) - M(corrupted))``, a ratio of means over pairs.

        1: the circuit does as well as the model; 0: as the corrupted run. It can lie outside.

        Raises:
            PatchingError: The metric hardly differs between clean and corrupted runs.
        """
        return float((self.patched - self.corrupted).mean()) / self._span + 0.0  # no -0

    @property
    def _span(self) -> float:
        return check_span(self.clean, self.corrupted, self.unit, self.minimum)

    @functools.cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of :attr:`value`: lower and upper end; NaN for one pair.

        Raises:
            PatchingError: As for :attr:`value`.
        """
        return self.bootstrap()

    def bootstrap(
        self, confidence: float = 0.95, *, draws: int = 2000, seed: int = 0
    ) -> tuple[float, float]:
        """Return the percentile bootstrap interval of :attr:`value`, pairs drawn anew.

        Args:
            confidence: Share of resampled ratios inside.
            draws: How many times pairs are drawn.
            seed: Of the draws.

        Returns:
            Lower and upper end; NaN for one pair.

        Raises:
            PatchingError: As for :attr:`value`, or an option means nothing.
        """
        assert self._span
        low, high = statistics.bootstrap(
            self.patched - self.corrupted,
            over=self.clean - self.corrupted,
            confidence=confidence,
            draws=draws,
            seed=seed,
        )
        return float(low), float(high)

    def to_dataframe(self) -> DataFrame:
        """Return one row a pair: ``circuit``, ``clean`` and ``corrupted``, the metric in each."""
        import pandas as pd

        return pd.DataFrame(
            {"circuit": self.patched, "clean": self.clean, "corrupted": self.corrupted}
        )

    def __repr__(self) -> str:
        """Return the share, or why there is none."""
        try:
            low, high = self.interval
            share = f"{self.value:.4g}"
            share += f" [{low:.4g}, {high:.4g}]" if len(self.patched) > 1 else ""
        except PatchingError:
            share = "undefined: clean and corrupted runs hardly differ"
        share += "" if self.complete else " (interrupted: of the pairs that are done)"
        means = ", ".join(
            f"{name} {x.mean():.4g}"
            for name, x in (
                ("circuit", self.patched),
                ("clean", self.clean),
                ("corrupted", self.corrupted),
            )
        )
        return (
            f"{self.label} {share} ({self.metric} {means} {self.unit}; {len(self.patched)} "
            f"pair(s), {len(self.circuit)} edges)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Minimality(OfCircuit):
    """What the circuit loses with each of its edges alone; from :func:`minimality`."""

    _format = "neoscope minimality 1"

    circuit: Circuit
    whole: Values
    """[pairs], the metric in the circuit's runs."""
    without: Values
    """[edges, pairs], the metric when one edge of the circuit is cut too."""
    clean: Values
    """[pairs]"""
    corrupted: Values
    """[pairs]"""
    metric: str
    unit: str
    complete: bool = True
    """False: it was interrupted. Pairs without a run of the circuit are left out, and edges whose
    runs were not made are NaN."""

    @property
    def effects(self) -> Values:
        """[edges, pairs]: what an edge adds to the metric in this circuit; 0: it is not needed."""
        effects: Values = self.whole[None] - self.without
        return effects

    def to_dataframe(self) -> DataFrame:
        """Return one row an edge, largest first: ``edge``, ``effect``, ``stderr``, ``share``.

        ``share`` is the effect over what lies between the baselines; NaN where that is tiny.
        """
        import pandas as pd

        effect = statistics.mean(self.effects.T)
        try:
            share = effect / check_span(self.clean, self.corrupted, self.unit)
        except PatchingError:
            share = np.full(len(effect), np.nan)
        table = pd.DataFrame(
            {
                "edge": [str(edge) for edge in self.circuit.edges],
                "effect": effect,
                "stderr": statistics.stderr(self.effects.T),
                "share": share,
            }
        )
        order = np.argsort(-np.abs(effect), kind="stable")
        return table.iloc[order].reset_index(drop=True)

    def __repr__(self) -> str:
        """Return the edges that matter most and least."""
        table = self.to_dataframe()
        some = [f"{edge} {x:+.4g}" for edge, x in zip(table["edge"], table["effect"], strict=True)]
        shown = some if len(some) <= 6 else [*some[:3], "...", *some[-2:]]
        return f"Minimality({len(some)} edges, {self.metric} in {self.unit}: {', '.join(shown)})"
