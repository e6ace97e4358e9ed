"""From the residual stream to the metric: the final LayerNorm, the unembedding, and the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.metrics.answers import picked
from neoscope.patching.metrics.custom import as_metric
from neoscope.patching.metrics.metric import Metric, full
from neoscope.patching.prompts.pairs import Prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Hidden = Float[Tensor, "rows P d_model"]
LOGIT_BYTES = 64 * 2**20
"""About how many bytes of logits stand at once."""


def at_columns(stream: Float[Tensor, "rows pos d_model"], columns: Int[Tensor, "rows P"]) -> Hidden:
    """Return a stream in given columns of each row.

    Args:
        stream: Of any layer.
        columns: Such as metric positions, from :func:`metric_columns`.
    """
    index = columns.to(stream.device)[:, :, None].expand(-1, -1, stream.shape[-1])
    return stream.gather(1, index)


def unpatched(
    model: HookedGPTNeo,
    prompts: Prompts,
    columns: Int[Tensor, "pairs P"],
    pairs: Int[Tensor, "chunk"],
    side: str,
) -> Hidden:
    """Run some prompts as they are; return the stream after the last block, before ``ln_final``.

    Args:
        model: The model.
        prompts: All pairs.
        columns: Where the metric reads, of all pairs.
        pairs: Which of them run.
        side: ``"clean"`` or ``"corrupted"``.
    """
    ids, mask = (x[pairs].to(model.device) for x in (prompts.ids(side), prompts.mask))
    return at_columns(model(ids, mask, stop_at_layer=model.config.n_layers), columns[pairs])


@dataclass(frozen=True, eq=False)
class Baselines:
    """A metric that is ready for patched runs, and its values in the unpatched ones."""

    metric: Metric
    """Bound to the prompts and settled on the baselines."""
    clean: Float[Tensor, "pairs"] | None
    """The metric in the unpatched clean runs; None where they did not run."""
    corrupted: Float[Tensor, "pairs"] | None
    clean_components: Float[Tensor, "pairs k"] | None
    """Logits of ``metric.ids`` in the unpatched clean runs."""
    corrupted_components: Float[Tensor, "pairs k"] | None


@torch.no_grad()
def read_baselines(
    model: HookedGPTNeo,
    metric: Any,
    prompts: Prompts,
    columns: Int[Tensor, "pairs P"],
    clean: Float[Tensor, "pairs P d_model"] | None,
    corrupted: Float[Tensor, "pairs P d_model"] | None,
    *,
    direction: str = "denoise",
) -> Baselines:
    """Bind a metric, measure the unpatched runs and settle the metric on them.

    Args:
        model: The model.
        metric: A metric, or a function of logits.
        prompts: The pairs.
        columns: Metric positions, from :func:`metric_columns`.
        clean: The stream after the last block at those columns in the clean runs, before
            ``ln_final``; None where they were not run.
        corrupted: The same of the corrupted runs.
        direction: Which side is patched.

    Raises:
        PatchingError: The metric does not fit the prompts or the positions, or needs a run that is
            not there.
    """
    metric = as_metric(metric)
    if metric.reads_last and columns.shape[1] > 1:
        raise PatchingError(
            f"{metric.name} reads one position of each prompt, and metric_positions gives "
            f"{columns.shape[1]}; give one, or a function of logits [pairs, positions, vocab]"
        )
    sides = {"clean": clean, "corrupted": corrupted}
    logits = None
    if metric.reference is not None:
        stream = sides[metric.reference]
        if stream is None:
            raise PatchingError(
                f"{metric.name} compares with the {metric.reference} run, which there is not; give "
                f"{metric.reference}="
            )
        logits = model.unembed(model.ln_final(stream))
    metric = metric.bind(model, prompts, columns, logits, direction=direction)
    pairs = torch.arange(len(prompts), device=model.device)
    found = {
        side: (None, None) if stream is None else read_values(model, metric.raw, stream, pairs)
        for side, stream in sides.items()
    }
    (ours, our_parts), (theirs, their_parts) = found["clean"], found["corrupted"]
    metric = metric.settle(ours, theirs)
    return Baselines(
        metric,
        None if ours is None else metric.rescaled(ours),
        None if theirs is None else metric.rescaled(theirs),
        our_parts,
        their_parts,
    )


def read_values(
    model: HookedGPTNeo,
    metric: Metric,
    hidden: Float[Tensor, "n P d_model"],
    pairs: Int[Tensor, "n"],
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n k"]]:
    """Return the metric of some runs, and the logits of its component tokens.

    Gradients flow where the caller's grad mode lets them.

    Args:
        model: Its final LayerNorm and unembedding are applied.
        metric: Bound, and settled if it is normalised.
        hidden: The residual stream after the last block, before ``ln_final``, at the metric
            positions.
        pairs: Which pair each row is a run of. For a joint metric: all pairs in order, cell after
            cell.

    Raises:
        PatchingError: The metric is not finite somewhere, or a joint metric does not get all pairs.
    """
    if metric.reads_last:
        hidden = hidden[:, -1:]
    step = _rows_at_once(model, metric, hidden)
    if metric.joint:
        n_pairs = int(getattr(metric.raw, "n_pairs", None) or len(hidden))
        _check_joint(metric, pairs, n_pairs)
        step = max(1, step // n_pairs) * n_pairs
    parts = [
        _read(model, metric, hidden[i : i + step], pairs[i : i + step])
        for i in range(0, len(hidden), step)
    ]
    if not parts:
        empty = full(hidden).new_zeros(0)
        return empty, empty.reshape(0, len(metric.component_names))
    values = torch.cat([value for value, _ in parts])
    bad = (~values.detach().isfinite()).nonzero().flatten().tolist()
    if bad:
        raise PatchingError(
            f"{metric.name} is {values[bad[0]].item()} in a run of pair {int(pairs[bad[0]])} (and "
            f"in {len(bad) - 1} more of {len(values)} runs); the model's own output is not finite "
            "there"
        )
    return values, torch.cat([component for _, component in parts])


def _rows_at_once(model: HookedGPTNeo, metric: Metric, hidden: Tensor) -> int:
    c = model.config
    width = c.d_vocab if metric.needs_vocab else c.d_model * len(metric.component_names)
    return max(1, LOGIT_BYTES // (4 * max(1, hidden.shape[1]) * width))


def _check_joint(metric: Metric, pairs: Tensor, n_pairs: int) -> None:
    expected = torch.arange(n_pairs, device=pairs.device)
    if len(pairs) % n_pairs or not bool((pairs.view(-1, n_pairs) == expected).all()):
        raise PatchingError(
            f"the metric {metric.name} is a function of all {n_pairs} pairs at once; it was to be "
            "given some of them"
        )


def _read(
    model: HookedGPTNeo, metric: Metric, hidden: Tensor, pairs: Tensor
) -> tuple[Tensor, Tensor]:
    normed = model.ln_final(hidden)
    if not metric.needs_vocab:
        assert metric.ids is not None
        own = metric.ids.to(hidden.device)[pairs.to(hidden.device)]
        rows = full(model.unembed.rows[own])
        # A sum by row and not a matrix product: no bit depends on what else is read with it.
        logits = (full(normed)[:, :, None] * rows[:, None]).sum(-1)
        return metric.from_picked(logits, pairs), logits[:, -1]
    logits = model.unembed(normed)
    if metric.joint:
        size = int(getattr(metric.raw, "n_pairs", None) or len(logits))
        values = [
            metric.from_logits(logits[i : i + size], pairs[i : i + size])
            for i in range(0, len(logits), size)
        ]
        value = torch.cat(values)
    else:
        value = metric.from_logits(logits, pairs)
    if metric.ids is None:
        return value, full(logits).new_zeros(len(value), 0)
    return value, full(picked(metric, logits, pairs)[:, -1])
