"""What a text is generated from: texts, token ids or a tokenized batch, brought to one side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neoscope.errors import GenerationError
from neoscope.inputs import is_text
from neoscope.tokenization import tokenize
from neoscope.tokens import Tokens, from_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_NO_LIMIT = 1 << 40
"""Whether a prompt is too long is said here, in words about generating."""


@dataclass(frozen=True)
class Prompts:
    """A checked batch; padding stands on the left, so that new tokens join every row's end."""

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"] | None
    """True where a token is real; None when all are."""
    texts: tuple[str, ...] | None
    """As they were given; None for token ids."""
    kind: str
    """How they came: ``"text"``, ``"texts"`` or ``"tokens"``."""

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        if self.mask is None:
            return [self.ids.shape[1]] * len(self.ids)
        return [int(n) for n in self.mask.sum(1)]


def read(
    model: HookedGPTNeo, inputs: Any, attention_mask: Any, *, prepend_bos: bool = False
) -> Prompts:
    """Check prompts and push their padding to the left.

    Args:
        model: Whose context and vocabulary they must fit.
        inputs: A text, texts, token ids, :class:`Tokens`, or None for the beginning-of-text token.
        attention_mask: For token ids: 1 where a token is real.
        prepend_bos: For texts: put the beginning-of-text token first.

    Raises:
        TokenizationError: No tokenizer, no tokens, or tokens that do not fit the vocabulary.
        GenerationError: A prompt leaves no room in the context, or a mask where none is due.
    """
    texts: tuple[str, ...] | None = None
    kind, mask = "tokens", attention_mask
    if inputs is None:
        inputs = [[_beginning(model)]]
    elif is_text(inputs):
        if attention_mask is not None:
            raise GenerationError("attention_mask is for token ids; texts are padded here")
        kind = "text" if isinstance(inputs, str) else "texts"
        inputs = _tokenize(model, inputs, prepend_bos)
    elif prepend_bos:
        raise GenerationError("prepend_bos=True is for texts; token ids are taken as they are")
    if isinstance(inputs, Tokens):
        mask = inputs.mask if mask is None else mask
        texts = inputs.texts or None
        inputs = inputs.ids
    ids, real = from_ids(inputs, mask, d_vocab=model.config.d_vocab)
    ids = ids.to(model.device)
    prompts = Prompts(*_left(ids, None if real is None else real.to(model.device)), texts, kind)
    _check_room(prompts, model.config.n_ctx)
    return prompts


def _tokenize(model: HookedGPTNeo, texts: Any, prepend_bos: bool) -> Tokens:
    if model.tokenizer is None:
        model.tokenize(texts)  # says what is missing
    assert model.tokenizer is not None
    return tokenize(
        model.tokenizer, texts, n_ctx=_NO_LIMIT, prepend_bos=prepend_bos, padding_side="left"
    )


def _beginning(model: HookedGPTNeo) -> int:
    if model.config.bos_token_id is None:
        raise GenerationError("`bos_token_id` has to be defined when no `input_ids` are provided.")
    return model.config.bos_token_id


def _left(ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if mask is None:
        return ids, None
    if mask.shape != ids.shape:
        raise GenerationError(
            f"attention_mask has shape {tuple(mask.shape)}; the tokens have {tuple(ids.shape)}"
        )
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise GenerationError(f"attention_mask has no real token in row(s) {empty}")
    if bool(mask.all()):
        return ids, None
    order = torch.sort(mask.to(torch.int8), dim=1, stable=True).indices
    return ids.gather(1, order), mask.gather(1, order)


def _check_room(prompts: Prompts, n_ctx: int) -> None:
    for row, length in enumerate(prompts.lengths):
        if length >= n_ctx:
            raise GenerationError(
                f"prompt {row} has {length} tokens, and the model's context is {n_ctx}: there is "
                f"no room for a new token; cut it to {n_ctx - 1} tokens or fewer"
            )
