"""Tail: the columns from the first difference of clean and corrupted on, with their gradients.

No edge carries anything left of the first difference, so that only what follows it has to be run
and differentiated; keys and values before it come from a run that was made anyway. In the last
layer only the metric's columns go through the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.attention import fused_attention
from neoscope.errors import PatchingError
from neoscope.patching.engine.reading import at_columns, read_values
from neoscope.patching.gradient.gradients import run
from neoscope.patching.gradient.problem import Problem
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.block import Block

Stream = Float[Tensor, "rows pos d_model"]
ByHead = Float[Tensor, "rows pos head d_head"]


@dataclass(frozen=True, eq=False)
class Written:
    """What the senders wrote in the tail of one run, and the run's metric."""

    embed: Stream
    z: Sequence[ByHead]
    """By layer; a head's write is its part of ``z`` times its ``W_O``."""
    mlp: Sequence[Stream]
    """By layer; of the last layer perhaps only what the metric reads, other columns are 0."""
    values: Float[Tensor, "rows"]

    def rows(self, n: int) -> Written:
        """Return the first rows."""
        z, mlp = ([x[:n] for x in sites] for sites in (self.z, self.mlp))
        return Written(self.embed[:n], z, mlp, self.values[:n])


@dataclass(frozen=True, eq=False)
class Whole:
    """A run of some pairs without a graph."""

    pairs: Int[Tensor, "pairs"]
    first: int
    """The tail's first column."""
    written: Written
    keys: Sequence[ByHead]
    """By layer, of the columns before the tail; the same in clean and corrupted run."""
    values: Sequence[ByHead]
    final: Float[Tensor, "pairs read d_model"]
    """The stream after the last block, where the metric reads."""


def run_whole(problem: Problem, pairs: Int[Tensor, "chunk"], which: str) -> Whole:
    """Run the clean or the corrupted prompts of some pairs."""
    c = problem.model.config
    first = int(problem.prompts.first_difference[pairs].min())
    last = f"blocks.{c.n_layers - 1}.hook_resid_post"
    sites = ["blocks.0.hook_resid_pre", "z", "mlp_out", "k", "v", last]
    trace = run(problem, pairs, sites, which=which)
    layers = range(c.n_layers)

    def tail(site: str) -> list[Tensor]:
        return [trace.at(site, layer)[:, first:] for layer in layers]

    written = Written(trace.at("resid_pre", 0)[:, first:], tail("z"), tail("mlp_out"), trace.values)
    keys, values = ([trace.at(s, layer)[:, :first] for layer in layers] for s in "kv")
    final = at_columns(trace.at("resid_post", c.n_layers - 1), problem.columns[pairs])
    return Whole(pairs, first, written, keys, values, final)


@dataclass(frozen=True, eq=False)
class Layer:
    """What one layer of a tail holds; all of it detached."""

    stream: Stream
    """Before the first LayerNorm."""
    mean: Float[Tensor, "rows pos 1"]
    inverse: Float[Tensor, "rows pos 1"]
    """One over the first LayerNorm's divisor."""
    qkv: Float[Tensor, "rows pos three_d_model"]
    d_qkv: Float[Tensor, "rows pos three_d_model"]
    """Gradient of the row's metric with respect to ``qkv``."""
    d_mlp: Stream
    """The same with respect to what the MLP reads, before its LayerNorm."""


@dataclass(frozen=True, eq=False)
class Tail:
    """Copies of some pairs, run from changed embeddings, with gradients."""

    written: Written
    layers: Sequence[Layer]
    d_final: Stream
    """Gradient with respect to the stream after the last block, at the metric's columns only."""


def run_tail(problem: Problem, shared: Whole, stream: Stream) -> Tail:
    """Run and differentiate tails that begin with the given embeddings.

    Args:
        problem: Model, prompts and metric.
        shared: A run of the same pairs, for what stands before the tail.
        stream: Token and position embeddings; rows are copy by copy, in each pair by pair.

    Raises:
        PatchingError: The metric's values hang on nothing.
    """
    with torch.enable_grad():
        walk = _Walk(problem, shared, stream)
        live = walk.forward(stream.detach().requires_grad_(True))
        if not live.values.requires_grad:
            raise PatchingError(
                f"the metric {problem.metric.name!r} has no gradient: what it returned does not "
                "hang together with the logits it was given (argmax, a comparison, .detach() or "
                "numpy cut the graph)"
            )
        inputs = [*live.qkv, *live.mlp_in, live.final]
        found = torch.autograd.grad(live.values.sum(), inputs, allow_unused=True)
    grads = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]
    n = len(live.qkv)
    d_mlp = [*grads[n : 2 * n - 1], walk.spread(grads[2 * n - 1], add=True)]
    layers = [Layer(*live.norms[i], live.qkv[i].detach(), grads[i], d_mlp[i]) for i in range(n)]
    mlp = [x.detach() for x in live.mlp[:-1]]
    mlp.append(walk.spread(live.mlp[-1].detach(), add=False))
    written = Written(stream.detach(), [z.detach() for z in live.z], mlp, live.values.detach())
    return Tail(written, layers, walk.spread(grads[-1], add=True))


