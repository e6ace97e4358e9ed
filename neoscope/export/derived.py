"""What is derived from sites, token by token: surprisal, entropy, and what attention looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.analysis.readout import Readout, Wanted
from neoscope.config import NeoConfig
from neoscope.embedding import Unembedding

Defined = Literal["everywhere", "not_first", "not_last"]


@dataclass(frozen=True)
class Derived:
    """One derived quantity, a number or a few for every token."""

    name: str
    layered: bool
    """Whether it summarises the attention patterns of a layer, one number a head."""
    defined: Defined
    """Which tokens of a text have it."""
    meaning: str

    @property
    def of_logits(self) -> bool:
        """Whether it needs the unembedding."""
        return self.name in ("loss", "surprisal", "entropy")

    def width(self, config: NeoConfig) -> int:
        """Numbers a token."""
        if self.layered:
            return config.n_heads
        return 1 if self.of_logits else config.d_model


_TABLE = (
    Derived("hidden", False, "everywhere", "the stream after the final LayerNorm"),
    Derived("loss", False, "not_last", "-log p(next token), nats"),
    Derived("surprisal", False, "not_first", "-log p(this token), nats"),
    Derived("entropy", False, "everywhere", "of the next-token distribution, nats"),
    Derived("attn_to_first", True, "everywhere", "attention to the first token, by head"),
    Derived("attn_to_previous", True, "not_first", "attention to the token before, by head"),
    Derived("attn_entropy", True, "everywhere", "entropy of attention in nats, by head"),
)
DERIVED: Mapping[str, Derived] = {derived.name: derived for derived in _TABLE}


def of_logits(
    hidden: Float[Tensor, "token d_model"],
    following: Int[Tensor, "token"],
    unembed: Unembedding,
) -> dict[str, Float[Tensor, "token"]]:
    """Return loss and entropy (nats, float32) at every token, a few rows of logits at a time.

    Args:
        hidden: The stream after the final LayerNorm.
        following: The id of the token after each; -1 where the text ends, and the loss means
            nothing.
        unembed: The model's unembedding.
    """
    readout = Readout(unembed.rows.detach())
    none = following.new_zeros(0)
    losses, entropies = [], []
    for part, target in zip(hidden.split(readout.most), following.split(readout.most), strict=True):
        said = readout.read(part, Wanted(1, target, none))
        losses.append(said.log_sum - said.next_logit)
        entropies.append(said.entropy)
    return {"loss": torch.cat(losses).float(), "entropy": torch.cat(entropies).float()}


def of_pattern(
    name: str, pattern: Float[Tensor, "batch head query key"]
) -> Float[Tensor, "batch query head"]:
    """Summarise an attention pattern, head by head, for every query.

    Args:
        name: ``attn_to_first``, ``attn_to_previous`` or ``attn_entropy``.
        pattern: Probabilities over the keys of right-padded texts.
    """
    pattern = pattern.float()
    if name == "attn_to_first":
        summary = pattern[..., 0]
    elif name == "attn_to_previous":
        before = pattern.diagonal(offset=-1, dim1=-2, dim2=-1)
        summary = torch.nn.functional.pad(before, (1, 0))
    else:
        summary = torch.special.entr(pattern).sum(-1)
    return summary.transpose(1, 2)
