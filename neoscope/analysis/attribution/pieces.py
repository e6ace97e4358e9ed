"""What each writer of a cached run adds to a logit, the final LayerNorm's scale held as it was.

Every write ``c`` into the residual stream adds ``(c - mean c) / scale * gain . u`` to a logit,
where ``u`` is the token's row of the unembedding. That is linear in ``c``: one vector a row says it
all, and no write but the embeddings is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.analysis.attribution.place import Place
from neoscope.analysis.reading import at
from neoscope.cache import ActivationCache

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

KINDS = (
    "embed",
    "pos_embed",
    "head",
    "attn_bias",
    "mlp",
    "neuron",
    "mlp_bias",
    "layer",
    "source",
    "ln_final_bias",
)
"""What a component can be."""


@dataclass(frozen=True)
class Piece:
    """The components of one kind in one layer."""

    kind: str
    values: Float[Tensor, "row component"]
    layer: int = -1
    """-1 for what is in no layer, or in all."""
    head: tuple[int, ...] = ()
    neuron: tuple[int, ...] = ()
    source: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A cache, the place that is asked about, and what a write there does to the logit."""

    model: HookedGPTNeo
    cache: ActivationCache
    place: Place
    effect: Float[Tensor, "row d_model"]
    """Logits for a unit of each residual dimension, centring and the frozen scale included."""

    def at(self, site: str, layer: int | None = None) -> Tensor:
        """Return a whole site with its batch axis, where the weights are."""
        x = at(self.cache, site, layer)
        return x.to(device=self.effect.device).to(self.effect.dtype)

    def here(self, site: str, layer: int | None = None) -> Tensor:
        """Return what stands at the place, [row, ...]."""
        x: Tensor = self.place.pick(at(self.cache, site, layer))
        return x.to(device=self.effect.device).to(self.effect.dtype)

    def of(self, write: Tensor) -> Float[Tensor, "row 1"]:
        """Return what a write [row, d_model] or [d_model] adds."""
        added: Tensor = (write.detach().to(self.effect.dtype) * self.effect).sum(-1, keepdim=True)
        return added

    def through(self, weight: Float[Tensor, "*n d_model"]) -> Float[Tensor, "row *n"]:
        """Return what a unit along each row of an output matrix adds."""
        read: Tensor = weight.detach().to(self.effect.dtype)
        added: Tensor = torch.tensordot(self.effect, read, ([1], [-1]))
        return added


def pieces(reading: Reading, *, by: str) -> Iterator[Piece]:
    """Yield everything that is written, as finely as ``by`` needs it, in forward order."""
    read, blocks = reading, reading.model.blocks
    yield Piece("embed", read.of(read.here("embed")))
    yield Piece("pos_embed", read.of(read.here("pos_embed")))
    for layer in range(read.model.config.n_layers):
        attn, mlp = blocks[layer].attn, blocks[layer].mlp
        yield _sources(read, layer) if by == "source" else _heads(read, layer)
        yield Piece("attn_bias", read.of(attn.b_O), layer)
        if by == "neuron":
            values = read.here("post", layer) * read.through(mlp.W_out)
            yield Piece("neuron", values, layer, neuron=tuple(range(values.shape[1])))
            yield Piece("mlp_bias", read.of(mlp.b_out), layer)
        else:
            yield Piece("mlp", read.of(read.here("mlp_out", layer)), layer)


def _heads(read: Reading, layer: int) -> Piece:
    unit = read.through(read.model.blocks[layer].attn.W_O)
    values = (read.here("z", layer) * unit).sum(-1)
    return Piece("head", values, layer, head=tuple(range(values.shape[1])))


def _sources(read: Reading, layer: int) -> Piece:
    """Split each head's write by the token that it comes from; only tokens that it can see."""
    n_heads, window = read.model.config.n_heads, read.model.config.window(layer)
    unit = read.through(read.model.blocks[layer].attn.W_O)
    seen = read.cache["pattern", layer]
    pattern = (seen if read.cache.has_batch_dim else seen[None]).transpose(1, 2)
    pattern = read.place.pick(pattern).to(read.effect)
    moved = pattern * torch.einsum("rkhe,rhe->rhk", read.at("v", layer), unit)
    keys = read.place.keys.to(moved.device)
    last = read.place.position
    values = torch.zeros_like(moved)
    values.scatter_add_(2, keys[:, None].expand_as(moved), moved)
    first = 0 if window is None else max(0, int(last.min()) - window + 1)
    shown = range(first, int(last.max()) + 1)
    return Piece(
        "source",
        values[:, :, first : shown.stop].flatten(1),
        layer,
        head=tuple(head for head in range(n_heads) for _ in shown),
        source=tuple(shown) * n_heads,
    )


_MERGED: dict[str, tuple[str, ...]] = {
    "component": (),
    "head": ("attn_bias", "mlp"),
    "mlp": ("head", "attn_bias"),
    "neuron": ("head", "attn_bias"),
    "source": ("attn_bias", "mlp"),
}


def merged(found: list[Piece], by: str) -> list[Piece]:
    """Sum what is not asked about, so that every table adds up to the same logit."""
    if by == "layer":
        return _regrouped(found, lambda p: None if p.layer < 0 else ("layer", p.layer))
    kinds = _MERGED[by]
    return _regrouped(found, lambda p: (p.kind, -1) if p.kind in kinds else None)


def _regrouped(found: list[Piece], group: Callable[[Piece], tuple[str, int] | None]) -> list[Piece]:
    """Sum the pieces of each group, at the place of its first; None leaves a piece as it is."""
    out: list[Piece | tuple[str, int]] = []
    sums: dict[tuple[str, int], Tensor] = {}
    for piece in found:
        key = group(piece)
        if key is None:
            out.append(piece)
            continue
        if key not in sums:
            out.append(key)
        total = piece.values.sum(1, keepdim=True)
        sums[key] = sums[key] + total if key in sums else total
    return [
        item if isinstance(item, Piece) else Piece(item[0], sums[item], item[1]) for item in out
    ]
