"""Plan: what an experiment patches, and what the walk over a batch of pairs needs to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.base import Base
from neoscope.patching.engine.cells import Cell
from neoscope.patching.engine.reading import at_columns
from neoscope.patching.engine.reduce import Reduction
from neoscope.patching.engine.rows import Tokens
from neoscope.patching.sources.source import Source
from neoscope.patching.sources.values import Values

Hidden = Float[Tensor, "pairs P d_model"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pairs: their unpatched run, and the values that are put in."""

    rows: slice
    base: Base
    values: Values
    columns: Int[Tensor, "pairs P"]
    """Where the metric reads."""

    @property
    def n_pairs(self) -> int:
        """Pairs in it."""
        return self.base.n_pairs

    @property
    def base_hidden(self) -> Hidden:
        """The unpatched run's last stream where the metric reads."""
        return at_columns(self.base.stream(self.base.config.n_layers), self.columns)


@runtime_checkable
class Changes(Protocol):
    """What some cells write in a batch of pairs."""

    @property
    def first(self) -> int:
        """The lowest layer that is written to."""

    def starts(self) -> NDArray[np.int64]:
        """First column of each row that is changed in several layers; -1 for others."""

    def __call__(self, layer: int) -> Mapping[str, Tokens]:
        """Return what is written in a layer; see :data:`neoscope.patching.engine.walk.Changes`."""


@runtime_checkable
class Plan(Protocol):
    """What is patched: cells of any kind, and where their values come from."""

    @property
    def cells(self) -> Sequence[Any]:
        """Each with ``layers``, the layers that it writes to, and ``columns`` (None for all)."""

    @property
    def source(self) -> Source:
        """What is put in."""

    @property
    def kept(self) -> Sequence[tuple[str, int | None]]:
        """(site, layer) that both runs keep."""

    @property
    def first(self) -> int:
        """The lowest layer of which the base run is needed."""

    @property
    def held(self) -> int:
        """Copies of a batch's residual stream that it holds; 0 for none."""

    def changes(self, batch: Batch, numbers: NDArray[np.int64]) -> Changes:
        """Return what some of the cells, by number, write in a batch."""


@dataclass(frozen=True, eq=False)
class CellPlan:
    """Cells that replace the value of a site."""

    cells: Sequence[Cell]
    source: Source

    @property
    def kept(self) -> list[tuple[str, int | None]]:
        """The sites that are replaced; a head's output is made from its z."""
        found: set[tuple[str, int | None]] = set()
        for cell in self.cells:
            site = "z" if cell.site == "result" else cell.site
            found |= {(site, layer if cell.layer is not None else None) for layer in cell.layers}
        return sorted(found, key=str)

    @property
    def first(self) -> int:
        """The lowest layer of any cell."""
        return min((cell.layers[0] for cell in self.cells), default=0)

    @property
    def held(self) -> int:
        """None: cells of a site are changes of the base run itself."""
        return 0

    def changes(self, batch: Batch, numbers: NDArray[np.int64]) -> Reduction:
        """Return what some of the cells write."""
        cells = [self.cells[number] for number in numbers]
        return Reduction(batch.base, batch.values, cells, batch.rows)
