"""Faithfulness and completeness: what a circuit does by itself, and what is left without it.

Both by exact runs (:mod:`.circuit_run`), never by the scores that the circuit was found by.
References: Wang et al. 2022, arXiv 2211.00593 (the criteria); Hanna et al. 2024, arXiv
2403.17806 (faithfulness as a share).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching import statistics
from neoscope.patching.gradient.circuit import Circuit
from neoscope.patching.gradient.circuit_run import CircuitRuns, run_circuits
from neoscope.patching.gradient.graph import Graph
from neoscope.patching.prompts import read_prompts
from neoscope.patching.span import check_span

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.model import HookedGPTNeo

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness:
    """How much of the clean run's metric a circuit brings back; from :func:`faithfulness`."""

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


def faithfulness(
    model: HookedGPTNeo,
    circuit: Any,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    minimum: float | None = None,
    metric_positions: Any = None,
    token_budget: int | None = None,
    prepend_bos: bool = False,
) -> Faithfulness:
    """Run the circuit alone: every edge outside it carries the corrupted run's value.

    Exact: one forward in which each receiver reads its input in the corrupted run plus, for each
    edge of the circuit, the change of the sender in this very run; the embeddings are the clean
    run's. All edges give the clean run, none the corrupted one.

    Args:
        model: The model.
        circuit: A :class:`Circuit`, such as ``edges.circuit(n)``.
        clean: Prompts, as for :func:`neoscope.patching.sweep`.
        corrupted: Their counterparts of the same lengths.
        metric: A metric, or a function of logits; it needs no gradient.
        minimum: Smallest difference of the baselines' means that :attr:`Faithfulness.value`
            divides by; None for :func:`neoscope.patching.span.check_span`'s own.
        metric_positions: Where the metric reads; None for the last token, or what it asks for.
        token_budget: Tokens that run at once, padding counted; None for about 1 GB (4 GB on a GPU).
        prepend_bos: For texts: put the beginning-of-text token first.

    Raises:
        PatchingError: It is no circuit, or one of another shape than the model, prompts do not
            align, the metric does not fit, or the budget is too small for one prompt.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.organism.compiled.induction_truth import pairs
        >>> from neoscope.patching.gradient.circuit import Circuit
        >>> from neoscope.patching.gradient.graph import Graph
        >>> from neoscope.patching.metrics import logit_diff
        >>> model, data = ns.load("induction"), pairs(4, "key")
        >>> edges = ["embed->a0.h0<v>", "a0.h0->a1.h0<k>", "a1.h0->logits"]
        >>> circuit = Circuit.of(Graph.of(model.config), edges)
        >>> metric = logit_diff(data.answer, data.foil)
        >>> round(faithfulness(model, circuit, data.clean, data.corrupt, metric).value, 4)
        1.0
    """
    circuit = check_circuit(model, circuit)
    options = {"metric_positions": metric_positions, "token_budget": token_budget}
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    runs = run_circuits(model, prompts, metric, circuit.matrix[None], **options)
    return _faithfulness(runs, circuit, minimum, "faithfulness")


def completeness(
    model: HookedGPTNeo,
    circuit: Any,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    minimum: float | None = None,
    metric_positions: Any = None,
    token_budget: int | None = None,
    prepend_bos: bool = False,
) -> Faithfulness:
    """Run the model without the circuit: its own edges carry the corrupted run's value instead.

    A circuit that is complete leaves nothing that does the task: the value is near 0. It is the
    faithfulness of the circuit's complement; arguments and errors are those of
    :func:`faithfulness`.
    """
    rest = check_circuit(model, circuit).complement()
    options = {"metric_positions": metric_positions, "token_budget": token_budget}
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    runs = run_circuits(model, prompts, metric, rest.matrix[None], **options)
    return _faithfulness(runs, rest, minimum, "left without the circuit")


def _faithfulness(
    runs: CircuitRuns, circuit: Circuit, minimum: float | None, label: str
) -> Faithfulness:
    return Faithfulness(
        circuit,
        runs.values[0],
        runs.clean,
        runs.corrupted,
        runs.metric,
        runs.unit,
        minimum,
        label,
    )


def check_circuit(model: HookedGPTNeo, circuit: Any) -> Circuit:
    """Return a circuit, if it is one and of this model's shape.

    Args:
        model: The model.
        circuit: What was given for one.

    Raises:
        PatchingError: It is something else, such as the scores that a circuit is chosen by, or of
            another shape.
    """
    if not isinstance(circuit, Circuit):
        hint = "give edges.circuit(n), the n edges of largest magnitude, or Circuit.of(...)"
        raise PatchingError(f"circuit is {type(circuit).__name__}, no Circuit; {hint}")
    config = getattr(model, "config", None)  # read_prompts refuses what is no model
    graph = circuit.graph if config is None else Graph.of(config)
    if circuit.graph != graph:
        raise PatchingError(
            f"the circuit is of a model of {circuit.graph.n_layers} layers of "
            f"{circuit.graph.n_heads} heads; this one has {graph.n_layers} of {graph.n_heads}"
        )
    return circuit
