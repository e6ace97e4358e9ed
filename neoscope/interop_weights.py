"""GPT-Neo's weights under TransformerLens's names and in its layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.config import NeoConfig


class LensWeights:
    """The part of HookedGPTNeo that shows weights; it never changes them."""

    config: NeoConfig
    if TYPE_CHECKING:
        blocks: Any
        ln_final: Any
        embed: Any
        pos_embed: Any
        unembed: Any
        device: torch.device
        dtype: torch.dtype
        to_single_token: Callable[[str], int]

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:  # noqa: N802
        """Token embeddings."""
        matrix: Tensor = self.embed.W_E
        return matrix

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:  # noqa: N802
        """Position embeddings."""
        matrix: Tensor = self.pos_embed.W_pos
        return matrix

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:  # noqa: N802
        """Unembedding."""
        matrix: Tensor = self.unembed.W_U
        return matrix

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"]:  # noqa: N802
        """Zeros: GPT-Neo's unembedding has no bias."""
        return torch.zeros(self.config.d_vocab, device=self.device, dtype=self.dtype)

    def _stacked(self, part: str, name: str) -> Tensor:
        return torch.stack([getattr(getattr(block, part), name) for block in self.blocks])

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:  # noqa: N802
        """Query weights of all layers, a copy."""
        return self._stacked("attn", "W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:  # noqa: N802
        """Key weights of all layers, a copy."""
        return self._stacked("attn", "W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:  # noqa: N802
        """Value weights of all layers, a copy."""
        return self._stacked("attn", "W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:  # noqa: N802
        """Output weights of all layers, a copy."""
        return self._stacked("attn", "W_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:  # noqa: N802
        """MLP input weights of all layers, a copy."""
        return self._stacked("mlp", "W_in")

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:  # noqa: N802
        """MLP output weights of all layers, a copy."""
        return self._stacked("mlp", "W_out")

    def tl_parameters(self) -> Mapping[str, Tensor]:
        """Return all weights under TransformerLens's names and in its layout, as views."""
        named: dict[str, Tensor] = {"embed.W_E": self.W_E, "pos_embed.W_pos": self.W_pos}
        for i, block in enumerate(self.blocks):
            for part, names in (
                ("ln1", ("w", "b")),
                ("attn", ("W_Q", "W_K", "W_V", "W_O", "b_O")),
                ("ln2", ("w", "b")),
                ("mlp", ("W_in", "b_in", "W_out", "b_out")),
            ):
                for name in names:
                    named[f"blocks.{i}.{part}.{name}"] = getattr(getattr(block, part), name)
        named |= {"ln_final.w": self.ln_final.w, "ln_final.b": self.ln_final.b}
        return named | {"unembed.W_U": self.W_U, "unembed.b_U": self.b_U}

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Float[Tensor, " d_model"]:
        """Return the sum of all output biases written before ``layer``.

        Args:
            layer: Blocks before it count.
            mlp_input: Also count the attention bias of ``layer`` itself.
            include_mlp_biases: Whether MLP biases count.
        """
        bias = torch.zeros(self.config.d_model, device=self.device, dtype=self.dtype)
        blocks: list[Any] = list(self.blocks)
        for block in blocks[:layer]:
            bias = bias + block.attn.b_O
            if include_mlp_biases:
                bias = bias + block.mlp.b_out
        if mlp_input:
            bias = bias + blocks[layer].attn.b_O
        return bias

    def tokens_to_residual_directions(
        self, tokens: str | int | Tensor
    ) -> Float[Tensor, "*batch d_model"]:
        """Return the direction of a normalized residual stream that raises a token's logit.

        The final LayerNorm's gain is folded in, so that TransformerLens's ``logit_attrs``, which
        divides by the cached scale and knows no gain, adds up to the logits.
        """
        if isinstance(tokens, str):
            tokens = self.to_single_token(tokens)
        index = torch.as_tensor(tokens, device=self.device)
        direction: Tensor = self.unembed.rows[index] * self.ln_final.w
        return direction.reshape(-1) if index.numel() == 1 else direction
