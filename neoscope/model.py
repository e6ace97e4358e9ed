"""HookedGPTNeo: a GPT-Neo in which every intermediate tensor is a readable, writable site.

References: Black et al. 2021 (GPT-Neo); ``transformers/models/gpt_neo/modeling_gpt_neo.py``, with
which logits agree; TransformerLens 4's ``HookedRootModule``, whose hooks and names these are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens.HookedRootModule import HookedRootModule

from neoscope import checkpoint as checkpoints
from neoscope.block import Block
from neoscope.cache import ActivationCache
from neoscope.config import NeoConfig
from neoscope.edits import Edit, compile_edits
from neoscope.errors import SiteError, TokenizationError
from neoscope.interop import TransformerLensFace
from neoscope.kv_cache import KVCache
from neoscope.layernorm import LayerNorm
from neoscope.run import Recorder, Run, Site, StopForward
from neoscope.sites import SiteRef, all_sites, select
from neoscope.tokens import Tokens, check_mask, from_ids, load_tokenizer
from neoscope.visibility import Positions, Visibility

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ReturnType = Literal["logits", "loss", "both", "hidden"] | None
Input = str | Sequence[str] | Tokens | Tensor | Sequence[Sequence[int]] | Sequence[int]


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
        return F.linear(hidden, self.rows)


class HookedGPTNeo(TransformerLensFace, HookedRootModule):  # type: ignore[misc]  # untyped base
    """A GPT-Neo whose every site can be read, written and differentiated.

    Build one with :meth:`from_pretrained` or :meth:`from_config`. It starts in ``eval()`` and has no
    dropout: every GPT-Neo was published with dropout 0.

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
        with torch.device(device), _default_dtype(dtype):
            self.embed = Embedding(config)
            self.pos_embed = PositionEmbedding(config)
            self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
            self.ln_final = LayerNorm(config.d_model, config.ln_eps)
            self.unembed = Unembedding(config, self.embed)
        self.hook_embed, self.hook_pos_embed = Site(), Site()
        self._edits: list[Edit] = []
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
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> HookedGPTNeo:
        """Load a checkpoint from the hub, a folder or a file.

        Args:
            name_or_path: A hub id (``"EleutherAI/gpt-neo-125m"``), a folder with ``config.json``, or
                one ``.safetensors`` or ``.bin`` file beside its ``config.json``.
            revision: Branch, tag or commit on the hub.
            dtype: What the weights are kept in: float32, bfloat16 or float16.
            device: Where they go.

        Raises:
            CheckpointError: Not found, no network, not a GPT-Neo, or weights missing or damaged.
        """
        found = checkpoints.find(name_or_path, revision=revision)
        model = cls(found.config, name=found.name, device=device, dtype=dtype)
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
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> HookedGPTNeo:
        """Build a model with random weights, drawn as GPT-Neo's own initialisation does.

        Args:
            config: The shape.
            seed: Fixes the weights, on every device alike.
            tokenizer: Any transformers tokenizer, for text input.
            dtype: What the weights are kept in.
            device: Where they go.
        """
        model = cls(config, tokenizer, name=f"random-{seed}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in model.modules():
                reset = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
        return model.to(device=device, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        return self.embed.W_E.dtype

    @functools.cached_property
    def _site_index(self) -> Mapping[str, Site]:
        return {name: site for name, site in self.hook_dict.items() if isinstance(site, Site)}

    def fingerprint(self) -> str:
        """Return a hash of config and weights: equal for equal models, whatever they are called."""
        digest = hashlib.sha256(json.dumps(self.config.to_hf(), sort_keys=True).encode())
        for name, parameter in sorted(self.named_parameters()):
            digest.update(f"{name}{parameter.dtype}{tuple(parameter.shape)}".encode())
            flat = parameter.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(flat.numpy().data)
        return digest.hexdigest()[:32]

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
        edits: Sequence[Edit] = (),
        _record: Recorder | None = None,
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
            edits: Edits of this run, after those of an enclosing :meth:`edits`.
            _record: Internal; see :meth:`run_with_cache`.

        Raises:
            TokenizationError: Tokens, text or mask do not fit the model.
            SiteError: A layer or an edit's site does not exist.
        """
        start = self._layer("start_at_layer", start_at_layer, 0)
        stop = self._layer("stop_at_layer", stop_at_layer, self.config.n_layers)
        options = {"prepend_bos": prepend_bos, "padding_side": padding_side, "truncate": truncate}
        stream, ids, mask = self._read(input, attention_mask, start_at_layer, options)
        ids = tokens if ids is None else ids
        shape = stream.shape if stream is not None else ids.shape if ids is not None else ()
        visibility = self._visibility(shape[0], shape[1], mask, past)
        run = Run(
            visibility,
            self._switches_on(),
            compile_edits([*self._edits, *edits], self.config, self._switches_on()),
            _record,
            self._last_site(_record, edits) if return_type is None else None,
        )
        try:
            if stream is None:
                assert ids is not None
                stream = self._embed(ids, run)
            for block in self.blocks[start:stop]:
                stream = block(stream, run, past)
            if past is not None:
                past.advance(visibility.n_query, visibility.mask)
            if stop_at_layer is not None:
                return stream
            hidden = self.ln_final(stream, run)
        except StopForward:
            return None
        return self._output(hidden, ids, return_type, loss_per_token, mask)

    def _layer(self, argument: str, layer: int | None, default: int) -> int:
        n = self.config.n_layers
        if layer is None:
            return default
        if not -n <= layer <= n:
            raise SiteError(f"{argument}={layer} is out of range; the model has {n} layers")
        return layer + n if layer < 0 else layer

    def _read(
        self, input: Input, attention_mask: Any, start_at_layer: int | None, options: dict[str, Any]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return (residual stream, token ids, mask); one of the first two is None."""
        if start_at_layer is not None:
            if not isinstance(input, Tensor) or input.ndim != 3:
                raise TokenizationError(
                    "with start_at_layer the input must be a residual stream "
                    f"[batch, pos, {self.config.d_model}]"
                )
            if input.shape[-1] != self.config.d_model:
                raise TokenizationError(
                    f"the residual stream has {input.shape[-1]} dimensions; the model has "
                    f"{self.config.d_model}"
                )
            return input, None, check_mask(attention_mask, self.device)
        if isinstance(input, str) or _is_texts(input):
            input = self.tokenize(input, **options)  # type: ignore[arg-type]
        if isinstance(input, Tokens):
            if attention_mask is None:
                attention_mask = input.mask
            input = input.ids
        ids, mask = from_ids(input, attention_mask, d_vocab=self.config.d_vocab)
        return None, ids.to(self.device), None if mask is None else mask.to(self.device)

    def _visibility(
        self, batch: int, n_query: int, mask: Tensor | None, past: KVCache | None
    ) -> Visibility:
        n_past = 0 if past is None else past.length
        if mask is not None and mask.shape not in ((batch, n_query), (batch, n_past + n_query)):
            raise TokenizationError(
                f"attention_mask has shape {tuple(mask.shape)}; the tokens have ({batch}, {n_query})"
            )
        if past is not None and (mask is None or mask.shape[1] == n_query):
            mask = past.full_mask(mask, batch, n_query)
        visibility = Visibility(batch, n_query, self.device, n_past=n_past, mask=mask)
        longest = max(visibility.lengths())
        if longest > self.config.n_ctx:
            raise TokenizationError(
                f"the text has {longest} tokens, but the model's context is {self.config.n_ctx}; "
                "cut it, or give text with truncate=True"
            )
        return visibility

    def _embed(self, ids: Int[Tensor, "batch pos"], run: Run) -> Float[Tensor, "batch pos d_model"]:
        stream = run.tap(self.hook_embed, F.embedding(ids, self.embed.W_E))
        visibility = run.visibility
        if visibility.mask is None:
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
        if return_type == "hidden":
            return hidden
        if return_type is None:
            return None
        logits = self.unembed(hidden)
        if return_type == "logits":
            return logits
        if ids is None:
            raise TokenizationError("the loss needs the token ids: give them as tokens=")
        loss = _next_token_loss(logits, ids, mask, per_token=loss_per_token)
        return loss if return_type == "loss" else (logits, loss)

    # ---- reading -----------------------------------------------------------------------------

    def run_with_cache(
        self,
        input: Input,
        attention_mask: Tensor | Sequence[Sequence[int]] | None = None,
        *,
        sites: str | Sequence[str] | None = None,
        layers: int | Sequence[int] | None = None,
        positions: Positions = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        names_filter: str | Sequence[str] | Callable[[str], bool] | None = None,
        pos_slice: Any = None,
        remove_batch_dim: bool = False,
        incl_bwd: bool = False,
        return_type: ReturnType = "logits",
        **options: Any,
    ) -> tuple[Any, ActivationCache]:
        """Run the model and keep what stood at the asked-for sites.

        Args:
            input: As for :meth:`forward`.
            attention_mask: As for :meth:`forward`.
            sites: Site names, short (``"pattern"``) or full; default all.
            layers: Layers of the short names; default all.
            positions: Which positions of each text to keep; padding does not count, -1 is the last
                real token. On scores and patterns it selects queries.
            device: Where cached tensors go; default the model's.
            dtype: What they are kept in; default as computed.
            names_filter: TransformerLens's way to say ``sites``: full names or a predicate.
            pos_slice: TransformerLens's way to say ``positions``: columns, padding counted.
            remove_batch_dim: Drop the batch axis of a batch of one.
            incl_bwd: Also keep the gradient of the loss at each site, as ``name + "_grad"``; needs
                ``return_type="loss"``. No parameter's ``.grad`` is touched.
            return_type: As for :meth:`forward`; None stops after the last wanted site.
            options: The rest of :meth:`forward`'s arguments.

        Returns:
            What :meth:`forward` returns, and the cache. Cached tensors are detached, and never
            change afterwards, whatever an edit does downstream.

        Raises:
            SiteError: A site or layer does not exist or is switched off.

        Example:
            >>> import neoscope as ns
            >>> model = ns.HookedGPTNeo.from_config(
            ...     ns.NeoConfig(n_layers=4, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
            >>> _, cache = model.run_with_cache([[1, 2, 3]], sites="z", layers=[0, 1], positions=-1)
            >>> cache.stack("z").shape
            torch.Size([2, 1, 1, 2, 4])
        """
        if isinstance(input, str) or _is_texts(input):
            text_options = {
                key: options.pop(key)
                for key in ("prepend_bos", "padding_side", "truncate")
                if key in options
            }
            input = self.tokenize(input, **text_options)  # type: ignore[arg-type]
        recorder = Recorder(
            {ref.name: ref for ref in self._wanted(sites, layers, names_filter)},
            positions=positions,
            columns=_pos_slice(pos_slice),
            device=None if device is None else torch.device(device),
            dtype=dtype,
            keep_graph=incl_bwd,
        )
        with torch.enable_grad() if incl_bwd else contextlib.nullcontext():
            out = self(
                input, attention_mask, return_type=return_type, _record=recorder, **options
            )
            if incl_bwd:
                recorder.add_gradients(out)
        cache = ActivationCache(
            recorder.tensors,
            self.config,
            tokens=self._token_record(input, attention_mask),
            positions=positions,
            model=self,
        )
        return out, cache.remove_batch_dim() if remove_batch_dim else cache

    def _wanted(self, sites: Any, layers: Any, names_filter: Any) -> tuple[SiteRef, ...]:
        if names_filter is not None:
            if sites is not None:
                raise SiteError("give either sites or names_filter, not both")
            sites = names_filter
        on = self._switches_on()
        split = {"use_split_qkv_input", "use_attn_in"} & on
        # With split inputs LayerNorm 1 runs once for each of them: there is no one tensor to keep.
        drop = ("ln1.scale", "ln1.normalized") if split else ()
        wanted = select(self.config, sites, layers, switches=on, drop=drop)
        for ref in wanted:
            if ref.kind.short in drop:
                raise SiteError(
                    f"site {ref.name!r} has several values while {min(split)} is on; switch it off"
                )
        if not wanted:
            raise SiteError("no site was selected: the filter matches none of the model's sites")
        return wanted

    def _last_site(self, recorder: Recorder | None, edits: Sequence[Edit]) -> str | None:
        """The last site that a record or a hook needs; None when nothing does."""
        wanted = set(recorder.wanted) if recorder is not None else set()
        hooked = {name for name, site in self._site_index.items() if site.hooked}
        names = [
            ref.name
            for ref in all_sites(self.config, self._switches_on())
            if ref.name in wanted or ref.name in hooked
        ]
        return names[-1] if names else None

    def _token_record(self, input: Any, attention_mask: Any) -> Tokens | None:
        if isinstance(input, Tokens):
            return input
        if isinstance(input, Tensor) and input.ndim == 3:
            return None
        ids, mask = from_ids(input, attention_mask, d_vocab=self.config.d_vocab)
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        return Tokens(ids=ids, mask=mask)

    # ---- editing -----------------------------------------------------------------------------

    def run_with_edits(
        self, input: Input, edits: Sequence[Edit], attention_mask: Any = None, **options: Any
    ) -> Any:
        """Run the model with edits, in order; takes all of :meth:`forward`'s arguments.

        Raises:
            SiteError: An edit's site, layer, head or position does not exist.
            EditError: An edit's value does not fit its site.
        """
        return self(input, attention_mask, edits=edits, **options)

    @contextlib.contextmanager
    def edits(self, *edits: Edit | Sequence[Edit]) -> Iterator[HookedGPTNeo]:
        """Make edits part of every run inside the ``with``; undone however it is left."""
        flat = [e for item in edits for e in ([item] if isinstance(item, Edit) else item)]
        compile_edits(flat, self.config, self._switches_on())
        before = self._edits
        self._edits = [*before, *flat]
        try:
            yield self
        finally:
            self._edits = before

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


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _is_texts(input: object) -> bool:
    return isinstance(input, list | tuple) and (not input or isinstance(input[0], str))


def _pos_slice(value: Any) -> slice | None:
    """Read TransformerLens's pos_slice: None, int, (start, stop[, step]), slice or its Slice."""
    if value is None or isinstance(value, slice):
        return value
    if isinstance(value, int):
        return slice(value, value + 1 or None)
    if isinstance(value, tuple | list):
        return slice(*value)
    inner = getattr(value, "slice", None)
    if isinstance(inner, slice):
        return inner
    if isinstance(inner, int):
        return slice(inner, inner + 1 or None)
    if inner is None and getattr(value, "mode", None) == "identity":
        return None
    raise SiteError(f"pos_slice={value!r} is not understood; give a slice, an int or (start, stop)")


def _next_token_loss(
    logits: Float[Tensor, "batch pos d_vocab"],
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch _"] | None,
    *,
    per_token: bool,
) -> Float[Tensor, "..."]:
    """Next-token loss in nats; predictions from or of padding do not count."""
    target = ids[:, 1:]
    loss = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), target, reduction="none")
    if mask is None:
        return loss if per_token else loss.mean()
    mask = mask[:, -ids.shape[1] :]
    real = mask[:, 1:] & mask[:, :-1]
    loss = torch.where(real, loss, 0.0)
    return loss if per_token else loss.sum() / real.sum()
