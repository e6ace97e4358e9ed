"""HookedGPTNeo: a GPT-Neo in which every intermediate tensor is a readable, writable site.

References: Black et al. 2021 (GPT-Neo); ``transformers/models/gpt_neo/modeling_gpt_neo.py``, with
which logits agree; TransformerLens 4's ``HookedRootModule``, whose hooks and names these are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from neoscope import checkpoint as checkpoints
from neoscope import organism
from neoscope.block import Block
from neoscope.config import NeoConfig
from neoscope.device import default_dtype, read_device, read_dtype
from neoscope.edit import Edit
from neoscope.embedding import Embedding, PositionEmbedding, Unembedding
from neoscope.errors import ArgumentError, TokenizationError, nearest
from neoscope.fingerprint import fingerprint
from neoscope.generate.generating import Generating
from neoscope.inputs import (
    RETURN_TYPES,
    Input,
    Read,
    ReturnType,
    is_text,
    next_token_loss,
    read_stream,
    read_tokens,
    visibility_of,
)
from neoscope.interop import TransformerLensFace
from neoscope.kv_cache import KVCache
from neoscope.layernorm import LayerNorm
from neoscope.run import Run, Site, StopForward, Watcher
from neoscope.running import Running, Span
from neoscope.tokenization import load_tokenizer
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HookedGPTNeo(TransformerLensFace, Generating, Running):
    """A GPT-Neo whose every site can be read, written and differentiated.

    Build one with :meth:`from_pretrained` or :meth:`from_config`. It starts in ``eval()`` and has
    no dropout: every GPT-Neo was published with dropout 0.

    Example:
        >>> import neoscope as ns
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
        >>> logits, cache = model.run_with_cache([[1, 2, 3]])
        >>> cache["pattern", 1].shape
        torch.Size([1, 2, 3, 3])
    """

    def __init__(
        self,
        config: NeoConfig,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        name: str = "custom",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Allocate an empty model; the two constructors fill it."""
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.checkpoint: checkpoints.Checkpoint | None = None
        """Where the weights came from; None for those that were drawn or written here."""
        with torch.device(device), default_dtype(dtype):
            self.embed = Embedding(config)
            self.pos_embed = PositionEmbedding(config)
            self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
            self.ln_final = LayerNorm(config.d_model, config.ln_eps)
            self.unembed = Unembedding(config, self.embed)
        self.hook_embed, self.hook_pos_embed = Site(), Site()
        self._edit_groups = {}
        self._setup_face(name)
        self.setup()
        self.eval()

    # ---- building ----------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        dtype: torch.dtype | str = torch.float32,
        device: torch.device | str = "cpu",
    ) -> HookedGPTNeo:
        """Load a checkpoint from the hub, a folder or a file.

        Args:
            name_or_path: A hub id (``"EleutherAI/gpt-neo-125m"``), a folder with ``config.json``,
                or one ``.safetensors`` or ``.bin`` file beside its ``config.json``.
            revision: Branch, tag or commit on the hub.
            dtype: What the weights are kept in: float32, bfloat16, float16 or float64.
            device: Where they go.

        Raises:
            ArgumentError: A dtype or device that is none.
            CheckpointError: Not found, no network, not a GPT-Neo, or weights missing or damaged.
        """
        dtype, device = read_dtype(dtype), read_device(device)
        found = organism.locate(name_or_path, revision=revision)
        model = cls(found.config, name=os.fspath(name_or_path), device=device, dtype=dtype)
        model.checkpoint = found
        checkpoints.load_weights(found, dict(model.named_parameters()))
        model.tokenizer = load_tokenizer(str(found.folder))
        return model

    @classmethod
    def from_config(
        cls,
        config: NeoConfig,
        seed: int = 0,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        dtype: torch.dtype | str = torch.float32,
        device: torch.device | str = "cpu",
    ) -> HookedGPTNeo:
        """Build a model with random weights, drawn as GPT-Neo's own initialisation does.

        Args:
            config: The shape.
            seed: Fixes the weights, on every device alike.
            tokenizer: Any transformers tokenizer, for text input.
            dtype: What the weights are kept in.
            device: Where they go.

        Raises:
            ArgumentError: A dtype or device that is none.
        """
        model = cls(config, tokenizer, name=f"random-{seed}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in model.modules():
                reset = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
        return model.to(device=read_device(device), dtype=read_dtype(dtype))

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch's Module has none
        """Where the weights are."""
        where: torch.device = self.embed.W_E.device
        return where

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]  # torch's Module has none
        """What the weights are kept in."""
        kept: torch.dtype = self.embed.W_E.dtype
        return kept

    def fingerprint(self) -> str:
        """Return a hash of config and weights: equal for equal models, whatever they are called."""
        return fingerprint(self.config, dict(self.named_parameters()))

    # ---- running -----------------------------------------------------------------------------

    def forward(
        self,
        input: Input,
        attention_mask: Tensor | Sequence[Sequence[int]] | None = None,
        *,
        return_type: ReturnType = "logits",
        loss_per_token: bool = False,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
        tokens: Int[Tensor, "batch pos"] | None = None,
        past: KVCache | None = None,
        prepend_bos: bool = False,
        padding_side: Literal["left", "right"] = "right",
        truncate: bool = False,
        edits: Edit | Sequence[Edit] = (),
        _record: Watcher | None = None,
        _visibility: Visibility | None = None,
    ) -> Any:
        """Run the model under the caller's own grad mode.

        Args:
            input: Token ids [batch, pos], one text, texts, :class:`Tokens`, or, with
                ``start_at_layer``, a residual stream [batch, pos, d_model].
            attention_mask: [batch, pos], 1 where a token is real; positions are counted from it, so
                left and right padding give the same numbers. With ``past`` it may cover the new
                tokens or all of them.
            return_type: ``"logits"`` [batch, pos, d_vocab]; ``"loss"``, mean nats a token;
                ``"both"``; ``"hidden"``, the stream after the final LayerNorm, without the
                unembedding; None runs only as far as a hook, an edit or a record needs.
            loss_per_token: Losses [batch, pos - 1] instead of their mean; 0 where padding is.
            start_at_layer: Begin there; ``input`` is that layer's ``resid_pre``.
            stop_at_layer: Return the residual stream before that layer; nothing after it runs.
            tokens: Token ids for the loss when ``input`` is a residual stream.
            past: A KV cache; new tokens are appended to it.
            prepend_bos: For text: put the beginning-of-text token first.
            padding_side: For texts of unequal length.
            truncate: For text: cut at the context length instead of refusing.
            edits: One or several, of this run alone, after those of an enclosing :meth:`edits`.
            _record: Internal; see :meth:`run_with_cache`.
            _visibility: Internal: who sees whom in a packed batch.

        Raises:
            ArgumentError: ``return_type`` is none of these.
            TokenizationError: Tokens, text or mask do not fit the model.
            SiteError: A layer or an edit's site does not exist.
        """
        if return_type not in RETURN_TYPES:
            hint = nearest(str(return_type), map(str, RETURN_TYPES))
            raise ArgumentError(f"return_type={return_type!r} is none of {RETURN_TYPES}{hint}")
        span = self._span(start_at_layer, stop_at_layer, past)
        if is_text(input):
            text = {"prepend_bos": prepend_bos, "padding_side": padding_side, "truncate": truncate}
            input = self.tokenize(input, **text)  # type: ignore[arg-type]
        check = read_tokens if start_at_layer is None else read_stream
        read = check(input, attention_mask, self.config, self.device)
        visibility = _visibility or visibility_of(read, past, self.config, self.device)
        run = Run(visibility, self._switches_on(), self._compiled(edits, span), _record)
        if return_type is None and past is None and stop_at_layer is None:
            run.stop_after(self._last_site(_record))
        try:
            stream = self._walk(read, run, span, past)
            if stop_at_layer is not None:
                return stream
            hidden = self.ln_final(stream, run)
        except StopForward:
            return None
        ids = tokens if read.ids is None else read.ids
        return self._output(hidden, ids, return_type, loss_per_token, read.mask)

    def _walk(
        self, read: Read, run: Run, span: Span, past: KVCache | None
    ) -> Float[Tensor, "batch pos d_model"]:
        stream = self._embed(read.ids, run) if read.stream is None else read.stream
        for block in self.blocks[span.start : span.stop]:
            stream = block(stream, run, past)
        if past is not None:
            past.advance(run.visibility.n_query, run.visibility.mask)
        return stream

    def _embed(
        self, ids: Int[Tensor, "batch pos"] | None, run: Run
    ) -> Float[Tensor, "batch pos d_model"]:
        assert ids is not None
        stream = run.tap(self.hook_embed, F.embedding(ids, self.embed.W_E))
        visibility = run.visibility
        if visibility.counts_by_column:
            table = self.pos_embed.W_pos[visibility.n_past : visibility.n_key]
            position = table[None].expand(ids.shape[0], -1, -1)
        else:
            position = F.embedding(visibility.query_positions(), self.pos_embed.W_pos)
        return stream + run.tap(self.hook_pos_embed, position)

    def _output(
        self,
        hidden: Float[Tensor, "batch pos d_model"],
        ids: Tensor | None,
        return_type: ReturnType,
        loss_per_token: bool,
        mask: Tensor | None,
    ) -> Any:
        if return_type is None or return_type == "hidden":
            return hidden if return_type else None
        logits = self.unembed(hidden)
        if return_type == "logits":
            return logits
        if ids is None:
            raise TokenizationError("the loss needs the token ids: give them as tokens=")
        loss = next_token_loss(logits, ids, mask, per_token=loss_per_token)
        return loss if return_type == "loss" else (logits, loss)

    def __repr__(self) -> str:
        """Return one line; the modules are in ``model.blocks``."""
        c = self.config
        kinds = f"{c.kinds.count('global')} global, {c.kinds.count('local')} local"
        return (
            f"HookedGPTNeo({self.cfg.model_name!r}: {c.n_layers} layers ({kinds}, window "
            f"{c.window_size}), d_model {c.d_model}, {c.n_heads} heads, "
            f"{c.n_params / 1e6:.1f}M parameters, {str(self.dtype).removeprefix('torch.')}, "
            f"{self.device})"
        )
