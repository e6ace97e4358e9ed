"""EAP and EAP-IG: the effect of every edge of a model, estimated from a few gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.indices import whole
from neoscope.patching.circuits.graph import Edge, Graph
from neoscope.patching.engine.progress import EndsEarly, Progress, Reporting
from neoscope.patching.gradient.edge_products import Worth, differences
from neoscope.patching.gradient.edge_scores import EdgeScores, ExactEdges
from neoscope.patching.gradient.edge_tally import Tally
from neoscope.patching.gradient.problem import Problem, read_problem, warn_if_flat
from neoscope.patching.gradient.tail import Whole, run_tail, run_whole
from neoscope.patching.prompts.pairs import Prompts, read_prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def eap(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    direction: str = "denoise",
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    prepend_bos: bool = False,
) -> EdgeScores:
    """Estimate the effect of every edge to first order: edge attribution patching.

    The score of an edge is what its sender writes in the donor run less what it writes in the base
    run, times the gradient of the base run's metric with respect to the receiver's own input (the
    LayerNorm is inside), summed over positions. Queries, keys and values of a head are receivers
    of their own; see :mod:`neoscope.patching.circuits.graph`. Costs two forwards and a backward.

    Reference: Syed, Rager and Conmy 2023, arXiv 2310.10348.

    Args:
        model: The model.
        clean: Prompts, as for :func:`neoscope.patching.sweep`.
        corrupted: Their counterparts of the same lengths.
        metric: One that is differentiable, or a function of logits.
        direction: ``"denoise"``: the base run is the corrupted one and edges carry the clean run's
            values; ``"noise"``: the reverse. Positive scores raise the metric.
        metric_positions: Where the metric reads; None for the last token, or what it asks for.
        batch_tokens: Tokens that run at once, padding counted; None for about 1 GB of activations
            (4 GB on a GPU).
        progress: True for a bar after two seconds, False for none, or a function that is given a
            :class:`Progress`. A keyboard interrupt returns the pairs that are done, the others NaN,
            once there are some.
        prepend_bos: For texts: put the beginning-of-text token first.

    Raises:
        PatchingError: Prompts that do not align, a metric that has no gradient or does not fit, a
            ``batch_tokens`` that do not hold one prompt, or hooks or edits in force.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.patching.metrics import logit_diff
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
        >>> eap(model, [[1, 2, 3]], [[1, 4, 3]], logit_diff(5, 6)).mean.shape
        (7, 15)
    """
    options = {"direction": direction, "metric_positions": metric_positions}
    with torch.inference_mode(False):  # its tensors could not be differentiated
        prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
        return _scores(model, prompts, metric, 1, "EAP", options, batch_tokens, progress)


def eap_ig(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    steps: int = 5,
    direction: str = "denoise",
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    prepend_bos: bool = False,
) -> EdgeScores:
    """Estimate the effect of every edge from gradients along a path between the two runs.

    As :func:`eap`, but with the mean of the gradients in ``steps`` runs. Run k, of 0 to
    ``steps - 1``, begins with the embeddings (token and position) ``base + k (donor - base) /
    steps``. Run 0 is the base run itself, so that one step is :func:`eap`; the donor's own gradient
    is left out. That is the rule of Hanna et al., whose base is the corrupted run, as here with
    ``"denoise"``. Where the metric is flat at the base (KL in the clean run, with ``"noise"``),
    the other steps see what lies beyond. All steps of all pairs run together.

    Reference: Hanna, Pezzelle and Belinkov 2024, arXiv 2403.17806.

    Args:
        model: The model.
        clean: Prompts, as for :func:`neoscope.patching.sweep`.
        corrupted: Their counterparts of the same lengths.
        metric: One that is differentiable, or a function of logits.
        steps: Gradients to average over, at least 1.
        direction: As for :func:`eap`.
        metric_positions: As for :func:`eap`.
        batch_tokens: As for :func:`eap`.
        progress: As for :func:`eap`.
        prepend_bos: As for :func:`eap`.

    Raises:
        PatchingError: As for :func:`eap`, or ``steps`` is no whole number of at least 1.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.patching.metrics import logit_diff
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=1, n_ctx=16, d_vocab=10))
        >>> scores = eap_ig(model, [[1, 2, 3]], [[1, 4, 3]], logit_diff(5, 6), steps=5)
        >>> len(scores.circuit(23, "top")), len(scores.graph.edges)
        (23, 23)
    """
    number = whole(steps)
    if number is None or number < 1:
        raise PatchingError(f"steps={steps!r}; give a whole number of at least 1, such as 5")
    options = {"direction": direction, "metric_positions": metric_positions}
    with torch.inference_mode(False):  # its tensors could not be differentiated
        prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
        return _scores(model, prompts, metric, number, "EAP-IG", options, batch_tokens, progress)


def _scores(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    steps: int,
    method: str,
    options: dict[str, Any],
    batch_tokens: int | None,
    progress: bool | Callable[[Progress], None],
) -> EdgeScores:
    problem = read_problem(model, prompts, metric, batch_tokens=batch_tokens, **options)
    if steps == 1:
        warn_if_flat(problem, "with eap_ig(..., steps=5)")
    tally = Tally(Graph.of(model.config), len(prompts))
    n = len(prompts)
    baselines = {side: np.full(n, np.nan, np.float32) for side in ("clean", "corrupted")}

    def result() -> EdgeScores:
        return tally.finish(
            method=method,
            steps=steps,
            direction=problem.direction,
            metric=problem.metric.name,
            unit=problem.metric.unit,
            **{side: x.copy() for side, x in baselines.items()},
            model=str(model.cfg.model_name),
            exact=_exact(model, prompts, metric, options, batch_tokens),
        )

    report = Reporting(progress, n * steps, result)
    with EndsEarly(lambda: tally.n_done, n, "pairs"), report:
        for pairs, copies in _chunks(problem, steps, batch_tokens):
            scores, donor, base = _chunk(problem, pairs, steps, copies, report.update)
            baselines[problem.donor][pairs.numpy()] = _array(donor)
            baselines[problem.base][pairs.numpy()] = _array(base)
            tally.add(pairs.numpy(), scores)
    return result()


def _exact(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    options: dict[str, Any],
    batch_tokens: int | None,
) -> ExactEdges:
    def effects(
        edges: Sequence[Edge], progress: bool | Callable[[Progress], None] = False
    ) -> NDArray[np.float64]:
        from neoscope.patching.paths.path_patching import exact_edges

        found = exact_edges(
            model, prompts, metric, edges, batch_tokens=batch_tokens, progress=progress, **options
        ).effects
        return np.asarray(found, np.float64)

    return effects


def _chunks(
    problem: Problem, steps: int, batch_tokens: int | None
) -> Iterator[tuple[Int[Tensor, "chunk"], int]]:
    """Pairs that run together, and how many steps of each: as many as there are, if they fit."""
    every = torch.arange(len(problem.prompts))
    if problem.metric.joint:
        yield every, min(steps, problem.copies(every, batch_tokens))
        return
    rows = problem.copies(every[:1], batch_tokens)
    # Pairs that begin to differ at about the same column share a short tail.
    order = problem.prompts.first_difference.argsort(stable=True)
    for pairs in order.split(max(1, rows // steps)):
        yield pairs, min(steps, max(1, rows // len(pairs)))


def _chunk(
    problem: Problem,
    pairs: Int[Tensor, "chunk"],
    steps: int,
    copies: int,
    ran: Callable[[int], None],
) -> tuple[NDArray[np.float32], Float[Tensor, "chunk"], Float[Tensor, "chunk"]]:
    """Scores [pairs, senders, receivers], and the metric of the donor and of the base run."""
    model = problem.model
    donor = run_whole(problem, pairs, problem.donor)
    begin = _embedded(problem, donor)
    columns = torch.arange(donor.first, problem.prompts.n_columns)
    changed = columns[None] >= problem.prompts.first_difference[pairs][:, None]
    worth, base = Worth(model, len(pairs)), None
    for step in range(0, steps, copies):
        share = torch.arange(step, min(step + copies, steps), device=begin.device) / steps
        share = share.to(begin).view(-1, 1, 1, 1)
        stream = torch.lerp(begin[None], donor.written.embed[None], share)
        tail = run_tail(problem, donor, stream.flatten(0, 1))
        base = tail.written.rows(len(pairs)) if base is None else base
        worth.add(tail)
        ran(share.shape[0] * len(pairs))
    assert base is not None
    delta = differences(model, donor.written, base, changed)
    return _array(worth.products(delta) / steps), donor.written.values, base.values


def _embedded(problem: Problem, donor: Whole) -> Float[Tensor, "pairs pos d_model"]:
    """The base run's embeddings in the tail."""
    prompts, device = problem.prompts, problem.model.device
    ids, mask = prompts.ids(problem.base)[donor.pairs], prompts.mask[donor.pairs]
    with torch.no_grad():
        embedded = problem.model(ids.to(device), mask.to(device), stop_at_layer=0)
    stream: Tensor = embedded[:, donor.first :]
    return stream


def _array(x: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = x.detach().float().cpu().numpy()
    return found
