"""One token at a time, straight through the weights: for a model that nobody edits or hooks.

The numbers are those of the model's forward with a KV cache. What is saved is time: buffers have
their last size from the start, masks are made once, and no site is asked who looks at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.generate.prompts import Prompts
from neoscope.kv_cache import KVCache
from neoscope.linear import linear
from neoscope.mlp import Activation

if TYPE_CHECKING:
    from neoscope.block import Block
    from neoscope.model import HookedGPTNeo

Hidden = Float[Tensor, "row d_model"]
Rows = Int[Tensor, " row"]


class _Layer(NamedTuple):
    """What a step needs of a block."""

    ln1: tuple[Tensor, Tensor, float]
    weight_qkv: Tensor
    weight_o: Tensor
    b_o: Tensor
    ln2: tuple[Tensor, Tensor, float]
    weight_in: Tensor
    b_in: Tensor
    weight_out: Tensor
    b_out: Tensor
    act: Activation
    window: int | None


def _layer(block: Block) -> _Layer:
    attn, mlp, ln1, ln2 = block.attn, block.mlp, block.ln1, block.ln2
    return _Layer(
        (ln1.w, ln1.b, ln1.eps), attn.weight_qkv, attn.weight_o, attn.b_O,
        (ln2.w, ln2.b, ln2.eps), mlp.weight_in, mlp.b_in, mlp.weight_out, mlp.b_out,
        mlp.act, attn.window,
    )  # fmt: skip


class Decoder:
    """A prefill by the model's forward, then steps of one column."""

    def __init__(self, model: HookedGPTNeo, capacity: int) -> None:
        """Gather the weights.

        Args:
            model: Neither edited nor hooked.
            capacity: Columns of the longest text.
        """
        self._model, self._capacity = model, capacity
        self._layers = [_layer(block) for block in model.blocks]
        self._n_heads, self._d_head = model.config.n_heads, model.config.d_head
        self._kept: list[Tensor] = []
        """Of each layer, keys and values: [2, row, head, capacity, d_head]."""
        self._length = 0
        self._padding: Tensor | None = None
        self._seen: Tensor | None = None

    def first(self, prompts: Prompts, rows: Rows) -> Hidden:
        """Run each prompt once, then repeat it as often as its rows."""
        past = KVCache()
        hidden = self._model(prompts.ids, prompts.mask, return_type="hidden", past=past)[:, -1]
        self._length = prompts.ids.shape[1]
        for index in range(len(self._layers)):
            pair = torch.stack(past.layer(index))[:, rows]
            kept = pair.new_empty((*pair.shape[:3], self._capacity, self._d_head))
            kept[:, :, :, : self._length] = pair
            self._kept.append(kept)
        if prompts.mask is not None:
            self._set_padding(prompts.mask[rows])
        last: Tensor = hidden[rows]
        return last

    def _set_padding(self, mask: Bool[Tensor, "row pos"]) -> None:
        self._padding = (~mask).sum(1)
        self._seen = mask.new_ones((len(mask), 1, 1, self._capacity))
        self._seen[:, 0, 0, : mask.shape[1]] = mask
        self._most_padding = int(self._padding.max())

    def pick(self, rows: Rows) -> None:
        """Reorder what is kept; rows of one prompt have the same padding."""
        for kept in self._kept:
            kept[:, :, :, : self._length] = kept[:, :, :, : self._length][:, rows]

    def next(self, ids: Int[Tensor, "row pos"], real: Bool[Tensor, "row pos"]) -> Hidden:
        """Run the last column."""
        at, model = self._length, self._model
        if self._padding is None:
            position = model.pos_embed.W_pos[at]
        else:
            position = F.embedding(at - self._padding, model.pos_embed.W_pos)
        x = F.embedding(ids[:, -1], model.embed.W_E) + position
        shape = (x.shape[-1],)
        for layer, kept in zip(self._layers, self._kept, strict=True):
            normalised = F.layer_norm(x, shape, *layer.ln1)
            z = self._attend(linear(normalised, layer.weight_qkv), kept, layer.window)
            x = linear(z, layer.weight_o, layer.b_o).add_(x)
            normalised = F.layer_norm(x, shape, *layer.ln2)
            post = layer.act(linear(normalised, layer.weight_in, layer.b_in))
            x = linear(post, layer.weight_out, layer.b_out).add_(x)
        self._length = at + 1
        hidden: Tensor = model.ln_final(x)
        return hidden

    def _attend(
        self, qkv: Float[Tensor, "row qkv"], kept: Tensor, window: int | None
    ) -> Float[Tensor, "row d_model"]:
        at, rows = self._length, qkv.shape[0]
        split = qkv.view(rows, 3, self._n_heads, self._d_head)
        kept.select(3, at).copy_(split[:, 1:].transpose(0, 1))
        first = 0 if window is None else max(0, at + 1 - window)
        mask = None
        if self._seen is not None and first < self._most_padding:
            mask = self._seen[..., first : at + 1]
        key, value = kept.narrow(3, first, at + 1 - first).unbind(0)
        query = split[:, 0, :, None]
        z = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
        return z.reshape(rows, -1)
