"""Exact effects of many cells: batch by batch, with progress and an orderly end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.base import refuse_edited
from neoscope.patching.engine.batches import BaseEdits, Batches
from neoscope.patching.engine.cells import Cell, check_cells
from neoscope.patching.engine.plan import Batch, CellPlan, Plan
from neoscope.patching.engine.progress import EndsEarly, Progress, Reporting
from neoscope.patching.engine.reading import Baselines, read_baselines, read_values
from neoscope.patching.engine.walk import Outcome, Walk
from neoscope.patching.metrics import as_metric, metric_columns
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.sources.reading import read_source

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Exact:
    """The metric in patched runs, cell by cell."""

    patched: Values
    """[pairs, cells]; NaN where an interrupted run did not come to."""
    components: Values
    """[pairs, cells, k]: logits of the metric's component tokens."""
    ran: NDArray[np.bool_]
    """[cells]: False where nothing had to run, since no token of any pair can move."""
    baselines: Baselines
    """The metric as bound, and its values in the unpatched runs."""
    base: Values
    """[pairs]: the metric in the unpatched run of what was patched."""

    @property
    def complete(self) -> bool:
        """Whether every cell was measured."""
        return not bool(np.isnan(self.patched).any())

    def cells(self, some: slice) -> Exact:
        """Return some of the cells."""
        return replace(
            self,
            patched=self.patched[:, some],
            components=self.components[:, some],
            ran=self.ran[some],
        )

    @property
    def effects(self) -> Values:
        """[pairs, cells]: what each patch changes in the metric."""
        effects: Values = self.patched - self.base[:, None]
        return effects


def exact_effects(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    cells: Sequence[Cell],
    *,
    direction: str = "denoise",
    source: Any = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = False,
    seed: int = 0,
    base_edits: BaseEdits | None = None,
) -> Exact:
    """Patch each cell by itself, in every pair, and measure what comes out.

    Exact: every number is what a run of the whole model with that one change gives, to rounding.

    Args:
        model: Without hooks or edits in force.
        prompts: The pairs, from :func:`read_prompts`.
        metric: A metric, or a function of logits [pairs, positions, vocab].
        cells: What to patch.
        direction: ``"denoise"`` or ``"noise"``.
        source: What replaces the values; see :func:`read_source`.
        metric_positions: Where the metric reads: None for the last token, ``"all"``, or positions.
        batch_tokens: Tokens of patched rows held at once; default 4,096 (32,768 on a GPU).
        progress: True for a bar after two seconds, False for none, or a function.
        seed: For sources that draw.
        base_edits: Edits of the embeddings that are part of the run that is patched, such as the
            noise of causal tracing; called with the rows of a batch of pairs.

    Raises:
        PatchingError: Hooks are in force, the budget is too small for one prompt, or the metric
            does not fit.
        SiteError: A cell is not in the model.
    """
    check_cells(cells, model.config)
    return measure(
        model,
        prompts,
        metric,
        CellPlan(cells, read_source(source, seed)),
        direction=direction,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=progress,
        base_edits=base_edits,
    )


def measure(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    plan: Plan,
    *,
    direction: str,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = False,
    base_edits: BaseEdits | None = None,
) -> Exact:
    """Measure every change of a plan; see :func:`exact_effects` for the arguments."""
    refuse_edited(model)
    wanted = as_metric(metric)
    positions = wanted.positions if metric_positions is None else metric_positions
    columns = metric_columns(prompts, positions)
    with torch.inference_mode():
        batches = Batches(
            model, prompts, plan, columns, direction, batch_tokens, base_edits=base_edits
        )
        sides = dict(zip(("clean", "corrupted"), batches.unpatched(), strict=True))
        baselines = read_baselines(
            model, wanted, prompts, columns, *sides.values(), direction=direction
        )
        hidden = sides[prompts.base_name(direction)]
        assert hidden is not None
        return _Collected(batches, baselines, hidden, progress).run()


Late = tuple[slice, NDArray[np.int64], Outcome]
"""Rows of a batch of pairs, numbers of cells, where they ended; the batch itself is too large."""


