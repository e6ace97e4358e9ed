"""Copying scores: whether a head raises the logit of the word it looks at; from weights alone.

The full OV circuit ``W_E W_V W_O W_U`` says how looking at a word changes each logit (Elhage et al.
2021). GPT-Neo's embeddings share one huge offset, which alone would be an eigenvalue that copies
everything to everything: both embeddings are centred over words, which for the unembedding changes
no probability, and LayerNorms' gains and their centring are folded in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_SAMPLE = 128
_TOP = 5
_WORDS_AT_ONCE = 2048
_ROUNDING = 1e-9


class Circuits:
    """The full OV circuits of a model, never larger than d_model on a side."""

    def __init__(self, model: HookedGPTNeo, words: Int[Tensor, " word"]) -> None:
        """Centre the embeddings.

        Args:
            model: Any model.
            words: Token ids that count as words.
        """
        self._model = model
        index = words.to(model.device)
        with torch.no_grad():
            self._read = _centred(model.W_E[index].double())
            self._said = _centred(model.unembed.rows[index].double() * model.ln_final.w.double())
            self._through = self._said.T @ self._read
        self._narrow: Tensor | None = None

    def _factors(self, layer: int) -> tuple[Tensor, Tensor]:
        """``W_V`` with the gain before it, and ``W_O``."""
        block = self._model.blocks[layer]
        W_V = block.ln1.w.double()[:, None] * block.attn.W_V.double()
        return W_V, block.attn.W_O.double()

    def scores(self, layer: int) -> Float[np.ndarray, " head"]:
        """Return the sum of Re(lambda) over the sum of |lambda|, over the circuit's eigenvalues.

        Those that are not zero are the eigenvalues of a d_head x d_head product. NaN for a circuit
        that is zero, or without any eigenvalue that is not.
        """
        with torch.no_grad():
            W_V, W_O = self._factors(layer)
            small = W_O @ self._through @ W_V
            found = torch.linalg.eigvals(small)
            size = found.abs().sum(-1)
            # What would be left of a circuit of this size by rounding alone.
            scale = W_O.norm(dim=(1, 2)) * self._through.norm() * W_V.norm(dim=(1, 2))
            score = torch.where(size > _ROUNDING * scale, found.real.sum(-1) / size, torch.nan)
        return score.cpu().numpy()

    def top(self, layer: int, seed: int) -> Float[np.ndarray, " head"]:
        """Return the share of words whose own logit is among the five highest; ties do not count.

        Args:
            layer: Whose heads.
            seed: Of the words, at most 128.
        """
        generator = torch.Generator().manual_seed(seed)
        picked = torch.randperm(len(self._read), generator=generator)[:_SAMPLE]
        picked = picked.to(self._read.device)
        if self._narrow is None:
            self._narrow = self._said.float()
        with torch.no_grad():
            W_V, W_O = self._factors(layer)
            moved = (self._read[picked] @ W_V).float()
            heads = W_O.float()
            own = (moved * (self._narrow[picked] @ heads.mT)).sum(-1, keepdim=True)
            above = torch.zeros_like(own[..., 0])
            for start in range(0, len(self._narrow), _WORDS_AT_ONCE):
                rows = self._narrow[start : start + _WORDS_AT_ONCE]
                # One product for all heads: one of d_head rows is half as fast.
                written = (heads.flatten(0, 1) @ rows.T).unflatten(0, heads.shape[:2])
                logits = moved @ written
                here = ((picked >= start) & (picked < start + len(rows))).nonzero()[:, 0]
                logits[:, here, picked[here] - start] = -torch.inf
                # A comparison as numbers: counting booleans takes three times as long.
                above += torch.ge(logits, own, out=logits).sum(-1)
            shares = (above < _TOP).double().mean(1)
        return shares.cpu().numpy()


def _centred(rows: Tensor) -> Tensor:
    """Rows less their mean, each less its own mean: what a LayerNorm lets through."""
    rows = rows - rows.mean(0)
    return rows - rows.mean(1, keepdim=True)
