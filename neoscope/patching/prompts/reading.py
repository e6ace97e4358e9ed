"""Reading the prompts of one side, clean or corrupted, however they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from neoscope.errors import PatchingError, TokenizationError
from neoscope.indices import whole
from neoscope.tokens import Tokens

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True)
class Side:
    """Prompts of unequal length, without padding."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids of each prompt."""
    strings: tuple[tuple[str, ...], ...]
    """What each token stands for."""


def read_side(model: HookedGPTNeo, given: Any, name: str, *, prepend_bos: bool) -> Side:
    """Read a text, texts, a tokenized batch or token ids.

    Args:
        model: Its tokenizer reads texts and names ids; its shape bounds them.
        given: One prompt or several: str, Tokens, ids [pos] or [pairs, pos], or lists of ids of
            unequal length; arrays and series too.
        name: ``"clean"`` or ``"corrupted"``, for errors.
        prepend_bos: For texts: put the beginning-of-text token first.

    Raises:
        PatchingError: It is none of these, or there is no prompt.
        TokenizationError: A prompt is empty, too long or has ids outside the vocabulary.
    """
    if hasattr(given, "clean") and hasattr(given, "corrupted"):
        raise PatchingError(
            f"{name} is a {type(given).__name__}, which holds both sides; give its prompts: "
            "pairs.clean, pairs.corrupted"
        )
    tokens = None
    if isinstance(given, Tokens):
        tokens = given
    else:
        items = plain(given)
        if isinstance(items, str):
            items = [items]
        _check_kind(items, name)
        if isinstance(items[0], str):
            tokens = _tokenized(model, items, name, prepend_bos)
    if tokens is not None:
        rows = [
            tuple(ids[real].tolist()) for ids, real in zip(tokens.ids, tokens.mask, strict=True)
        ]
        strings = tokens.strings
    else:
        rows, strings = _id_rows(items, name), ()
    if prepend_bos and (tokens is None or tokens is given):
        raise PatchingError(
            f"prepend_bos=True is for texts, but {name} holds token ids; put the "
            "beginning-of-text token's id first in every row instead"
        )
    _check_rows(model, rows, name)
    return Side(tuple(rows), strings or token_strings(model, rows))


def plain(given: Any) -> Any:
    """Return arrays, tensors, series and tuples as lists; anything else as it is.

    Raises:
        PatchingError: A tensor or array of real numbers, which cannot be token ids.
    """
    if isinstance(given, str):
        return str(given)
    if isinstance(given, Tensor) and (given.is_floating_point() or given.is_complex()):
        raise PatchingError(
            f"token ids must be whole numbers; found a tensor {tuple(given.shape)} of {given.dtype}"
        )
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(given, method):
            return getattr(given, method)()
    if isinstance(given, Sequence | range) and not isinstance(given, bytes):
        return list(given)
    return given


def _check_kind(items: Any, name: str) -> None:
    if not isinstance(items, list):
        raise PatchingError(
            f"{name} is {type(items).__name__}: {items!r}; expected a text, texts, token ids or "
            "Tokens"
        )
    if not items:
        raise PatchingError(f"{name} has no prompts: it is empty")
    texts = [isinstance(item, str) for item in items]
    if any(texts) and not all(texts):
        k = texts.index(not texts[0])
        raise PatchingError(
            f"{name}: prompt {k} is {type(items[k]).__name__} ({items[k]!r}), prompt 0 is "
            f"{type(items[0]).__name__}; give texts or token ids, not both"
        )


def _tokenized(model: HookedGPTNeo, texts: list[str], name: str, prepend_bos: bool) -> Tokens:
    try:
        return model.tokenize(
            [str(text) for text in texts], prepend_bos=prepend_bos, padding_side="left"
        )
    except TokenizationError as error:
        raise TokenizationError(f"{name}: {error}") from error


def _id_rows(items: list[Any], name: str) -> list[tuple[int, ...]]:
    if whole(items[0]) is not None:
        items = [items]
    rows = []
    for k, item in enumerate(items):
        ids = plain(item)
        numbers = [whole(x) for x in ids] if isinstance(ids, list) else [None]
        if any(number is None for number in numbers):
            bad = ids[numbers.index(None)] if isinstance(ids, list) else ids
            raise PatchingError(
                f"{name}: prompt {k} should be a list of token ids; found {bad!r} "
                f"({type(bad).__name__})"
            )
        rows.append(tuple(number for number in numbers if number is not None))
    return rows


def _check_rows(model: HookedGPTNeo, rows: Sequence[Sequence[int]], name: str) -> None:
    c = model.config
    for k, row in enumerate(rows):
        if not row:
            raise TokenizationError(f"{name}: prompt {k} has no tokens")
        if len(row) > c.n_ctx:
            raise TokenizationError(
                f"{name}: prompt {k} has {len(row)} tokens, but the model's context is {c.n_ctx}"
            )
        bad = [i for i, token in enumerate(row) if not 0 <= token < c.d_vocab]
        if bad:
            raise TokenizationError(
                f"{name}: prompt {k} has token id {row[bad[0]]} at position {bad[0]}; ids run from "
                f"0 to {c.d_vocab - 1}"
            )


def token_strings(
    model: HookedGPTNeo, rows: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], ...]:
    """Return what each id stands for, or the ids themselves where the model has no tokenizer.

    Args:
        model: The model.
        rows: Token ids of each prompt.
    """
    distinct = sorted({token for row in rows for token in row})
    names = {token: str(token) for token in distinct}
    if model.tokenizer is not None:
        for token in distinct:
            text = model.tokenizer.decode([token], clean_up_tokenization_spaces=False)
            names[token] = str(text) or str(token)
    return tuple(tuple(names[token] for token in row) for row in rows)
