"""Batches: which pairs and which cells walk together under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.edit import Edit
from neoscope.errors import PatchingError
from neoscope.patching.engine.base import Base
from neoscope.patching.engine.memory import read_budget
from neoscope.patching.engine.plan import Batch, Plan
from neoscope.patching.engine.reading import at_columns
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.sources.reading import OtherPrompt
from neoscope.patching.sources.values import Recorded, run_kept

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Hidden = Float[Tensor, "pairs P d_model"]
BaseEdits = Callable[[slice], Sequence[Edit]]
"""From the rows of a batch of pairs to edits of the run that is patched."""


_KEPT_BYTES = 2**30
"""Up to this size, unpatched runs are kept from one chunk of cells to the next."""
_CHUNKS_A_RUN = 16


class Batches:
    """Every batch of pairs with every chunk of cells."""

    def __init__(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        plan: Plan,
        columns: Int[Tensor, "pairs P"],
        direction: str,
        batch_tokens: int | None,
        *,
        base_edits: BaseEdits | None = None,
    ) -> None:
        """Plan.

        Args:
            model: The model.
            prompts: All pairs.
            plan: All cells, and what is put in.
            columns: Where the metric reads; what stands right of them is not run.
            direction: ``"denoise"`` or ``"noise"``.
            batch_tokens: Tokens of patched rows held at once.
            base_edits: Edits of the embeddings that are part of the run that is patched.

        Raises:
            PatchingError: There are no cells, or the budget does not hold one prompt.
        """
        if not len(plan.cells):
            raise PatchingError("there is nothing to patch: no cell was asked for")
        self.model, self.prompts, self.plan = model, prompts, plan
        self.columns, self.direction = columns, direction
        self.width = int(columns.max()) + 1
        self.budget = read_budget(batch_tokens, self.width, model.device)
        n = max(1, self.budget // (2 * self.width))
        if plan.held:
            n = max(1, min(n, 4 * self.budget // (self.width * plan.held)))
        self._slices = [slice(i, min(i + n, len(prompts))) for i in range(0, len(prompts), n)]
        self._order = sorted(range(len(plan.cells)), key=lambda i: plan.cells[i].layers[0])
        self._source = plan.source.prepare(model, prompts, direction, plan.kept)
        self._base_edits = base_edits
        self._kept: list[Batch] = []
        self._keeps = self.n == 1 or (not plan.held and self._nbytes() <= _KEPT_BYTES)
        self._chunks = list(self._cut())

    @property
    def n(self) -> int:
        """Batches of pairs."""
        return len(self._slices)

    def all(self) -> Iterator[Batch]:
        """Yield every batch of pairs."""
        for i, rows in enumerate(self._slices):
            if i < len(self._kept):
                yield self._kept[i]
                continue
            batch = self._made(rows)
            if self._keeps:
                self._kept.append(batch)
            yield batch

    def groups(self) -> Iterator[Sequence[NDArray[np.int64]]]:
        """Yield chunks of cells, by number, lower layers first.

        All pairs are to see one group before the next, so that an interrupted run has whole cells.
        Where the unpatched runs are not kept, a group is large enough to be worth making them anew.
        """
        step = 1 if self._keeps else _CHUNKS_A_RUN
        for first in range(0, len(self._chunks), step):
            yield self._chunks[first : first + step]

    def unpatched(self) -> tuple[Hidden | None, Hidden | None]:
        """Return the last stream of clean and corrupted runs where the metric reads."""
        ours, theirs = [], []
        for batch in self.all():
            ours.append(batch.base_hidden)
            theirs.append(self._other(batch))
        base = torch.cat(ours)
        other = None if theirs[0] is None else torch.cat([x for x in theirs if x is not None])
        if self.prompts.base_name(self.direction) == "clean":
            return base, other
        return other, base

    def _other(self, batch: Batch) -> Hidden | None:
        """The run of the prompts that are not patched."""
        last = ("resid_post", self.model.config.n_layers - 1)
        if isinstance(self._source, OtherPrompt) and isinstance(batch.values, Recorded):
            return at_columns(batch.values.cache[last], batch.columns)
        ids = self.prompts.take(batch.rows).donor(self.direction)
        if ids is None:
            return None
        cache = run_kept(self.model, ids[:, : self.width], batch.base.mask, [last])
        return at_columns(cache[last], batch.columns)

    def _made(self, rows: slice) -> Batch:
        prompts = cropped(self.prompts.take(rows), self.width)
        base = Base(
            self.model,
            prompts.base(self.direction),
            prompts.mask,
            sites=self.plan.kept,
            first=self.plan.first,
            edits=() if self._base_edits is None else self._base_edits(rows),
        )
        values = self._source.bind(base, prompts, rows, self.direction, self.plan.kept)
        return Batch(rows, base, values, self.columns[rows])

    def _nbytes(self) -> int:
        """What the unpatched runs of all pairs take, about."""
        config = self.model.config
        each = (config.n_layers - self.plan.first) * (5 * config.d_model) * 4
        return len(self.prompts) * self.width * each

    def _cut(self) -> Iterator[NDArray[np.int64]]:
        """Cut the cells so that the tokens of a chunk's rows stay within the budget."""
        costs: dict[int, int] = {}
        chunk: list[int] = []
        held = 0
        for number in self._order:
            columns = self.plan.cells[number].columns
            if id(columns) not in costs:
                costs[id(columns)] = max(self._cost(columns, rows) for rows in self._slices)
            cost = costs[id(columns)]
            if chunk and held + cost > self.budget:
                yield np.array(chunk, np.int64)
                chunk, held = [], 0
            chunk.append(number)
            held += cost
        yield np.array(chunk, np.int64)

    def _cost(self, columns: Tensor | None, rows: slice) -> int:
        """Tokens of one cell's rows, at most."""
        first = (~self.prompts.mask[rows, : self.width]).sum(1)
        if columns is not None:
            own = columns[rows]
            first = torch.where(own < 0, self.width, own).min(1).values.maximum(first)
        if isinstance(self._source, OtherPrompt):
            first = first.maximum(self.prompts.first_difference[rows])
        return int((self.width - first).clamp(min=0).sum())


def cropped(prompts: Prompts, width: int) -> Prompts:
    """Return the prompts without what stands right of some column, which nothing reads."""
    if width == prompts.n_columns:
        return prompts
    cut = prompts.n_columns - width
    return Prompts(
        clean=prompts.clean[:, :width],
        corrupted=None if prompts.corrupted is None else prompts.corrupted[:, :width],
        mask=prompts.mask[:, :width],
        clean_strings=tuple(row[: len(row) - cut] for row in prompts.clean_strings),
        corrupted_strings=tuple(row[: len(row) - cut] for row in prompts.corrupted_strings),
    )
