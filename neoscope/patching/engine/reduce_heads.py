"""What a change inside one attention head writes into the residual stream."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from neoscope.patching.engine.base import Base
from neoscope.patching.sources.values import Constant, InSubspace, Values

Touched = NDArray[np.bool_]
Write = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(index of cell, pair, column) of tokens -> what is added to the stream, [tokens, d_model]"""


class HeadChange:
    """Changes of one layer's heads at z, result, q, k, v, scores or pattern."""

    def __init__(self, base: Base, values: Values, site: str, layer: int) -> None:
        """Look up both runs' values.

        Args:
            base: The unpatched run.
            values: What replaces its values.
            site: A site by head.
            layer: The layer.
        """
        self.base, self.site, self.layer = base, site, layer
        self.attn = base.block(layer).attn
        if site == "result":
            self.here, self.there = _results(base, values, layer)
        else:
            self.here = base(site, layer)
            self.there = values.at(site, layer, self.here)

    def of(
        self,
        head: int,
        touched: Touched,
        may: Touched,
        keys: Touched | None,
        units: Sequence[int | None],
    ) -> tuple[Touched, Write]:
        """Return which tokens move, [cells, pairs, pos], and what is written there.

        Args:
            head: The head.
            touched: Tokens (queries, for scores and patterns) that each cell names.
            may: Tokens where the values may differ at all.
            keys: Source positions that each cell names; None for all.
            units: The one index of the last axis that each cell changes; None for all.
        """
        axis = 1 if self.site in ("attn_scores", "pattern") else 2
        here, there = self.here.select(axis, head), self.there.select(axis, head)
        if self.site in ("attn_scores", "pattern"):
            return self._square(head, here, there, touched, may, keys)
        if any(unit is not None for unit in units):
            return self._by_unit(head, here, there, touched, may, units)
        differs = (here != there).any(-1).cpu().numpy() & may
        return self._rows(head, here, there, touched & differs)

    def _by_unit(
        self,
        head: int,
        here: Tensor,
        there: Tensor,
        touched: Touched,
        may: Touched,
        units: Sequence[int | None],
    ) -> tuple[Touched, Write]:
        """One dimension of the head at a time: each cell by itself."""
        moved, writes = [], []
        for i, unit in enumerate(units):
            new = there
            if unit is not None:
                new = here.clone()
                new[..., unit] = there[..., unit]
            differs = (here != new).any(-1).cpu().numpy() & may
            some, write = self._rows(head, here, new, touched[i : i + 1] & differs)
            moved.append(some[0])
            writes.append(write)

        def write_all(cell: Tensor, pair: Tensor, column: Tensor) -> Tensor:
            out = torch.empty(
                len(cell), self.base.config.d_model, device=here.device, dtype=here.dtype
            )
            for i, write in enumerate(writes):
                at = cell == i
                if bool(at.any()):
                    out[at] = write(torch.zeros_like(cell[at]), pair[at], column[at])
            return out

        return np.stack(moved), write_all

    def _rows(
        self, head: int, here: Tensor, there: Tensor, changed: Touched
    ) -> tuple[Touched, Write]:
        if self.site == "result":
            delta = there - here
            return changed, lambda cell, pair, column: delta[pair, column]
        if self.site == "z":
            written = (there - here) @ self.attn.W_O[head]
            return changed, lambda cell, pair, column: written[pair, column]
        if self.site == "q":
            scores = self._scores(there, self._of("k", head))
            written = (self._attend(scores, head) - self._base_z(head)) @ self.attn.W_O[head]
            return changed, lambda cell, pair, column: written[pair, column]
        sees = self._allowed.float()
        marks = torch.from_numpy(changed).to(here.device)
        # A query moves if it sees any key that moved.
        moved = torch.einsum("pqk,npk->npq", sees, marks.float()) > 0
        cells = marks.any(-1).any(-1).nonzero().flatten()
        slot = torch.zeros(len(changed), dtype=torch.long, device=here.device)
        slot[cells] = torch.arange(len(cells), device=here.device)
        some = marks[cells]
        if self.site == "v":
            value = torch.where(some[..., None], there - here, 0.0)
            delta = self._pattern(head) @ value.to(here.dtype)
        else:
            new = self._scores(self._of("q", head), there)
            old = self._scores(self._of("q", head), here)
            scores = torch.where(some[:, :, None], new, old)
            delta = self._attend(scores, head) - self._base_z(head)
        weight = self.attn.W_O[head]
        return (
            moved.cpu().numpy(),
            lambda cell, pair, column: delta[slot[cell], pair, column] @ weight,
        )

    def _square(
        self,
        head: int,
        here: Float[Tensor, "pairs query key"],
        there: Float[Tensor, "pairs query key"],
        touched: Touched,
        may: Touched,
        keys: Touched | None,
    ) -> tuple[Touched, Write]:
        seen = self._allowed
        here, there = here.masked_fill(~seen, 0.0), there.masked_fill(~seen, 0.0)
        differs = (here != there) & torch.from_numpy(may).to(here.device)[..., None]
        weight = self.attn.W_O[head]
        if keys is None:
            moved = touched & differs.any(-1).cpu().numpy()
            delta = self._moved_rows(head, here, there)
            written = delta @ weight
            return moved, lambda cell, pair, column: written[pair, column]
        named = torch.from_numpy(keys).to(here.device)
        found = torch.einsum("npk,pqk->npq", named.float(), differs.float()) > 0
        moved = touched & found.cpu().numpy()

        # A square for each cell would be more than any budget: only the rows that are asked for.
        def write(cell: Tensor, pair: Tensor, column: Tensor) -> Tensor:
            out = torch.empty(len(cell), weight.shape[1], device=here.device, dtype=weight.dtype)
            for p in pair.unique().tolist():
                at = (pair == p).nonzero().flatten()
                queries = column[at]
                old = here[p, queries]
                new = torch.where(named[cell[at], p], there[p, queries], old)
                out[at] = self._moved_rows(head, old, new, p, queries) @ weight
            return out

        return moved, write

    def _moved_rows(
        self,
        head: int,
        here: Tensor,
        there: Tensor,
        pair: int | slice = slice(None),
        queries: Tensor | slice = slice(None),
    ) -> Tensor:
        """What z gains where scores or pattern are replaced; of one pair's queries, or of all."""
        value = self._of("v", head)[pair]
        if self.site == "pattern":
            moved: Tensor = (there - here).to(self.base.dtype) @ value
            return moved
        new = there.masked_fill(~self._allowed[pair, queries], float("-inf"))
        attended: Tensor = new.softmax(-1).to(self.base.dtype) @ value
        return attended - self._base_z(head)[pair, queries]

    # ---- the base run's attention ----------------------------------------------------------------

    def _of(self, site: str, head: int) -> Float[Tensor, "pairs pos d_head"]:
        return self.base(site, self.layer)[:, :, head]

    @functools.cached_property
    def _allowed(self) -> Bool[Tensor, "pairs query key"]:
        allowed = self.base.allowed(self.layer)[:, 0]
        return allowed.expand(self.base.n_pairs, -1, -1)

    def _scores(self, q: Tensor, k: Tensor) -> Float[Tensor, "pairs query key"]:
        scores = q.float() @ k.float().transpose(-1, -2)
        return scores.masked_fill(~self._allowed, float("-inf"))

    def _attend(self, scores: Tensor, head: int) -> Float[Tensor, "... query d_head"]:
        z: Tensor = scores.softmax(-1).to(self.base.dtype) @ self._of("v", head)
        return z

    def _pattern(self, head: int) -> Float[Tensor, "pairs query key"]:
        pattern: Tensor = self._scores(self._of("q", head), self._of("k", head)).softmax(-1)
        return pattern.to(self.base.dtype)

    def _base_z(self, head: int) -> Float[Tensor, "pairs pos d_head"]:
        """As the replaced ones are computed, so that rounding cancels."""
        return self._attend(self._scores(self._of("q", head), self._of("k", head)), head)


def _results(base: Base, values: Values, layer: int) -> tuple[Tensor, Tensor]:
    """Both runs' outputs of each head, [pairs, pos, head, d_model]."""
    weight = base.block(layer).attn.W_O
    z = base("z", layer)
    here = torch.einsum("bphe,hed->bphd", z, weight)
    if isinstance(values, Constant):
        return here, values.at("result", layer, here)
    if isinstance(values, InSubspace):
        inner = torch.einsum("bphe,hed->bphd", values.inner.at("z", layer, z), weight)
        basis = values.fitting("result", here)
        return here, here + ((inner - here) @ basis) @ basis.T
    return here, torch.einsum("bphe,hed->bphd", values.at("z", layer, z), weight)
