"""What senders write anew into the residual stream, carried up along direct paths alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neoscope.patching.engine.base import Base
from neoscope.patching.sources.values import Values
from neoscope.run import Run

Streams = Float[Tensor, "senders pairs pos d_model"]
_CHUNK = 2048


def layer_of(node: str) -> int:
    """Return the layer of ``a3.h1``, ``m3`` or ``a3.h1<q>``."""
    return int(node[1:].partition(".")[0])


@dataclass(frozen=True, eq=False)
class Group:
    """Senders whose new values are put in together, and where."""

    senders: tuple[str, ...]
    """``embed``, heads ``a0.h1``, MLPs ``m0``."""
    where: Bool[Tensor, "pairs pos"] | None = None
    """Tokens at which they are; None for all."""


class SenderWalk:
    """The change of the residual stream that each group of senders makes, layer by layer.

    Attention is frozen: what all other heads write is the base run's. MLPs are frozen too, or
    computed anew from the changed stream, as Wang et al. 2022 do.
    """

    def __init__(
        self, base: Base, values: Values, groups: Sequence[Group], *, recompute: bool
    ) -> None:
        """Begin below the first layer.

        Args:
            base: The unpatched run, from layer 0 on.
            values: The run that senders' new values come from.
            groups: What is sent.
            recompute: Whether MLPs on the way respond.
        """
        self.base, self.values, self.recompute = base, values, recompute
        self._senders: dict[str, list[int]] = {}
        self._where = [None if g.where is None else g.where.to(base.device) for g in groups]
        for i, group in enumerate(groups):
            for name in group.senders:
                self._senders.setdefault(name, []).append(i)
        self._n = len(groups)
        self._begin()

    def _begin(self) -> None:
        base = self.base
        shape = (self._n, base.n_pairs, base.n_columns, base.config.d_model)
        self._delta = torch.zeros(shape, device=base.device, dtype=base.dtype)
        self._at, self._middle = 0, False
        if "embed" in self._senders:
            here = base("embed", None)
            self._send("embed", self.values.at("embed", None, here) - here)

    def _send(self, name: str, gained: Float[Tensor, "pairs pos d_model"]) -> None:
        for i in self._senders.get(name, ()):
            where = self._where[i]
            self._delta[i] += gained if where is None else gained * where[:, :, None]

    def before_attention(self, layer: int) -> Streams:
        """Return what the stream before a layer has gained, for each sender."""
        return self._advanced(layer, middle=False)

    def before_mlp(self, layer: int) -> Streams:
        """Return what the stream between attention and MLP has gained."""
        return self._advanced(layer, middle=True)

    def _advanced(self, layer: int, *, middle: bool) -> Streams:
        if (layer, middle) < (self._at, self._middle):
            self._begin()
        while (self._at, self._middle) < (layer, middle):
            if self._middle:
                self._mlp(self._at)
                self._at, self._middle = self._at + 1, False
            else:
                self._heads(self._at)
                self._middle = True
        return self._delta

    def _heads(self, layer: int) -> None:
        heads = [h for h in range(self.base.config.n_heads) if f"a{layer}.h{h}" in self._senders]
        if not heads:
            return
        here = self.base("z", layer)
        gained = self.values.at("z", layer, here) - here
        for head in heads:
            written = gained[:, :, head] @ self.base.block(layer).attn.W_O[head]
            self._send(f"a{layer}.h{head}", written)

    def _mlp(self, layer: int) -> None:
        name = f"m{layer}"
        own = self._senders.get(name, [])
        if self.recompute:
            self._respond(layer, [i for i in range(self._n) if i not in set(own)])
        if own:
            here = self.base("mlp_out", layer)
            self._send(name, self.values.at("mlp_out", layer, here) - here)

    def _respond(self, layer: int, groups: Sequence[int]) -> None:
        """Add what the MLP writes more, wherever the stream moved at all."""
        index = torch.tensor(groups, dtype=torch.long, device=self.base.device)
        moved = (self._delta[index] != 0).any(-1).nonzero()
        middle, block = self.base("resid_mid", layer), self.base.block(layer)
        run = Run(self.base.visibility)
        for first in range(0, len(moved), _CHUNK):
            group, pair, column = moved[first : first + _CHUNK].unbind(1)
            at = (index[group], pair, column)
            here = middle[pair, column]
            # Both in one product, so that rounding cancels.
            both = torch.cat([here + self._delta[at], here])
            new, old = block.mlp(block.ln2(both)[None], run)[0].chunk(2)
            self._delta[at] += new - old
