"""Caches made from a cache: another device, some sites, some rows, no batch axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import CacheError
from neoscope.indices import Positions
from neoscope.sites import select
from neoscope.tokens import Tokens

GRAD = "_grad"
Cache = TypeVar("Cache", bound="CacheViews")


class CacheViews:
    """Mixed into ActivationCache."""

    _tensors: Mapping[str, Tensor]
    config: NeoConfig
    tokens: Tokens | None
    positions: Positions
    has_batch_dim: bool
    provenance: Mapping[str, Any]
    if TYPE_CHECKING:
        model: Any
        __init__: Callable[..., None]

    def _like(self: Cache, tensors: Mapping[str, Tensor], **changes: Any) -> Cache:
        fields: dict[str, Any] = {
            "tokens": self.tokens,
            "positions": self.positions,
            "model": self.model,
            "has_batch_dim": self.has_batch_dim,
            "provenance": self.provenance,
        }
        other: Cache = type(self)(tensors, self.config, **(fields | changes))
        return other

    def _map(self, function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Apply a function to every tensor, once for those that are the same memory."""
        done: dict[Any, Tensor] = {}
        out = {}
        for name, x in self._tensors.items():
            key = (x.data_ptr(), tuple(x.shape), x.stride(), x.dtype, x.device)
            if key not in done:
                done[key] = function(x)
            out[name] = done[key]
        return out

    def to(
        self: Cache, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Cache:
        """Return a cache on another device or in another dtype."""
        from neoscope.recorder import compact

        def moved(x: Tensor) -> Tensor:
            small = compact(x).to(device=device or x.device, dtype=dtype or x.dtype)
            return small.expand(x.shape)

        return self._like(self._map(moved))

    def select(
        self: Cache,
        sites: str | Sequence[str] | None = None,
        layers: int | Sequence[int] | None = None,
    ) -> Cache:
        """Return a cache of some sites and layers only."""
        from neoscope.run import switch_names

        refs = select(self.config, sites, layers, switches=switch_names())
        names = {ref.name for ref in refs}
        return self._like(
            {k: self._tensors[k] for k in self._tensors if k.removesuffix(GRAD) in names}
        )

    def rows(self: Cache, index: int | slice | Sequence[int]) -> Cache:
        """Return a cache of some rows of the batch; the batch axis stays.

        Raises:
            CacheError: There is no such row, or the batch axis was removed.
        """
        if not self.has_batch_dim:
            raise CacheError("this cache has no batch axis to select rows from")
        picked: Any = index
        batch = min((x.shape[0] for x in self._tensors.values()), default=0)
        if isinstance(index, slice):
            if index.step is not None and index.step < 0:  # which torch cannot do
                picked = list(range(batch))[index]
        else:
            picked = [index] if isinstance(index, int) else list(index)
            for row in picked:
                if not -batch <= row < batch:
                    raise CacheError(f"row {row} does not exist; the batch has {batch} rows")
        changes: dict[str, Any] = {}
        if self.tokens is not None:
            changes["tokens"] = self.tokens.rows(picked)
        if isinstance(self.positions, Tensor) and self.positions.ndim == 2:
            changes["positions"] = self.positions[picked]
        return self._like(self._map(lambda x: x[picked]), **changes)

    def remove_batch_dim(self: Cache) -> Cache:
        """Return a cache of a batch of one without its batch axis.

        Raises:
            CacheError: The batch has several rows.
        """
        if not self.has_batch_dim:
            return self
        rows = {x.shape[0] for x in self._tensors.values()}
        if rows - {1}:
            raise CacheError(f"cannot remove the batch axis: the batch has {max(rows)} rows")
        return self._like(self._map(lambda x: x[0]), has_batch_dim=False)
