"""Faithfulness and completeness: what a circuit does by itself, and what is left without it.

Both by exact runs (:mod:`.run`), never by the scores that the circuit was found by.
References: Wang et al. 2022, arXiv 2211.00593 (the criteria); Hanna et al. 2024, arXiv
2403.17806 (faithfulness as a share).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from neoscope.errors import PatchingError
from neoscope.patching.circuits.circuit import Circuit
from neoscope.patching.circuits.graph import Graph
from neoscope.patching.circuits.result import Faithfulness
from neoscope.patching.circuits.run import CircuitRuns, run_circuits
from neoscope.patching.engine.progress import Progress, with_result
from neoscope.patching.prompts.pairs import Prompts, read_prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def faithfulness(
    model: HookedGPTNeo,
    circuit: Any,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    minimum: float | None = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
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
            divides by; None for :func:`neoscope.patching.results.span.check_span`'s own.
        metric_positions: Where the metric reads; None for the last token, or what it asks for.
        batch_tokens: Tokens that run at once, padding counted; None for about 1 GB (4 GB on a GPU).
        progress: True for a bar after two seconds, False for none, or a function that is given a
            :class:`Progress`. A keyboard interrupt returns what is known of the pairs that are
            done, once there are some.
        prepend_bos: For texts: put the beginning-of-text token first.

    Raises:
        PatchingError: It is no circuit, or one of another shape than the model, prompts do not
            align, the metric does not fit, or ``batch_tokens`` does not hold one prompt.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.organism.compiled.induction_truth import pairs
        >>> from neoscope.patching.circuits.circuit import Circuit
        >>> from neoscope.patching.circuits.graph import Graph
        >>> from neoscope.patching.metrics import logit_diff
        >>> model, data = ns.load("induction"), pairs(4, "key")
        >>> edges = ["embed->a0.h0<v>", "a0.h0->a1.h0<k>", "a1.h0->logits"]
        >>> circuit = Circuit.of(Graph.of(model.config), edges)
        >>> metric = logit_diff(data.answer, data.wrong)
        >>> round(faithfulness(model, circuit, data.clean, data.corrupted, metric).value, 4)
        1.0
    """
    circuit = check_circuit(model, circuit)
    return _alone(
        model,
        circuit,
        read_prompts(model, clean, corrupted, prepend_bos=prepend_bos),
        metric,
        minimum,
        "faithfulness",
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=progress,
    )


def completeness(
    model: HookedGPTNeo,
    circuit: Any,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    minimum: float | None = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    prepend_bos: bool = False,
) -> Faithfulness:
    """Run the model without the circuit: its own edges carry the corrupted run's value instead.

    A circuit that is complete leaves nothing that does the task: the value is near 0. It is the
    faithfulness of the circuit's complement; arguments and errors are those of
    :func:`faithfulness`.
    """
    rest = check_circuit(model, circuit).complement()
    return _alone(
        model,
        rest,
        read_prompts(model, clean, corrupted, prepend_bos=prepend_bos),
        metric,
        minimum,
        "left without the circuit",
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=progress,
    )


def _alone(
    model: HookedGPTNeo,
    circuit: Circuit,
    prompts: Prompts,
    metric: Any,
    minimum: float | None,
    label: str,
    *,
    progress: bool | Callable[[Progress], None],
    **options: Any,
) -> Faithfulness:
    """Run a circuit alone, and say so under a label."""

    def result(runs: CircuitRuns) -> Faithfulness:
        return _faithfulness(runs, circuit, minimum, label)

    told = with_result(progress, result)
    return result(
        run_circuits(model, prompts, metric, circuit.matrix[None], progress=told, **options)
    )


def _faithfulness(
    runs: CircuitRuns, circuit: Circuit, minimum: float | None, label: str
) -> Faithfulness:
    done = runs.done
    return Faithfulness(
        circuit,
        runs.values[0, done],
        runs.clean[done],
        runs.corrupted[done],
        runs.metric,
        runs.unit,
        minimum,
        label,
        runs.complete,
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
