"""Token and position embeddings, and the unembedding that GPT-Neo ties to the former."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neoscope.config import NeoConfig
from neoscope.linear import linear


class Embedding(nn.Module):
    """Token embeddings, ``W_E`` [d_vocab, d_model]."""

    def __init__(self, config: NeoConfig) -> None:
        """Allocate the table (not yet filled)."""
        super().__init__()
        self._std = config.init_range
        self.W_E = nn.Parameter(torch.empty(config.d_vocab, config.d_model))

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        nn.init.normal_(self.W_E, std=self._std)


class PositionEmbedding(nn.Module):
    """Learned absolute positions, ``W_pos`` [n_ctx, d_model]."""

    def __init__(self, config: NeoConfig) -> None:
        """Allocate the table (not yet filled)."""
        super().__init__()
        self._std = config.init_range
        self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model))

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        nn.init.normal_(self.W_pos, std=self._std)


class Unembedding(nn.Module):
    """Hidden states to logits; the matrix is the token embeddings' own unless untied."""

    def __init__(self, config: NeoConfig, embed: Embedding) -> None:
        """Allocate a matrix only if it is untied."""
        super().__init__()
        self._embed = [embed]  # in a list, so that torch does not count its weights twice
        self._std = config.init_range
        self.weight = (
            None
            if config.tie_word_embeddings
            else nn.Parameter(torch.empty(config.d_vocab, config.d_model))
        )

    def reset_parameters(self) -> None:
        """Draw an untied matrix anew."""
        if self.weight is not None:
            nn.init.normal_(self.weight, std=self._std)

    @property
    def rows(self) -> Float[Tensor, "d_vocab d_model"]:
        """One row a token."""
        return self._embed[0].W_E if self.weight is None else self.weight

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:  # noqa: N802
        """TransformerLens's layout, a view."""
        return self.rows.T

    def forward(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Return logits."""
        return linear(hidden, self.rows)
