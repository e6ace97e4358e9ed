"""What a forward accepts: text, token ids, a tokenized batch or a residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.utilities.slice import Slice

from neoscope.config import NeoConfig
from neoscope.errors import SiteError, TokenizationError
from neoscope.kv_cache import KVCache
from neoscope.tokens import Tokens, check_mask, from_ids
from neoscope.visibility import Visibility

ReturnType = Literal["logits", "loss", "both", "hidden"] | None
RETURN_TYPES = ("logits", "loss", "both", "hidden", None)
Input = str | Sequence[str] | Tokens | Tensor | Sequence[Sequence[int]] | Sequence[int]


@dataclass(frozen=True)
class Read:
    """A checked input: token ids, or a residual stream to start from, and the mask."""

    ids: Int[Tensor, "batch pos"] | None
    stream: Float[Tensor, "batch pos d_model"] | None
    mask: Bool[Tensor, "rows columns"] | None
    """Not yet known to fit: with a KV cache it may cover past tokens too."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        tensor = self.ids if self.stream is None else self.stream
        assert tensor is not None
        return tensor.shape[0], tensor.shape[1]


def is_text(input: object) -> TypeGuard[str | Sequence[str]]:
    """Whether the input is one text or several (an empty list counts: it is refused as text)."""
    if isinstance(input, str):
        return True
    return isinstance(input, list | tuple) and (not input or isinstance(input[0], str))


def read_tokens(input: Any, mask: Any, config: NeoConfig, device: torch.device) -> Read:
    """Check token ids or a tokenized batch.

    Raises:
        TokenizationError: They do not fit the model.
    """
    if isinstance(input, Tokens):
        mask = input.mask if mask is None else mask
        input = input.ids
    ids, real = from_ids(input, mask, d_vocab=config.d_vocab)
    return Read(ids.to(device), None, None if real is None else real.to(device))


def read_stream(input: Any, mask: Any, config: NeoConfig, device: torch.device) -> Read:
    """Check a residual stream to start from.

    Raises:
        TokenizationError: It is no [batch, pos, d_model] tensor.
    """
    if not isinstance(input, Tensor) or input.ndim != 3 or input.shape[-1] != config.d_model:
        found = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
        raise TokenizationError(
            f"with start_at_layer the input must be a residual stream [batch, pos, "
            f"{config.d_model}]; found {found}"
        )
    if not input.numel() or not input.is_floating_point():
        raise TokenizationError(
            f"the residual stream must hold real numbers; found shape {tuple(input.shape)} of "
            f"{input.dtype}"
        )
    return Read(None, input, check_mask(mask, device))


def visibility_of(
    read: Read, past: KVCache | None, config: NeoConfig, device: torch.device
) -> Visibility:
    """Return who sees whom, past tokens included.

    Raises:
        TokenizationError: The mask has another shape, or the text is longer than the context.
    """
    batch, n_query = read.size
    n_past = 0 if past is None else past.length
    mask = read.mask
    if mask is not None and tuple(mask.shape) not in ((batch, n_query), (batch, n_past + n_query)):
        whole = f", with the KV cache's ({batch}, {n_past + n_query})" if n_past else ""
        raise TokenizationError(
            f"attention_mask has shape {tuple(mask.shape)}; the tokens have ({batch}, {n_query})"
            f"{whole}"
        )
    if past is not None and past.batch not in (None, batch):
        raise TokenizationError(
            f"the KV cache holds {past.batch} rows, but {batch} rows of new tokens came"
        )
    if past is not None and (mask is None or mask.shape[1] == n_query):
        mask = past.full_mask(mask, batch, n_query)
    visibility = Visibility(
        batch, n_query, device, n_past=n_past, mask=mask, grows=past is not None
    )
    longest = max(visibility.lengths())
    if longest > config.n_ctx:
        raise TokenizationError(
            f"the text has {longest} tokens, but the model's context is {config.n_ctx}; cut it, or "
            "give text with truncate=True"
        )
    return visibility


def read_pos_slice(value: Any) -> slice | list[int] | None:
    """Read TransformerLens's pos_slice: an int, a list of them, (start, stop[, step]) or its Slice.

    The axis stays, as it does there unless the int comes wrapped in a ``Slice``.

    Raises:
        SiteError: It is something else.
    """
    if value is None:
        return None
    try:
        inner = Slice.unwrap(value).slice
    except (TypeError, ValueError) as error:
        raise SiteError(
            f"pos_slice={value!r} is not understood; give an int, a list of ints, (start, stop) or "
            "(start, stop, step)"
        ) from error
    if isinstance(inner, slice):
        return inner
    array = np.atleast_1d(inner)
    index = np.flatnonzero(array) if array.dtype == bool else array
    return [int(column) for column in index]


def next_token_loss(
    logits: Float[Tensor, "batch pos d_vocab"],
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch _"] | None,
    *,
    per_token: bool,
) -> Float[Tensor, "..."]:
    """Next-token loss in nats; predictions from or of padding do not count.

    Raises:
        TokenizationError: The ids do not fit the logits, or every text is a single token, which
            leaves nothing to predict.
    """
    ids, _ = from_ids(ids, None, d_vocab=logits.shape[-1])
    if ids.shape != logits.shape[:2]:
        raise TokenizationError(
            f"the loss needs the ids of the tokens that ran, {tuple(logits.shape[:2])}; found "
            f"{tuple(ids.shape)}"
        )
    target = ids[:, 1:].to(logits.device)
    loss = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), target, reduction="none")
    real = torch.ones_like(target, dtype=torch.bool)
    if mask is not None:
        mask = mask[:, -ids.shape[1] :]
        real = mask[:, 1:] & mask[:, :-1]
        loss = torch.where(real, loss, 0.0)
    if per_token:
        return loss
    if not bool(real.any()):
        raise TokenizationError(
            "the loss needs a next token to predict: give at least two tokens in a text"
        )
    return loss.mean() if mask is None else loss.sum() / real.sum()
