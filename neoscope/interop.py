"""The face that TransformerLens 4's tools need: its config, switches and tokens.

Contract: ``transformer_lens/model_protocol.py`` and what its analysis functions reach for; the
hooks are in ``interop_hooks``, the weights in ``interop_weights``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, TokenizationError
from neoscope.interop_hooks import NamedHooks
from neoscope.interop_weights import LensWeights
from neoscope.run import switch_names
from neoscope.tokenization import tokenize
from neoscope.tokens import Tokens

if TYPE_CHECKING:
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


class TransformerLensFace(NamedHooks, LensWeights):
    """The part of HookedGPTNeo that TransformerLens's functions look at."""

    config: NeoConfig
    tokenizer: PreTrainedTokenizerBase | None
    if TYPE_CHECKING:
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
