"""The face that TransformerLens 4's tools need: its config, weight views, tokens and switches.

Contract: ``transformer_lens/model_protocol.py`` and what its analysis functions reach for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, TokenizationError
from neoscope.run import switch_names
from neoscope.tokens import Tokens, tokenize

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


@dataclass
class LensConfig:
    """What TransformerLens's functions read from ``model.cfg``, right for GPT-Neo."""

    model_name: str
    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    n_ctx: int
    d_vocab: int
    act_fn: str
    eps: float
    window_size: int
    attn_types: tuple[str, ...]
    device: torch.device
    dtype: torch.dtype
    n_key_value_heads: int | None = None
    d_vocab_out: int = 0
    normalization_type: str = "LN"
    positional_embedding_type: str = "standard"
    original_architecture: str = "GPTNeoForCausalLM"
    use_attn_scale: bool = False
    """GPT-Neo does not divide its scores by sqrt(d_head)."""
    attn_scale: float = 1.0
    use_local_attn: bool = True
    attn_only: bool = False
    parallel_attn_mlp: bool = False
    final_rms: bool = False
    default_prepend_bos: bool = False
    """GPT-Neo was trained without a beginning-of-text token before each text."""
    tokenizer_prepends_bos: bool = False
    use_attn_result: bool = False
    use_split_qkv_input: bool = False
    use_attn_in: bool = False
    use_hook_mlp_in: bool = False


class TransformerLensFace:
    """Mixed into HookedGPTNeo; weight views are views, never copies, and never mutate the model."""

    config: NeoConfig
    tokenizer: PreTrainedTokenizerBase | None
    if TYPE_CHECKING:
        blocks: nn.ModuleList
        ln_final: Any
        embed: Any
        pos_embed: Any
        unembed: Any
        device: torch.device
        dtype: torch.dtype

    def _setup_face(self, name: str) -> None:
        c = self.config
        self._cfg = LensConfig(
            model_name=name,
            n_layers=c.n_layers,
            n_heads=c.n_heads,
            d_model=c.d_model,
            d_head=c.d_head,
            d_mlp=c.n_neurons,
            n_ctx=c.n_ctx,
            d_vocab=c.d_vocab,
            d_vocab_out=c.d_vocab,
            act_fn=c.act_fn,
            eps=c.ln_eps,
            window_size=c.window_size,
            attn_types=c.kinds,
            use_local_attn="local" in c.kinds,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )

    @property
    def cfg(self) -> LensConfig:
        """TransformerLens's configuration; device and dtype follow the weights."""
        self._cfg.device, self._cfg.dtype = self.device, self.dtype
        return self._cfg

    # ---- switches ------------------------------------------------------------------------------

    def _switches_on(self) -> frozenset[str]:
        return frozenset(name for name in switch_names() if getattr(self._cfg, name))

    def set_use_attn_result(self, on: bool) -> None:
        """Switch ``attn.hook_result`` [batch, pos, head, d_model] on or off."""
        self._cfg.use_attn_result = on

    def set_use_split_qkv_input(self, on: bool) -> None:
        """Switch ``attn.hook_q_input``, ``k_input`` and ``v_input`` on or off.

        Raises:
            SiteError: ``use_attn_in`` is on; the two cannot both be.
        """
        if on and self._cfg.use_attn_in:
            raise SiteError("use_attn_in is on; call set_use_attn_in(False) first")
        self._cfg.use_split_qkv_input = on

    def set_use_attn_in(self, on: bool) -> None:
        """Switch ``hook_attn_in`` [batch, pos, head, d_model] on or off.

        Raises:
            SiteError: ``use_split_qkv_input`` is on; the two cannot both be.
        """
        if on and self._cfg.use_split_qkv_input:
            raise SiteError("use_split_qkv_input is on; call set_use_split_qkv_input(False) first")
        self._cfg.use_attn_in = on

    def set_use_hook_mlp_in(self, on: bool) -> None:
        """Switch ``hook_mlp_in`` [batch, pos, d_model] on or off."""
        self._cfg.use_hook_mlp_in = on

    # ---- weights ---------------------------------------------------------------------------------

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

    # ---- tokens ----------------------------------------------------------------------------------

    def _need_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise TokenizationError(
                f"{self._cfg.model_name!r} has no tokenizer: none of tokenizer.json, vocab.json "
                "and tokenizer_config.json lies beside its weights; give token ids, or set "
                "model.tokenizer"
            )
        return self.tokenizer

    def tokenize(
        self,
        text: str | Sequence[str],
        *,
        prepend_bos: bool = False,
        padding_side: Literal["left", "right"] = "right",
        truncate: bool = False,
    ) -> Tokens:
        """Tokenize texts into one padded batch, with the record of how.

        Args:
            text: One text or several.
            prepend_bos: Put the beginning-of-text token first; nothing is ever added unasked.
            padding_side: Where shorter texts are filled up.
            truncate: Cut what is longer than the context instead of refusing it.

        Raises:
            TokenizationError: No tokenizer, or a text that is empty, too long or no string.
        """
        return tokenize(
            self._need_tokenizer(),
            text,
            n_ctx=self.config.n_ctx,
            prepend_bos=prepend_bos,
            padding_side=padding_side,
            truncate=truncate,
        )

    def to_tokens(
        self,
        text: str | Sequence[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] | None = None,
        move_to_device: bool = True,
        truncate: bool = True,
    ) -> Int[Tensor, "batch pos"]:
        """Return token ids, as TransformerLens's function of this name does.

        Unlike there, no beginning-of-text token is added unless asked for. Unequal texts are
        padded; use :meth:`tokenize` to get the mask too.
        """
        tokens = self.tokenize(
            text,
            prepend_bos=bool(prepend_bos),
            padding_side=padding_side or "right",
            truncate=truncate,
        )
        return tokens.ids.to(self.device) if move_to_device else tokens.ids

    def to_string(self, tokens: Tensor | Sequence[int]) -> str | list[str]:
        """Return the text of token ids [pos], or the texts of [batch, pos]."""
        ids = torch.as_tensor(tokens)
        decode = self._need_tokenizer().decode
        if ids.ndim == 2:
            return [str(decode(row, clean_up_tokenization_spaces=False)) for row in ids]
        return str(decode(ids, clean_up_tokenization_spaces=False))

    def to_str_tokens(self, input: Any, prepend_bos: bool | None = None) -> list[str]:
        """Return each token of one text, or of ids [pos], as a string."""
        if isinstance(input, str):
            return list(self.tokenize(input, prepend_bos=bool(prepend_bos)).strings[0])
        ids = torch.as_tensor(input).reshape(-1).tolist()
        decode = self._need_tokenizer().decode
        return [str(decode([i], clean_up_tokenization_spaces=False)) for i in ids]

    def to_single_token(self, string: str) -> int:
        """Return the id of a string that is exactly one token.

        Raises:
            TokenizationError: It is several; they are shown.
        """
        tokens = self.tokenize(string)
        if tokens.ids.shape[1] != 1:
            shown = " | ".join(tokens.strings[0])
            hint = "" if string.startswith(" ") else "; a word inside a text begins with a space"
            raise TokenizationError(f"{string!r} is {tokens.ids.shape[1]} tokens: {shown}{hint}")
        return int(tokens.ids[0, 0])
