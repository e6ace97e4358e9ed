"""Hidden states read as distributions over the vocabulary, a few rows of logits at a time.

The product with the unembedding is float32's (or the weights' own) and the same as the model's, to
the last bit; everything derived from the logits is computed from buffers that are used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.linear import linear

_LOGITS_AT_ONCE = 2**24
# Rows whose logits stay near the processor while they are read several times; a device that is
# launched likes all of them at once.
_NEAR = 32
_FEW = 32
_BLOCK = 64
_GROUP = 4


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of every row."""

    k: int
    """Tokens of the highest logits."""
    next_ids: Int[Tensor, " row"]
    """The token whose surprisal and rank are asked for; -1 for none."""
    targets: Int[Tensor, " target"]
    """Tokens whose logit and rank are asked for in every row."""


@dataclass(frozen=True, eq=False)
class Said:
    """What some rows say, as float32 in nats; ranks count from 1."""

    top_ids: Int[Tensor, "row k"]
    top_logits: Float[Tensor, "row k"]
    log_sum: Float[Tensor, " row"]
    """log of the sum of exp(logit)."""
    entropy: Float[Tensor, " row"]
    kl: Float[Tensor, " row"]
    """KL(reference || row); 0 where there was no reference."""
    next_logit: Float[Tensor, " row"]
    next_rank: Int[Tensor, " row"]
    target_logits: Float[Tensor, "row target"]
    target_rank: Int[Tensor, "row target"]


def rows_at_once(d_vocab: int) -> int:
    """Return how many rows of logits are held at once."""
    return max(1, _LOGITS_AT_ONCE // d_vocab)


def spans(n: int, most: int) -> Iterator[slice]:
    """Cut ``n`` rows into equal parts of at most ``most``."""
    parts = -(-n // most)
    edges = [n * i // parts for i in range(parts + 1)] if parts else []
    yield from (slice(a, b) for a, b in pairwise(edges))


def product(
    hidden: Float[Tensor, "row d_model"],
    rows: Float[Tensor, "d_vocab d_model"],
    out: Float[Tensor, "row d_vocab"],
) -> Float[Tensor, "row d_vocab"]:
    """Write logits into ``out``: the bits that the model's own unembedding gives."""
    if rows.dtype == out.dtype and len(hidden) >= _FEW:
        return torch.mm(hidden, rows.T, out=out)
    return out.copy_(linear(hidden, rows))


class Readout:
    """Reads hidden states, after the final LayerNorm, through an unembedding."""

    def __init__(self, rows: Float[Tensor, "d_vocab d_model"], most: int | None = None) -> None:
        """Allocate nothing yet.

        Args:
            rows: The unembedding, a row a token.
            most: Most rows of logits at once; None for what suits the vocabulary.
        """
        self.rows = rows
        self.most = most or rows_at_once(len(rows))
        self.dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        self._buffers: dict[str, Tensor] = {}
        self._reference: Tensor | None = None
        self._entropy: Tensor | None = None

    def read(
        self,
        hidden: Float[Tensor, "row d_model"],
        wanted: Wanted,
        marginal: Float[Tensor, " d_vocab"] | None = None,
        *,
        refer: bool = False,
    ) -> Said:
        """Return what rows say.

        Args:
            hidden: Rows, :attr:`most` or fewer.
            wanted: What to find out.
            marginal: The rows' probabilities are added to it.
            refer: Let these be the distributions from which the KL of the next calls, with as many
                rows, is measured.
        """
        if refer:
            self._reference = None
        buffer = self._buffer("reference" if refer else "logits", len(hidden))
        logits = product(hidden, self.rows, buffer)
        top, ids = _top(logits, wanted.k)
        known = wanted.next_ids.clamp(min=0)[:, None]
        asked = torch.cat([known, wanted.targets.expand(len(hidden), -1)], 1)
        values = logits.gather(1, asked)
        highest = top[:, :1]
        parts = [
            self._near(logits[span], highest[span], values[span], span, marginal, refer)
            for span in spans(len(hidden), _NEAR if hidden.device.type == "cpu" else self.most)
        ]
        log_sum, entropy, kl, rank = (torch.cat(part) for part in zip(*parts, strict=True))
        if refer:
            self._reference, self._entropy = logits, entropy
        return Said(
            top_ids=ids,
            top_logits=top,
            log_sum=log_sum + highest[:, 0],
            entropy=entropy,
            kl=kl,
            next_logit=values[:, 0],
            next_rank=rank[:, 0],
            target_logits=values[:, 1:],
            target_rank=rank[:, 1:],
        )

    def _near(
        self,
        logits: Tensor,
        highest: Tensor,
        values: Tensor,
        span: slice,
        marginal: Tensor | None,
        refer: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read a few rows, in place: what is read often lies near the processor."""
        near = self._buffer("near", len(logits))
        logits.sub_(highest)
        ranks = []
        for value in (values - highest).T:
            # A comparison as numbers: counting booleans takes twice as long.
            above = torch.gt(logits, value[:, None], out=near)
            ranks.append(above.sum(-1).long() + 1)
        weight = torch.exp(logits, out=near)
        total = weight.sum(-1)
        log_sum = total.log()
        entropy = log_sum - _dot(weight, logits) / total
        if marginal is not None:
            marginal += total.reciprocal() @ weight
        kl = torch.zeros_like(entropy)
        if refer:
            torch.div(weight, total[:, None], out=logits)
        elif self._reference is not None and self._entropy is not None:
            cross = log_sum - _dot(self._reference[span], logits)
            # Of equal distributions rounding can leave less than nothing.
            kl = (cross - self._entropy[span]).clamp_(min=0)
        return log_sum, entropy, kl, torch.stack(ranks, 1)

    def _buffer(self, name: str, rows: int) -> Tensor:
        found = self._buffers.get(name)
        if found is None or len(found) < rows:
            found = torch.empty(rows, len(self.rows), dtype=self.dtype, device=self.rows.device)
            self._buffers[name] = found
        return found[:rows]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row by row, without a tensor in between; a product of four rows with four costs least."""
    even = len(a) // _GROUP * _GROUP if a.device.type == "cpu" else 0
    parts = []
    if even:
        left, right = (x[:even].unflatten(0, (-1, _GROUP)) for x in (a, b))
        square = torch.bmm(left, right.transpose(1, 2))
        parts.append(square.diagonal(dim1=1, dim2=2).flatten())
    if even < len(a):
        parts.append(torch.linalg.vecdot(a[even:], b[even:]))
    return torch.cat(parts)


def _top(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row: they stand in the k blocks with the highest maxima."""
    n, d_vocab = logits.shape
    blocks = d_vocab // _BLOCK
    if blocks < 4 * k or logits.device.type != "cpu":
        found = logits.topk(k, dim=-1)
        return found.values, found.indices
    tiled = logits[:, : blocks * _BLOCK].unflatten(1, (blocks, _BLOCK))
    best = tiled.amax(-1).topk(k, dim=-1).indices
    inside = best[:, :, None] * _BLOCK + torch.arange(_BLOCK)
    tail = torch.arange(blocks * _BLOCK, d_vocab).expand(n, -1)
    index = torch.cat([inside.flatten(1), tail], 1)
    found = logits.gather(1, index).topk(k, dim=-1)
    return found.values, index.gather(1, found.indices)