@dataclass(frozen=True, eq=False)
class _Live:
    """One forward with its graph."""

    values: Tensor
    norms: list[tuple[Tensor, Tensor, Tensor]]
    qkv: list[Tensor]
    z: list[Tensor]
    mlp_in: list[Tensor]
    mlp: list[Tensor]
    final: Tensor


class _Walk:
    """The forward of a tail; weights are detached, so that nothing is kept for their gradients."""

    def __init__(self, problem: Problem, shared: Whole, stream: Tensor) -> None:
        self.problem, self.shared = problem, shared
        self.copies = len(stream) // len(shared.pairs)
        self.rows = shared.pairs.repeat(self.copies)
        device = stream.device
        mask = problem.prompts.mask[self.rows].to(device)
        self.visibility = Visibility(
            len(stream), stream.shape[1], device, n_past=shared.first, mask=mask
        )
        self.columns = problem.columns[self.rows].to(device) - shared.first
        """Where the metric reads, counted in the tail; below 0 before it."""
        self.width = stream.shape[1]

    def forward(self, stream: Tensor) -> _Live:
        model = self.problem.model
        live = _Live(stream, [], [], [], [], [], stream)
        blocks: list[Block] = list(model.blocks)
        for layer, block in enumerate(blocks):
            z = self._attend(layer, block, stream, live).flatten(2)
            if layer + 1 == len(blocks):
                read = self.columns.clamp(min=0)
                z, stream = at_columns(z, read), at_columns(stream, read)
            attn = block.attn
            mid = stream + F.linear(z, attn.weight_o.detach(), attn.b_O.detach())
            live.mlp_in.append(mid.view_as(mid))
            live.mlp.append(mlp(block, live.mlp_in[-1]))
            stream = mid + live.mlp[-1]
        final = stream.view_as(stream)
        inside = (self.columns >= 0)[..., None]
        before = self.shared.final.repeat(self.copies, 1, 1)
        hidden = torch.where(inside, final, before)
        values, _ = read_values(model, self.problem.metric, hidden, self.rows.to(hidden.device))
        return _Live(values, live.norms, live.qkv, live.z, live.mlp_in, live.mlp, final)

    def _attend(self, layer: int, block: Block, stream: Tensor, live: _Live) -> Tensor:
        attn, ln = block.attn, block.ln1
        x, mean, inverse = torch.native_layer_norm(
            stream, (stream.shape[-1],), ln.w.detach(), ln.b.detach(), ln.eps
        )
        qkv = F.linear(x, attn.weight_qkv.detach())
        live.norms.append((stream.detach(), mean.detach(), inverse.detach()))
        live.qkv.append(qkv)
        q, k, v = qkv.unflatten(-1, (3, attn.n_heads, attn.d_head)).unbind(2)
        k = self._join(self.shared.keys[layer], k)
        v = self._join(self.shared.values[layer], v)
        query, key, value = (each.transpose(1, 2) for each in (q, k, v))
        z = fused_attention(query, key, value, self.visibility, attn.window).transpose(1, 2)
        live.z.append(z)
        return z

    def _join(self, past: Tensor, new: Tensor) -> Tensor:
        if not past.shape[1]:
            return new
        return torch.cat([past.repeat(self.copies, 1, 1, 1), new], dim=1)

    def spread(self, read: Tensor, *, add: bool) -> Tensor:
        """Put what stands at the metric's columns into the tail, zero elsewhere.

        Gradients of a column that is read twice add up; its value is one.
        """
        index = self.columns.clamp(min=0)[..., None].expand_as(read)
        out = read.new_zeros(len(read), self.width, read.shape[-1])
        return out.scatter_add_(1, index, read) if add else out.scatter_(1, index, read)


def mlp(block: Block, stream: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """Return what a block's MLP writes when it reads that stream; weights are detached.

    Args:
        block: The block.
        stream: Before its second LayerNorm.
    """
    ln, module = block.ln2, block.mlp
    x = F.layer_norm(stream, (stream.shape[-1],), ln.w.detach(), ln.b.detach(), ln.eps)
    post = module.act(F.linear(x, module.weight_in.detach(), module.b_in.detach()))
    return F.linear(post, module.weight_out.detach(), module.b_out.detach())
