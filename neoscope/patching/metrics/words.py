"""Answers as token ids: words or ids, one for all pairs or one for each."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.indices import whole
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.prompts.reading import plain
from neoscope.unseen import UnseenWordWarning, levels_to_caller, warn_of_unseen

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


class MissingSpaceWarning(UserWarning):
    """An answer is another token than the word that follows the prompts."""


def answer_ids(
    model: HookedGPTNeo, given: Any, n_pairs: int, argument: str
) -> Int[Tensor, "pairs"]:
    """Return one token id for each pair.

    Args:
        model: Its tokenizer reads words.
        given: A word, an id, or one of either for each pair; arrays and series too.
        n_pairs: How many pairs there are.
        argument: Named in errors.

    Raises:
        PatchingError: Not one for each pair, a word that is not exactly one token (its tokens are
            shown), or an id outside the vocabulary.
    """
    items = plain(given)
    several = isinstance(items, list)
    items = items if several else [items]
    if several and len(items) not in (1, n_pairs):
        raise PatchingError(
            f"{argument} has {len(items)} entries, but there are {n_pairs} pairs; give one for "
            "all, or one for each"
        )
    distinct = list(dict.fromkeys(item for item in items if isinstance(item, str)))
    known = dict(zip(distinct, _word_ids(model, distinct, argument), strict=True))
    out = [
        known[item] if isinstance(item, str) else _id(model, item, argument, k)
        for k, item in enumerate(items)
    ]
    return torch.tensor(out * (n_pairs if len(out) == 1 else 1), dtype=torch.long)


def _id(model: HookedGPTNeo, item: Any, argument: str, k: int) -> int:
    number = whole(item)
    if number is None:
        nested = " (one answer for each pair)" if isinstance(item, list) else ""
        raise PatchingError(
            f"{argument}: entry {k} is {item!r} ({type(item).__name__}); expected a word or a "
            f"token id{nested}"
        )
    if not 0 <= number < model.config.d_vocab:
        raise PatchingError(
            f"{argument}: entry {k} is token id {number}; ids run from 0 to "
            f"{model.config.d_vocab - 1}"
        )
    return number


def _word_ids(model: HookedGPTNeo, words: list[str], argument: str) -> list[int]:
    if not words:
        return []
    if "" in words:
        raise PatchingError(f"{argument} is an empty word; give a word or a token id")
    if model.tokenizer is None:
        raise PatchingError(
            f"{argument}={words[0]!r} is a word, but {model.cfg.model_name!r} has no tokenizer; "
            "give token ids"
        )
    with warnings.catch_warnings():
        # A word of several pieces is refused below, which says more.
        warnings.simplefilter("ignore", UnseenWordWarning)
        tokens = model.tokenize([str(word) for word in words])
    for word, strings in zip(words, tokens.strings, strict=True):
        if len(strings) != 1:
            other = _respelled(model, word)
            hint = "give its first token, or another word of one token"
            if other is not None:
                hint = f"{other[0]!r} is one (a word inside a text begins with a space)"
            raise PatchingError(
                f"{argument}={word!r} is {len(strings)} tokens: {' | '.join(map(repr, strings))}; "
                f"an answer must be one token: {hint}"
            )
    ids = [int(i) for i in tokens.ids[:, 0].tolist()]
    unknown = model.tokenizer.unk_token_id
    for word, i in zip(words, ids, strict=True):
        # GPT-2's unknown token is its end of text, which is also a word of its own.
        if i == unknown and word.strip() != model.tokenizer.unk_token:
            raise PatchingError(
                f"{argument}={word!r} is no word of {model.cfg.model_name!r}: its tokenizer reads "
                f"{model.tokenizer.unk_token!r} (unknown)"
            )
    warn_of_unseen(model.tokenizer, [[i] for i in ids], [list(row) for row in tokens.strings])
    return ids


def _respelled(model: HookedGPTNeo, word: str) -> tuple[str, int] | None:
    """Return the word with a space before, or without, where that is one token, and its id."""
    assert model.tokenizer is not None
    other = word[1:] if word.startswith(" ") else f" {word}"
    if not other.strip():
        return None
    found = model.tokenizer(other, add_special_tokens=False)["input_ids"]
    known = len(found) == 1 and found[0] != model.tokenizer.unk_token_id
    return (other, int(found[0])) if known else None


def warn_of_missing_space(model: HookedGPTNeo, given: Any, prompts: Prompts, argument: str) -> None:
    """Warn of an answer that cannot follow the prompts, since the space before it is missing.

    Args:
        model: Its tokenizer reads words.
        given: As for :func:`answer_ids`, all found to be single tokens.
        prompts: What the answer should continue.
        argument: Named in the warning.
    """
    items = plain(given)
    words = {item for item in (items if isinstance(items, list) else [items]) if item}
    if any(row[-1][-1:].isspace() for row in prompts.clean_strings):
        return
    for word in sorted(item for item in words if isinstance(item, str) and item[0].isalnum()):
        other = _respelled(model, word)
        if other is not None and other[1] != model.to_single_token(word):
            warnings.warn(
                f"{argument}={word!r} has no space before it, but a word that follows the prompts "
                f"does: {other[0]!r} is another token ({other[1]})",
                MissingSpaceWarning,
                stacklevel=levels_to_caller(sys._getframe()),
            )
            return
