"""Text to tokens, with any transformers tokenizer; nothing is added or cut unasked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope.errors import TokenizationError
from neoscope.tokens import Side, Tokens
from neoscope.unseen import unseen_ids, warn_of_unknown, warn_of_unseen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    text: str | Sequence[str],
    *,
    n_ctx: int,
    prepend_bos: bool = False,
    padding_side: Side = "right",
    truncate: bool = False,
) -> Tokens:
    """Tokenize texts into one padded batch.

    Warns with ``UnseenWordWarning`` of words that the model's training never showed, where the
    tokenizer's files say which tokens those are, and of words that it reads as unknown.

    Args:
        tokenizer: A transformers tokenizer.
        text: One text or several.
        n_ctx: Longest allowed number of tokens.
        prepend_bos: Put the tokenizer's beginning-of-text token first; GPT-Neo was trained without.
        padding_side: Where shorter texts are filled up; the model gives the same numbers for both.
        truncate: Cut what is longer than ``n_ctx``, on the right; the record counts what was cut.

    Raises:
        TokenizationError: No text, an empty text, a text that is too long, or not a string.
    """
    if padding_side not in ("left", "right"):
        raise TokenizationError(f"padding_side is {padding_side!r}; expected 'left' or 'right'")
    texts = _texts(text)
    bos = _bos(tokenizer) if prepend_bos else None
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
    rows = [list(ids) for ids in encoded["input_ids"]]
    spans = (
        [[(int(a), int(b)) for a, b in row] for row in encoded["offset_mapping"]] if fast else []
    )
    room = n_ctx - (bos is not None)
    cut = [max(0, len(ids) - room) for ids in rows]
    for row, ids in enumerate(rows):
        if not ids and bos is None:
            raise TokenizationError(
                f"text {row} is empty: {texts[row]!r} gives no tokens; write something, or begin "
                "it with the beginning-of-text token: prepend_bos=True"
            )
        if cut[row] and not truncate:
            raise TokenizationError(
                f"text {row} ({_excerpt(texts[row])}) has {len(ids) + (bos is not None)} tokens, "
                f"but the model's context is {n_ctx}; truncate=True keeps the first {n_ctx}"
            )
    rows = [ids[:room] for ids in rows]
    strings = [_strings(tokenizer, ids) for ids in rows]
    spans = [span[:room] for span in spans]
    warn_of_unseen(tokenizer, rows, strings)
    warn_of_unknown(tokenizer, texts, rows)
    if bos is not None:
        name, index = bos
        rows = [[index, *ids] for ids in rows]
        strings = [[name, *row] for row in strings]
        spans = [[(0, 0), *span] for span in spans]
    padded, mask = _pad(rows, padding_side, _filler(tokenizer))
    return Tokens(
        ids=padded,
        mask=mask,
        strings=tuple(tuple(row) for row in strings),
        offsets=tuple(tuple(row) for row in spans),
        texts=tuple(texts),
        added=(bos[0],) if bos else (),
        truncated=tuple(cut),
        padding_side=padding_side,
    )


def _texts(text: str | Sequence[str]) -> list[str]:
    """Check what should be one text or several."""
    if isinstance(text, str):
        texts = [text]
    elif isinstance(text, bytes | Mapping) or not isinstance(text, Iterable):
        raise TokenizationError(f"the text is {type(text).__name__}, not a string: {text!r}")
    else:
        texts = list(text)
    if not texts:
        raise TokenizationError("no text was given: the list is empty")
    for row, item in enumerate(texts):
        if not isinstance(item, str):
            raise TokenizationError(f"text {row} is {type(item).__name__}, not a string: {item!r}")
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise TokenizationError(
                f"text {row} is not valid Unicode: character {error.start} is the lone surrogate "
                f"{item[error.start]!r}, as of a byte that could not be decoded"
            ) from error
    return texts


def _excerpt(text: str) -> str:
    """Return the beginning of a text, for errors."""
    return repr(text if len(text) <= 24 else text[:20] + "...")


def _strings(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Each token as text; a token that is part of a character shows the replacement character."""
    return [str(tokenizer.decode([i], clean_up_tokenization_spaces=False)) for i in ids]


def _bos(tokenizer: PreTrainedTokenizerBase) -> tuple[str, int]:
    if tokenizer.bos_token is None or tokenizer.bos_token_id is None:
        raise TokenizationError(
            "prepend_bos=True, but the tokenizer has no beginning-of-text token"
        )
    return str(tokenizer.bos_token), int(tokenizer.bos_token_id)


def _filler(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id for padding columns: any valid one does, since padding is masked.

    A checkpoint's own pad token may lie outside its embedding, so the end-of-text token is used.
    """
    return int(tokenizer.eos_token_id) if isinstance(tokenizer.eos_token_id, int) else 0


def _pad(rows: list[list[int]], side: Side, filler: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), filler, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = True
    return ids, mask


def load_tokenizer(folder: str) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer beside a checkpoint, or None where there is none.

    No code that a folder may hold is ever run.

    Raises:
        TokenizationError: There are tokenizer files, but they cannot be read.
    """
    from pathlib import Path

    names = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
    found = [name for name in names if (Path(folder) / name).is_file()]
    if not set(found) - {"merges.txt"}:
        return None
    from transformers import AutoTokenizer, GPT2Tokenizer

    # AutoTokenizer wants a model_type in config.json, which the oldest checkpoints lack.
    untold = "tokenizer_config.json" not in found and {"vocab.json", "merges.txt"} <= set(found)
    kind: Any = GPT2Tokenizer if untold else AutoTokenizer
    try:
        tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise TokenizationError(
            f"cannot read the tokenizer in {folder} (found {', '.join(found)}): {error}"
        ) from error
    # Without its files, transformers makes a tokenizer that silently drops every character.
    if len(tokenizer.get_vocab()) <= len(tokenizer.added_tokens_decoder):
        raise TokenizationError(
            f"the tokenizer in {folder} has no words: found {', '.join(found)}; looked for "
            "tokenizer.json, or vocab.json with merges.txt. Add them, or remove "
            "tokenizer_config.json and give token ids"
        )
    unseen_ids(tokenizer)  # What cannot be understood is told now, not at the first text.
    return tokenizer
