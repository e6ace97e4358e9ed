"""Minimality: what a circuit loses with each of its edges, by exact runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.patching.circuits.faithfulness import check_circuit
from neoscope.patching.circuits.result import Minimality
from neoscope.patching.circuits.run import CircuitRuns, run_circuits
from neoscope.patching.engine.progress import Progress, with_result
from neoscope.patching.prompts.pairs import read_prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Values = NDArray[np.float64]
_FORMAT = "neoscope minimality 1"


def minimality(
    model: HookedGPTNeo,
    circuit: Any,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
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
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)

    def result(runs: CircuitRuns) -> Minimality:
        done = runs.done
        return Minimality(
            circuit,
            runs.values[0, done],
            runs.values[1:, done],
            runs.clean[done],
            runs.corrupted[done],
            runs.metric,
            runs.unit,
            runs.complete,
        )

    runs = run_circuits(
        model,
        prompts,
        metric,
        cut,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=with_result(progress, result),
    )
    return result(runs)
