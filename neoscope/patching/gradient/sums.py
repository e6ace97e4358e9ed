"""Sums: how a product of change and gradient is summed into the cells of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.cells import BY_HEAD, SQUARE, Cell, knows_one_token
from neoscope.patching.metrics.metric import full
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.sweeps.grid import Grid

Places = Int[Tensor, "pairs cells n"]


@dataclass(frozen=True, eq=False)
class Sums:
    """The cells of one site, axis by axis; every cross of these is a cell."""

    grid: Grid
    prompts: Prompts
    site: str
    layers: tuple[int, ...]
    """Empty for ``embed``, which is in none."""
    heads: tuple[int, ...] | None
    """None: the site has none, or all at once."""
    places: Places | None
    """Columns of each cell, -1 where a pair has fewer; None: all at once."""
    keys: Int[Tensor, "pairs sources m"] | None
    """The same of source positions."""
    units: tuple[int, ...] | None
    """None: all at once."""

    @property
    def square(self) -> bool:
        """Whether the site is by query and key."""
        return self.site in SQUARE

    @property
    def traced(self) -> str:
        """The site whose gradient is taken: a head's output is a linear function of its ``z``."""
        return "z" if self.site == "result" and self.units is None else self.site

    def reduce(
        self, product: Float[Tensor, "rows *axes"], pairs: Int[Tensor, "rows"]
    ) -> Float[Tensor, "rows *cells"]:
        """Sum a product of one layer into that layer's cells.

        Args:
            product: Shaped as the traced site; zero where base and donor cannot differ.
            pairs: The pair of each row.

        Returns:
            One value a cell, without the layer axis; NaN where a pair has no such token.
        """
        x = full(product)
        if not self.square:
            x = x.unsqueeze(2) if self.site not in BY_HEAD else x
            x = x.permute(0, 2, 1, 3)
        # [rows, head or 1, pos or query, last or key]
        x = x.sum(1, keepdim=True) if self.heads is None else x[:, list(self.heads)]
        if self.units is not None:
            x = x[..., list(self.units)]
        elif self.keys is not None:
            x = _summed(x.transpose(2, 3), self.keys[pairs]).transpose(2, 3)
        else:
            x = x.sum(3, keepdim=True)
        x = x.sum(2, keepdim=True) if self.places is None else _summed(x, self.places[pairs])
        sizes = self.grid.shape[1:] if self.layers else self.grid.shape
        return x.reshape(len(x), *sizes)

    @property
    def movable(self) -> NDArray[np.bool_]:
        """Which cells can move in some pair: those that hold a token which may differ."""
        moves = np.ones(self.grid.shape, bool)
        if self.places is None:
            return moves
        layers: Sequence[int | None] = self.layers or (None,)
        where = self.places.clamp(min=0).flatten(1)
        found = []
        for layer in layers:
            differs = visible(self.prompts, self.site, layer).gather(1, where)
            reached = differs.view_as(self.places) & (self.places >= 0)
            found.append(reached.any(2).any(0).numpy())
        # Layers come first; heads may stand between them and positions.
        by_place = np.stack(found) if self.layers else found[0]
        at = _present(self.grid.cells[0]).index("pos")
        view = [n if i == at or (i == 0 and self.layers) else 1 for i, n in enumerate(moves.shape)]
        reachable: NDArray[np.bool_] = moves & by_place.reshape(view)
        return reachable

    def cell(self, flat: int) -> Cell:
        """Return the cell of a flat index, for exact patching."""
        cell: Cell = self.grid.cells[flat]
        return cell


def read_sums(grid: Grid, prompts: Prompts) -> Sums:
    """Take a grid apart into its axes.

    Args:
        grid: Of one site, from :func:`neoscope.patching.sweeps.grid.make_grid`.
        prompts: The pairs that it was made for.
    """
    cells = np.empty(len(grid.cells), object)
    cells[:] = grid.cells
    cells = cells.reshape(grid.shape)

    present = _present(grid.cells[0])

    def along(what: str) -> list[Cell] | None:
        if what not in present:
            return None
        at: list[Any] = [slice(None) if name == what else 0 for name in present]
        return list(cells[tuple(at)])

    heads, units, places, keys = (along(what) for what in ("head", "unit", "pos", "key"))
    return Sums(
        grid=grid,
        prompts=prompts,
        site=grid.cells[0].site,
        layers=tuple(c.layer for c in along("layer") or () if isinstance(c.layer, int)),
        heads=None if heads is None else tuple(c.head for c in heads if c.head is not None),
        places=None if places is None else _stacked([cell.columns for cell in places]),
        keys=None if keys is None else _stacked([cell.keys for cell in keys]),
        units=None if units is None else tuple(c.unit for c in units if c.unit is not None),
    )


def _present(cell: Cell) -> list[str]:
    """Return what a grid's axes are, in their order; a cell of it names no other part."""
    parts = {
        "layer": cell.layer,
        "head": cell.head,
        "pos": cell.columns,
        "key": cell.keys,
        "unit": cell.unit,
    }
    return [name for name, value in parts.items() if value is not None]


def _stacked(columns: Sequence[Tensor | None]) -> Places:
    known = [column for column in columns if column is not None]
    widest = max(column.shape[1] for column in known)
    padded = [
        torch.nn.functional.pad(column, (0, widest - column.shape[1]), value=-1) for column in known
    ]
    return torch.stack(padded, dim=1)


def _summed(
    x: Float[Tensor, "rows head pos last"], places: Int[Tensor, "rows cells n"]
) -> Float[Tensor, "rows head cells last"]:
    """Sum over each cell's columns of the third axis; NaN where a pair has none of them."""
    index = places.to(x.device)
    flat = index.flatten(1)[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
    taken = x.gather(2, flat.clamp(min=0)).where(flat >= 0, 0.0)
    total = taken.unflatten(2, (index.shape[1], index.shape[2])).sum(3)
    has = (index >= 0).any(2)[:, None, :, None]
    summed: Tensor = total.where(has, torch.nan)
    return summed


def visible(
    prompts: Prompts, site: str | None = None, layer: int | None = None
) -> Bool[Tensor, "pairs pos"]:
    """Return which columns are real and may differ between the two runs.

    From the first different token on; before the first attention, at different tokens alone.
    """
    if site is not None and knows_one_token(site, layer):
        return prompts.differs
    column = torch.arange(prompts.n_columns)[None]
    later: Tensor = column >= prompts.first_difference[:, None]
    return later & prompts.mask
