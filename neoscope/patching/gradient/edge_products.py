"""Edge products: what senders write differently, times what receivers' inputs are worth.

The gradient with respect to a receiver's own input goes back from its query, key or value through
its weights and the LayerNorm in closed form, for all steps of a path at once: with ``g`` the
gradient at the query and ``xhat`` the normalised stream, it is ``(W g) w / scale`` less its mean,
less ``xhat`` times ``(q - q_bias) . g / (scale d_model)``. It equals what autograd gives at
``hook_q_input``, and never holds a head's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neoscope.patching.circuits.graph import Graph
from neoscope.patching.gradient.tail import Layer, Tail, Written

if TYPE_CHECKING:
    from neoscope.block import Block
    from neoscope.model import HookedGPTNeo

Differences = Float[Tensor, "sender pairs pos d_model"]


def differences(
    model: HookedGPTNeo, donor: Written, base: Written, changed: Bool[Tensor, "pairs pos"]
) -> Differences:
    """Return what each sender writes in the donor run less what it writes in the base run.

    The mean over d_model is left out: every receiver begins with a LayerNorm, which does not see
    it.

    Args:
        model: The model.
        donor: What the values to put in come from.
        base: What they are put into.
        changed: Where the two runs may differ; all else is exactly zero.
    """
    graph, size = Graph.of(model.config), donor.embed.shape
    out = torch.empty(len(graph.senders), *size, dtype=torch.float32, device=donor.embed.device)
    out[0] = donor.embed.float() - base.embed
    blocks: list[Block] = list(model.blocks)
    for layer, block in enumerate(blocks):
        at = graph.before(layer)
        z = (donor.z[layer].float() - base.z[layer]).permute(2, 0, 1, 3)
        W_O = block.attn.W_O.detach().float()
        write = torch.bmm(z.flatten(1, 2), W_O)
        out[at : at + graph.n_heads] = write.unflatten(1, size[:2])
        out[at + graph.n_heads] = donor.mlp[layer].float() - base.mlp[layer]
    out -= out.mean(-1, keepdim=True)
    out *= changed[..., None].to(out.device)
    return out


class Worth:
    """Gradients at the inputs of all receivers, gathered over the steps of a path."""

    def __init__(self, model: HookedGPTNeo, n_pairs: int) -> None:
        """Begin with none.

        Args:
            model: The model.
            n_pairs: Pairs of each tail.
        """
        self.blocks: list[Block] = list(model.blocks)
        self.graph, self.n_pairs = Graph.of(model.config), n_pairs
        self._attention = [_Attention(block, n_pairs) for block in self.blocks]
        self._mlp: list[Tensor] = []
        self._final: Tensor | None = None

    def add(self, tail: Tail) -> None:
        """Add the copies of a tail."""
        for attention, layer in zip(self._attention, tail.layers, strict=True):
            attention.add(layer)
        mlp = [self._summed(layer.d_mlp) for layer in tail.layers]
        final = self._summed(tail.d_final)
        if self._final is not None:
            mlp = [x + y for x, y in zip(self._mlp, mlp, strict=True)]
            final = final + self._final
        self._mlp, self._final = mlp, final

    def products(self, delta: Differences) -> Float[Tensor, "pairs senders receivers"]:
        """Return, for every edge, the sender's difference times the receiver's gradient.

        Gradients are summed over all copies. Where there is no edge, it is 0.

        Args:
            delta: From :func:`differences`.
        """
        assert self._final is not None
        graph = self.graph
        scores = delta.new_zeros(self.n_pairs, len(graph.senders), len(graph.receivers))
        for layer, attention in enumerate(self._attention):
            n = graph.before(layer)
            scores[:, :n, graph.attention(layer)] = _products(delta[:n], attention.gradients())
            n += graph.n_heads
            scores[:, :n, graph.mlp(layer)] = _products(delta[:n], self._mlp[layer])[..., 0]
        scores[:, :, -1] = _products(delta, self._final)[..., 0]
        return scores

    def _summed(self, x: Tensor) -> Float[Tensor, "1 pairs pos d_model"]:
        return _by_copy(x, self.n_pairs).sum(0, keepdim=True)


class _Attention:
    """Gradients at the query, key and value inputs of one layer."""

    def __init__(self, block: Block, n_pairs: int) -> None:
        attn, ln = block.attn, block.ln1
        self.n_pairs, self.gain = n_pairs, ln.w.detach()
        weight = attn.weight_qkv.detach().float()
        self.bias = weight @ ln.b.detach().float()
        self.rows = weight.unflatten(0, (3 * attn.n_heads, attn.d_head))
        self.total: Tensor | None = None
        self.along: list[Tensor] = []
        self.normalised: list[Tensor] = []

    def add(self, layer: Layer) -> None:
        inverse, d = layer.inverse.float(), layer.stream.shape[-1]
        g = layer.d_qkv.float() * inverse
        # (q - q_bias) . g is xhat times the gradient at xhat, summed: no matrix product needed.
        along = ((layer.qkv.float() - self.bias) * g).unflatten(-1, self.rows.shape[:2]).sum(-1) / d
        self.along.append(_by_copy(along, self.n_pairs))
        x = (layer.stream.float() - layer.mean) * inverse
        self.normalised.append(_by_copy(x, self.n_pairs))
        summed = _by_copy(g, self.n_pairs).sum(0)
        self.total = summed if self.total is None else self.total + summed

    def gradients(self) -> Float[Tensor, "receiver pairs pos d_model"]:
        """The sum over copies, up to a constant along d_model."""
        assert self.total is not None
        g = self.total.unflatten(-1, self.rows.shape[:2]).permute(2, 0, 1, 3)
        worth: Tensor = torch.bmm(g.flatten(1, 2), self.rows).unflatten(1, g.shape[1:3])
        worth *= self.gain
        along, x = torch.cat(self.along), torch.cat(self.normalised)
        return worth.sub_(torch.einsum("cbpr,cbpd->rbpd", along, x))


def _products(
    delta: Float[Tensor, "sender pairs pos d_model"],
    worth: Float[Tensor, "receiver pairs pos d_model"],
) -> Float[Tensor, "pairs sender receiver"]:
    return torch.bmm(delta.flatten(2).transpose(0, 1), worth.flatten(2).permute(1, 2, 0))


def _by_copy(x: Tensor, pairs: int) -> Float[Tensor, "copy pairs *rest"]:
    split: Tensor = x.float().unflatten(0, (-1, pairs))
    return split
