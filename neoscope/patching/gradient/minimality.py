"""Minimality: what a circuit loses with each of its edges, by exact runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching import statistics
from neoscope.patching.gradient.circuit import Circuit
from neoscope.patching.gradient.circuit_run import run_circuits
from neoscope.patching.gradient.faithfulness import check_circuit
from neoscope.patching.prompts import read_prompts
from neoscope.patching.span import check_span

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.model import HookedGPTNeo

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Minimality:
    """What the circuit loses with each of its edges alone; from :func:`minimality`."""

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

        effect = self.effects.mean(1)
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


def minimality(
    model: HookedGPTNeo,
    circuit: Any,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    metric_positions: Any = None,
    token_budget: int | None = None,
    prepend_bos: bool = False,
) -> Minimality:
    """Cut each edge of a circuit by itself and measure what is lost, exactly.

    One run for each edge, many side by side; arguments and errors are those of
    :func:`faithfulness`.
    """
    circuit = check_circuit(model, circuit)
    cut = np.repeat(circuit.matrix[None], len(circuit) + 1, axis=0)
    for i, edge in enumerate(circuit.edges):
        cut[(1 + i, *circuit.graph.index(edge))] = False
    options = {"metric_positions": metric_positions, "token_budget": token_budget}
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    runs = run_circuits(model, prompts, metric, cut, **options)
    return Minimality(
        circuit,
        runs.values[0],
        runs.values[1:],
        runs.clean,
        runs.corrupted,
        runs.metric,
        runs.unit,
    )
