"""Path patching: the exact effect of what senders tell receivers along direct paths.

Wang et al. 2022 (arXiv 2211.00593), Goldowsky-Dill et al. 2023 (arXiv 2304.05969).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.patching.circuits.graph import Edge, Graph
from neoscope.patching.engine.exact import Exact, measure
from neoscope.patching.engine.progress import Progress, with_result
from neoscope.patching.paths.plan import PathPlan, check_mlps, named_sets
from neoscope.patching.prompts.pairs import Prompts, check_direction, read_prompts
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sources.reading import read_source
from neoscope.patching.sweeps.grid import Grid, places
from neoscope.patching.sweeps.measured import as_result

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def path_patch(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    metric: Any,
    senders: Any = None,
    receivers: Any = "logits",
    *,
    mlps: str = "frozen",
    positions: Any = "all",
    direction: str = "denoise",
    source: Any = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    seed: int = 0,
    prepend_bos: bool = False,
) -> PatchingResult:
    """Let receivers, and nobody else, read senders' values of the other run.

    What is frozen: between sender and receiver all other heads write what they wrote in the
    unpatched run, and so do MLPs (``mlps="frozen"``, the edges of EAP) unless they are
    ``"recomputed"`` from the changed stream (Wang et al.). What is recomputed: the receiver, and
    all that comes after it. LayerNorms are never frozen.

    Args:
        model: Without hooks or edits in force.
        clean: As for :func:`neoscope.patching.sweep`.
        corrupted: One for each clean prompt.
        metric: What is measured.
        senders: ``embed``, heads ``a0.h1``, MLPs ``m0``: one, or several, each by itself; a tuple
            among them sends together. ``"heads"`` or ``"mlps"``; default each there is.
        receivers: ``a3.h1<q>``, ``<k>``, ``<v>``, ``m3``, ``logits``: as senders. ``"q"``,
            ``"k"``, ``"v"``, ``"heads"`` or ``"mlps"`` for each of a kind; None for each there is.
        mlps: ``"frozen"`` or ``"recomputed"``.
        positions: Where senders' values are put in. As for ``sweep``: ``"each"``, ``"all"`` at
            once, one, several, or a mapping of names. The default is each in ``sweep``, ``every``,
            ``attribution`` and ``trace``, all in ``ablate`` and ``path_patch``.
        direction: ``"denoise"`` or ``"noise"``.
        source: Where senders' new values come from; default the other prompt.
        metric_positions: Where the metric reads.
        batch_tokens: Tokens of patched rows held at once.
        progress: True, False, or a function.
        seed: For sources that draw.
        prepend_bos: For texts.

    Returns:
        Effects [sender, receiver], and [.., pos] where positions were asked for. A sender that
        comes after its receiver has an effect of exactly 0.

    Raises:
        PatchingError: A name does not exist, or prompts or metric do not fit.
    """
    check_direction(direction)
    recompute = check_mlps(mlps)
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    graph = Graph.of(model.config)
    sent = named_sets(graph, senders, senders=True)
    read = named_sets(graph, receivers, senders=False)
    axis, columns = places(prompts, positions, "positions", "pos")
    chosen = read_source(source, seed)
    plan = PathPlan(
        model.config, list(itertools.product(sent, read, columns)), chosen, recompute=recompute
    )
    axes = [
        Axis("sender", tuple(map("+".join, sent))),
        Axis("receiver", tuple(map("+".join, read))),
    ]
    grid = Grid(tuple(plan.cells), tuple(axes if axis is None else [*axes, axis]))

    def result(exact: Exact) -> PatchingResult:
        return as_result(
            exact,
            model,
            prompts,
            grid,
            direction=direction,
            source=f"{chosen.label}, MLPs {mlps}",
            seed=seed,
            site="paths",
        )

    exact = measure(
        model,
        prompts,
        metric,
        plan,
        direction=direction,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=with_result(progress, result),
    )
    return result(exact)


def exact_edges(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    edges: Sequence[Edge | str],
    *,
    direction: str = "denoise",
    mlps: str = "frozen",
    source: Any = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = False,
    seed: int = 0,
) -> Exact:
    """Measure edges, each by itself; see :func:`path_patch` for the arguments.

    Args:
        model: Without hooks or edits in force.
        prompts: The pairs.
        metric: What is measured.
        edges: Such as ``"a0.h1->a3.h1<k>"``.
        direction: ``"denoise"`` or ``"noise"``.
        mlps: ``"frozen"`` or ``"recomputed"``.
        source: Where senders' new values come from.
        metric_positions: Where the metric reads.
        batch_tokens: Tokens of patched rows held at once.
        progress: True, False, or a function.
        seed: For sources that draw.

    Raises:
        PatchingError: An edge does not exist.
    """
    check_direction(direction)
    graph = Graph.of(model.config)
    paths = [
        ((found.sender,), (found.receiver,), None) for found in (graph.edge(edge) for edge in edges)
    ]
    plan = PathPlan(model.config, paths, read_source(source, seed), recompute=check_mlps(mlps))
    return measure(
        model,
        prompts,
        metric,
        plan,
        direction=direction,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=progress,
    )
