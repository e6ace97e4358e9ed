"""From a change at any site to the residual stream: what each cell writes, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.base import Base
from neoscope.patching.engine.cells import BY_HEAD, Cell
from neoscope.patching.engine.reduce_heads import HeadChange
from neoscope.patching.engine.rows import Tokens, joined, on
from neoscope.patching.sources.values import Values

Touched = NDArray[np.bool_]
Numbered = Sequence[tuple[int, Cell]]


class Reduction:
    """The changes of some cells in a batch of pairs; row = number of the cell * pairs + pair."""

    def __init__(
        self, base: Base, values: Values, cells: Sequence[Cell], rows: slice = slice(None)
    ) -> None:
        """Sort the cells by layer and site.

        Args:
            base: The unpatched run.
            values: What replaces its values.
            cells: All of them; each is in one layer, or in a window of them.
            rows: Which of all pairs these are.
        """
        self.base, self.values, self._rows = base, values, rows
        self.cells = cells
        self._real = base.mask.numpy()
        self._touched: dict[int, Touched] = {}
        self._groups: dict[int, dict[str, list[tuple[int, Cell]]]] = {}
        for number, cell in enumerate(cells):
            for layer in cell.layers:
                self._groups.setdefault(layer, {}).setdefault(cell.site, []).append((number, cell))

    @property
    def first(self) -> int:
        """The lowest layer that any cell changes."""
        return min(self._groups)

    def starts(self) -> NDArray[np.int64]:
        """First column of each row of a cell in several layers; -1 for all others."""
        start = np.full(len(self.cells) * self.base.n_pairs, -1, np.int64)
        for number, cell in enumerate(self.cells):
            if len(cell.layers) > 1:
                touched = self.touched(cell)
                first = np.where(touched.any(1), touched.argmax(1), -1)
                start[number * self.base.n_pairs :][: self.base.n_pairs] = first
        return start

    def __call__(self, layer: int) -> Mapping[str, Tokens]:
        """Return what is written in a layer: stream sites, and what is added to the stream."""
        found: dict[str, list[Tokens | None]] = {}
        for site, cells in self._groups.get(layer, {}).items():
            if site in BY_HEAD:
                found.setdefault("resid_mid", []).append(self._heads(site, layer, cells))
            elif site in ("pre", "post"):
                found.setdefault("resid_post", []).append(self._neurons(site, layer, cells))
            else:
                where, tokens = self._stream(site, layer, cells)
                found.setdefault(where, []).append(tokens)
        done = {site: joined(parts) for site, parts in found.items()}
        return {site: tokens for site, tokens in done.items() if tokens is not None}

    # ---- which tokens ----------------------------------------------------------------------------

    def touched(self, cell: Cell) -> Touched:
        """Which tokens a cell names, [pairs, pos]."""
        return self._marked(cell.columns)

    def _marked(self, columns: Tensor | None) -> Touched:
        if columns is None:
            return self._real
        known = self._touched.get(id(columns))
        if known is None:
            known = np.zeros(self._real.shape, bool)
            own = columns[self._rows].numpy()
            named = np.argwhere((own >= 0) & (own < self.base.n_columns))
            pair, slot = named[:, 0], named[:, 1]
            known[pair, own[pair, slot]] = True
            known &= self._real
            self._touched[id(columns)] = known
        return known

    def _may_differ(self, site: str, layer: int | None) -> Touched:
        found = self.values.may_differ(site, layer)
        if found is None:
            return self._real
        may: Touched = found.cpu().numpy() & self._real
        return may

    def _moved(self, cells: Numbered, differs: Tensor, may: Touched) -> Touched:
        """Which tokens each cell moves, [cells, pairs, pos].

        In a window of layers a row's own value may have moved from the base run's already, so that
        equal values move it too, but not left of what the values can change.
        """
        anything = differs.any(-1).cpu().numpy() & may
        later: Touched = np.logical_or.accumulate(may, axis=1) & self._real

        def where(cell: Cell) -> Touched:
            if len(cell.layers) > 1:
                return later
            if cell.unit is None:
                return anything
            one: Touched = differs[..., cell.unit].cpu().numpy() & may
            return one

        return np.stack([self.touched(cell) & where(cell) for _, cell in cells])

    def _tokens(
        self, cells: Numbered, moved: Touched, value: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tokens:
        """Return the moved tokens, [cells, pairs, pos], valued by (cell's index, pair, column)."""
        cell, pair, column = np.nonzero(moved)
        numbers = np.array([number for number, _ in cells], np.int64)
        index = [on(self.base.device, at) for at in (cell, pair, column)]
        return Tokens(numbers[cell] * self.base.n_pairs + pair, column, value(*index))

    # ---- stream, neurons, heads ------------------------------------------------------------------

    def _stream(self, site: str, layer: int, cells: Numbered) -> tuple[str, Tokens]:
        at = None if site == "embed" else layer
        here = self.base(site, at)
        there = self.values.at(site, at, here)
        may = self._may_differ(site, at)
        if site == "embed":
            there = self.base.stream(0) + (there - here)
            here, where = self.base.stream(0), "resid_pre"
        else:
            where = site
        moved = self._moved(cells, here != there, may)
        units = [-1 if cell.unit is None else cell.unit for _, cell in cells]

        def value(cell: Tensor, pair: Tensor, column: Tensor) -> Tensor:
            new: Tensor = there[pair, column]
            if max(units) < 0:
                return new
            unit = torch.tensor(units, device=new.device)[cell][:, None]
            keep = (unit >= 0) & (torch.arange(new.shape[1], device=new.device)[None] != unit)
            return torch.where(keep, here[pair, column], new)

        return where, self._tokens(cells, moved, value)

    def _neurons(self, site: str, layer: int, cells: Numbered) -> Tokens:
        here = self.base(site, layer)
        there = self.values.at(site, layer, here)
        mlp = self.base.block(layer).mlp
        delta = mlp.act(there) - mlp.act(here) if site == "pre" else there - here
        may = self._may_differ(site, layer)
        moved = self._moved(cells, here != there, may)
        units = torch.tensor(
            [-1 if cell.unit is None else cell.unit for _, cell in cells], device=here.device
        )
        stream, weight = self.base.stream(layer + 1), mlp.weight_out

        def value(cell: Tensor, pair: Tensor, column: Tensor) -> Tensor:
            unit = units[cell]
            one = unit >= 0
            written = torch.empty(len(cell), stream.shape[-1], device=here.device, dtype=here.dtype)
            u, p, c = unit[one], pair[one], column[one]
            written[one] = delta[p, c, u][:, None] * weight.T[u]
            written[~one] = delta[pair[~one], column[~one]] @ weight.T
            return stream[pair, column] + written

        return self._tokens(cells, moved, value)

    def _heads(self, site: str, layer: int, cells: Numbered) -> Tokens | None:
        change = HeadChange(self.base, self.values, site, layer)
        may = self._may_differ("z" if site == "result" else site, layer)
        middle = self.base("resid_mid", layer)
        by_head: dict[int | None, list[tuple[int, Cell]]] = {}
        for number, cell in cells:
            by_head.setdefault(cell.head, []).append((number, cell))
        parts = []
        for head, some in by_head.items():
            touched = np.stack([self.touched(cell) for _, cell in some])
            keys = None
            if any(cell.keys is not None for _, cell in some):
                keys = np.stack([self._marked(cell.keys) for _, cell in some])
            units = [cell.unit for _, cell in some]
            heads = range(self.base.config.n_heads) if head is None else [head]
            found = [change.of(h, touched, may, keys, units) for h in heads]
            moved = np.logical_or.reduce([moved for moved, _ in found])

            def value(
                cell: Tensor, pair: Tensor, column: Tensor, found: list[HeadWrite] = found
            ) -> Tensor:
                out = middle[pair, column]
                for _, written in found:
                    out = out + written(cell, pair, column)
                return out

            parts.append(self._tokens(some, moved, value))
        return joined(parts)


HeadWrite = tuple[Touched, Callable[[Tensor, Tensor, Tensor], Tensor]]
