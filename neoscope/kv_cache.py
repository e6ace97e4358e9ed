"""Keys and values of the tokens already seen, so that generation does not compute them again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.errors import TokenizationError

New = Float[Tensor, "batch head query d_head"]
All = Float[Tensor, "batch head key d_head"]


class KVCache:
    """Grows by doubling; one pair of buffers a layer.

    Example:
        >>> import neoscope as ns
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
        >>> past = ns.KVCache()
        >>> _ = model([[1, 2, 3]], past=past)
        >>> model([[4]], past=past).shape, past.length
        (torch.Size([1, 1, 10]), 4)
    """

    def __init__(self, capacity: int = 16) -> None:
        """Begin empty.

        Args:
            capacity: Tokens that the first buffers hold at least; who knows how long the text will
                be saves their growing.
        """
        self.length = 0
        self._capacity = capacity
        self.mask: Bool[Tensor, "batch key"] | None = None
        """True where a cached token is real; None when all are."""
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    @property
    def batch(self) -> int | None:
        """Rows, or None while empty."""
        return self._keys[0].shape[0] if self.length else None

    def full_mask(
        self, new: Bool[Tensor, "batch query"] | None, batch: int, n_query: int
    ) -> Bool[Tensor, "batch key"] | None:
        """Join the cached mask with that of the new tokens.

        Raises:
            TokenizationError: The batch is not the cached one.
        """
        if self.batch is not None and self.batch != batch:
            raise TokenizationError(
                f"the KV cache holds {self.batch} rows, but {batch} rows of new tokens came"
            )
        if self.mask is None and new is None:
            return None
        if new is None:
            assert self.mask is not None
            new = torch.ones(batch, n_query, dtype=torch.bool, device=self.mask.device)
        past = self.mask
        if past is None:
            past = torch.ones(batch, self.length, dtype=torch.bool, device=new.device)
        return torch.cat([past, new], dim=1)

    def append(self, layer: int, key: New, value: New) -> tuple[All, All]:
        """Add new keys and values of one layer; return those of all tokens so far."""
        if torch.is_grad_enabled() and (key.requires_grad or value.requires_grad):
            return self._append_with_grad(layer, key, value)
        end = self.length + key.shape[2]
        for buffers, new in ((self._keys, key), (self._values, value)):
            self._begin(buffers, layer, new, max(end, self._capacity))
            old = buffers[layer]
            # A buffer of inference_mode cannot be written to outside of it.
            frozen = old.is_inference() and not torch.is_inference_mode_enabled()
            if old.shape[2] < end or frozen:
                grown = new.new_empty((*new.shape[:2], max(end, 2 * old.shape[2]), new.shape[3]))
                grown[:, :, : self.length] = old[:, :, : self.length]
                buffers[layer] = grown
            buffers[layer][:, :, self.length : end] = new
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    def _begin(self, buffers: list[Tensor], layer: int, new: Tensor, size: int) -> None:
        """Give a layer its first buffer; a forward that failed may have left a useless one."""
        if not self.length:
            del buffers[layer:]
        if layer == len(buffers):
            buffers.append(new.new_empty((*new.shape[:2], size, new.shape[3])))

    def _append_with_grad(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        out = []
        for buffers, new in ((self._keys, key), (self._values, value)):
            self._begin(buffers, layer, new, 0)
            buffers[layer] = torch.cat([buffers[layer][:, :, : self.length], new], dim=2)
            out.append(buffers[layer])
        return out[0], out[1]

    def pick(self, rows: Int[Tensor, " row"]) -> None:
        """Keep these rows, in this order; a row may come several times, as in a beam search."""
        for buffers in (self._keys, self._values):
            for layer, old in enumerate(buffers):
                kept = old.new_empty((len(rows), *old.shape[1:]))
                kept[:, :, : self.length] = old[:, :, : self.length][rows]
                buffers[layer] = kept
        self.mask = None if self.mask is None else self.mask[rows]

    def layer(self, index: int) -> tuple[All, All]:
        """Return one layer's keys and values of all tokens so far."""
        length = self.length
        return self._keys[index][:, :, :length], self._values[index][:, :, :length]

    def advance(self, n_query: int, mask: Bool[Tensor, "batch key"] | None) -> None:
        """Count the new tokens as seen, once every layer has appended them."""
        self.length += n_query
        self.mask = mask
