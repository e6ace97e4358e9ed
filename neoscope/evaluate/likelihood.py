"""How likely a model holds tokens to be: log-probabilities and the likeliest token, row by row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.embedding import Unembedding

# Logits held at once: what stays in a processor's caches; a device likes few large launches.
_LOGITS_AT_ONCE = {"cpu": 2**22}
_ELSEWHERE = 2**27
# The fewest tokens of the vocabulary that a product is made of.
_LEAST_TOKENS = 1024


def log_normaliser(
    hidden: Float[Tensor, "row d_model"], unembed: Unembedding
) -> tuple[Float[Tensor, "row"], Int[Tensor, "row"]]:
    """Return log(sum(exp(logits))) in nats, float32, and the likeliest token of every row.

    Walks the vocabulary a part at a time, so that no [row, d_vocab] tensor is ever there: the
    weights are read once, and a part's logits are still in the processor's caches when they are
    summed.

    Args:
        hidden: The stream after the final LayerNorm.
        unembed: The model's unembedding.
    """
    rows = hidden.shape[0]
    top = hidden.new_full((rows,), -torch.inf, dtype=torch.float32)
    total = torch.zeros_like(top)
    likeliest = torch.zeros(rows, dtype=torch.long, device=hidden.device)
    room = _LOGITS_AT_ONCE.get(hidden.device.type, _ELSEWHERE)
    size = max(_LEAST_TOKENS, room // max(1, rows))
    for start, part in enumerate(unembed.rows.split(size)):
        logits = F.linear(hidden, part).float()
        best, where = logits.max(-1)
        likeliest = torch.where(best > top, where + start * size, likeliest)
        new = torch.maximum(top, best)
        total = total * (top - new).exp() + logits.sub_(new[:, None]).exp_().sum(-1)
        top = new
    return top + total.log(), likeliest


def logits_of(
    hidden: Float[Tensor, "row d_model"],
    rows: Int[Tensor, "pair"],
    tokens: Int[Tensor, "pair"],
    unembed: Unembedding,
) -> Float[Tensor, "pair"]:
    """Return the logit of one token at one row, for each pair, in float32."""
    at = hidden[rows].float()
    return (at * F.embedding(tokens, unembed.rows).float()).sum(-1)