class _Collected:
    """Gathers what the walks bring home."""

    def __init__(
        self,
        batches: Batches,
        baselines: Baselines,
        hidden: Tensor,
        progress: bool | Callable[[Progress], None],
    ) -> None:
        self.batches, self.baselines, self.metric = batches, baselines, baselines.metric
        self.model, self.hidden = batches.model, hidden
        side = batches.prompts.base_name(batches.direction)
        base = baselines.clean if side == "clean" else baselines.corrupted
        parts = baselines.clean_components if side == "clean" else baselines.corrupted_components
        assert base is not None and parts is not None
        self.base, self.parts = _array(base), _array(parts)
        n_pairs, n_cells = len(batches.prompts), len(batches.plan.cells)
        self.patched = np.full((n_pairs, n_cells), np.nan)
        self.components = np.full((n_pairs, n_cells, self.parts.shape[1]), np.nan)
        self.ran = np.zeros(n_cells, bool)
        self.report = Reporting(progress, n_cells * n_pairs, self.exact)
        self._whole = np.zeros(n_cells, bool)

    def exact(self) -> Exact:
        """What is known so far, of cells that all pairs have."""
        patched, components = self.patched.copy(), self.components.copy()
        for array in (patched, components):
            array[:, ~self._whole] = np.nan
        return Exact(patched, components, self.ran & self._whole, self.baselines, self.base)

    def run(self) -> Exact:
        """Walk group by group; a keyboard interrupt ends with the cells that all pairs have."""
        with EndsEarly(lambda: int(self._whole.sum()), len(self._whole), "cells"), self.report:
            for chunks in self.batches.groups():
                self._group(chunks)
        return self.exact()

    def _group(self, chunks: Sequence[NDArray[np.int64]]) -> None:
        """Measure some chunks of cells in all pairs."""
        late: list[Late] = []
        left = self.batches.n * len(chunks)
        for batch in self.batches.all():
            for numbers in chunks:
                outcome = self._walk(batch, numbers)
                if self.metric.joint:
                    late.append((batch.rows, numbers, outcome))
                else:
                    self._read(batch, numbers, outcome)
                left -= 1
                if not left:
                    self._finish(np.concatenate(chunks), late)
                self.report.update(len(numbers) * batch.n_pairs)

    def _finish(self, numbers: NDArray[np.int64], late: Sequence[Late]) -> None:
        """Note that all pairs have these cells."""
        if late:
            self._read_together(numbers, late)
        self._whole[numbers] = True

    def _walk(self, batch: Batch, numbers: NDArray[np.int64]) -> Outcome:
        """Return where the rows of some cells end; row = index of the cell * pairs + pair."""
        changes = self.batches.plan.changes(batch, numbers)
        pair = np.tile(np.arange(batch.n_pairs), len(numbers))
        walk = Walk(batch.base, pair, batch.columns, changes, changes.starts())
        return walk.run(changes.first)

    def _read(self, batch: Batch, numbers: NDArray[np.int64], outcome: Outcome) -> None:
        cell, pair = np.divmod(outcome.row, batch.n_pairs)
        pairs = np.arange(batch.rows.start, batch.rows.stop)
        patched = np.repeat(self.base[pairs, None], len(numbers), 1)
        parts = np.repeat(self.parts[pairs, None], len(numbers), 1)
        if len(outcome.row):
            index = torch.from_numpy(pairs[pair]).to(self.model.device)
            value, part = read_values(self.model, self.metric, outcome.hidden, index)
            patched[pair, cell], parts[pair, cell] = _array(value), _array(part)
        self.patched[pairs[:, None], numbers[None]] = patched
        self.components[pairs[:, None], numbers[None]] = parts
        self.ran[numbers[np.unique(cell)]] = True

    def _read_together(self, numbers: NDArray[np.int64], late: Sequence[Late]) -> None:
        """Read a metric that wants all pairs of a cell at once."""
        hidden = self.hidden
        self.patched[:, numbers] = self.base[:, None]
        self.components[:, numbers] = self.parts[:, None]
        found: dict[int, list[tuple[NDArray[np.int64], Tensor]]] = {}
        for rows, some, outcome in late:
            cell, pair = np.divmod(outcome.row, rows.stop - rows.start)
            for local in np.unique(cell).tolist():
                at = np.flatnonzero(cell == local)
                moved = outcome.hidden[torch.from_numpy(at).to(hidden.device)]
                found.setdefault(int(some[local]), []).append((pair[at] + rows.start, moved))
        everyone = torch.arange(len(self.base), device=hidden.device)
        for number, parts in found.items():
            # The metric sees the pairs that did not move as the base run has them.
            whole, still = hidden.clone(), np.ones(len(self.base), bool)
            for pair, moved in parts:
                whole[torch.from_numpy(pair).to(hidden.device)] = moved
                still[pair] = False
            value, part = read_values(self.model, self.metric, whole, everyone)
            self.patched[:, number], self.components[:, number] = _array(value), _array(part)
            # Such a pair keeps its own value to the last bit.
            self.patched[still, number] = self.base[still]
            self.ran[number] = True


def _array(x: Tensor) -> Values:
    found: Values = x.detach().double().cpu().numpy()
    return found
