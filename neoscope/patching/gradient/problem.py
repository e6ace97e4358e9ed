"""Problem: a metric bound to pairs of prompts, and how many of them run at once."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.model import HookedGPTNeo
from neoscope.patching.engine.base import refuse_edited
from neoscope.patching.engine.memory import rows_at_once
from neoscope.patching.engine.reading import read_baselines, unpatched
from neoscope.patching.metrics import Metric, as_metric, metric_columns
from neoscope.patching.prompts.pairs import Prompts, check_direction
from neoscope.unseen import levels_to_caller


@dataclass(frozen=True, eq=False)
class Problem:
    """What gradients are taken of: a metric bound to pairs of prompts. See :func:`read_problem`."""

    model: HookedGPTNeo
    prompts: Prompts
    metric: Metric
    """Bound: it knows the ids of its answers."""
    columns: Int[Tensor, "pairs read"]
    """Columns at which the metric reads, counted as in ``prompts``."""
    direction: str
    """``"denoise"``: the base run is the corrupted one; ``"noise"``: the clean one."""
    given: Any = None
    """The metric as it came from the user."""
    metric_positions: Any = None
    """Metric positions as they came from the user."""

    @property
    def base(self) -> str:
        """Whose prompt the base run reads: ``"clean"`` or ``"corrupted"``."""
        return self.prompts.base_name(self.direction)

    @property
    def donor(self) -> str:
        """Whose prompt the values to put in come from."""
        return "clean" if self.base == "corrupted" else "corrupted"

    def chunks(self, batch_tokens: int | None = None) -> tuple[Int[Tensor, "chunk"], ...]:
        """Split the pairs into as many as run at once: all of them for a metric that is joint.

        Args:
            batch_tokens: Tokens (padding counted) of one pass; None for about 1 GB of saved
                activations on a CPU, 4 GB on a GPU.

        Raises:
            PatchingError: ``batch_tokens`` does not hold one row.
        """
        pairs = torch.arange(len(self.prompts))
        rows = self._rows(batch_tokens)
        size = len(pairs) if self.metric.joint else rows
        return tuple(pairs.split(size))

    def copies(self, chunk: Int[Tensor, "chunk"], batch_tokens: int | None = None) -> int:
        """How many copies of a chunk (steps of a path, say) run at once; at least one."""
        return max(1, self._rows(batch_tokens) // len(chunk))

    def _rows(self, batch_tokens: int | None) -> int:
        return rows_at_once(
            batch_tokens,
            self.prompts.n_columns,
            self._row_bytes(),
            self.model.device,
            together=len(self.prompts) if self.metric.joint else 1,
            metric=self.metric.name,
        )

    def _row_bytes(self) -> int:
        c, n = self.model.config, self.prompts.n_columns
        layer = n * (10 * c.d_model + 3 * c.n_neurons + 2 * c.n_heads * n)
        logits = 3 * self.columns.shape[1] * c.d_vocab if self.metric.needs_vocab else 0
        return 4 * (c.n_layers * layer + logits)


def read_problem(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    *,
    direction: str = "denoise",
    metric_positions: Any = None,
    batch_tokens: int | None = None,
) -> Problem:
    """Bind a metric to prompts; the unpatched runs are made here only if it needs them.

    Args:
        model: The model, without hooks or edits in force.
        prompts: Pairs; they must have corrupted ones.
        metric: A metric, not yet bound, or a function of logits.
        direction: ``"denoise"`` or ``"noise"``.
        metric_positions: Where the metric reads; None for what it wishes, which for answers is
            the last token.
        batch_tokens: Tokens of one pass.

    Raises:
        PatchingError: Hooks or edits are in force, there are no corrupted prompts, the direction is
            unknown, or the metric has no gradient or does not fit the prompts.
    """
    refuse_edited(model)
    check_direction(direction)
    metric = as_metric(metric)
    if prompts.corrupted is None:
        raise PatchingError("gradients need both runs: give corrupted prompts beside the clean")
    if not metric.differentiable:
        raise PatchingError(
            f"the metric {metric.name!r} has no gradient; use one that is differentiable, such as "
            "logit_diff or kl, or neoscope.patching.sweep, which needs none"
        )
    wish = metric.positions if metric_positions is None else metric_positions
    columns = metric_columns(prompts, wish)
    sides: dict[str, Tensor | None] = {"clean": None, "corrupted": None}
    if metric.needs_baselines or metric.reference is not None:
        loose = Problem(model, prompts, metric, columns, direction)
        for side in sides:
            with torch.no_grad():
                sides[side] = torch.cat(
                    [
                        unpatched(model, prompts, columns, chunk, side)
                        for chunk in loose.chunks(batch_tokens)
                    ]
                )
    with torch.no_grad():
        known = read_baselines(
            model,
            metric,
            prompts,
            columns,
            sides["clean"],
            sides["corrupted"],
            direction=direction,
        )
    return Problem(model, prompts, known.metric, columns, direction, metric, metric_positions)


def warn_if_flat(problem: Problem, remedy: str) -> None:
    """Warn where the metric compares the base run with itself.

    A divergence from a run is least in that run: its gradient there is zero, and so is every score
    that is made of that gradient alone.

    Args:
        problem: Model, prompts and metric.
        remedy: How gradients are taken beyond the base run.
    """
    metric, base = problem.metric, problem.base
    if metric.reference != base:
        return
    direction = "denoise" if problem.direction == "noise" else "noise"
    warnings.warn(
        f"the metric {metric.name} compares with the {base} run, and with "
        f"direction={problem.direction!r} the {base} run is the base, where gradients are taken: "
        f"its gradient vanishes there, and all scores are 0 up to rounding. Look beyond the base "
        f"run {remedy}, take direction={direction!r}, or compare with the {problem.donor} run",
        stacklevel=levels_to_caller(sys._getframe()),
    )
