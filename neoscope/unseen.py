"""Words that a model cannot know: text whose tokens its training never showed.

A checkpoint says so itself, in its ``tokenizer_config.json``; transformers keeps what it does not
know, so that the same file serves both::

    "neoscope": {"unseen_token_ids": [[1, 11], [13, 13]]}
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from neoscope.errors import TokenizationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_NAMED = 5
# The warning names the line that gave the text, not what stands between it and the tokenizer.
_BETWEEN = ("neoscope", "torch", "jaxtyping", "beartype")


class UnseenWordWarning(UserWarning):
    """A text has words that the model's training never showed, or its tokenizer does not know."""


def statement(ids: Iterable[int]) -> dict[str, Any]:
    """Return what a ``tokenizer_config.json`` says of token ids that training never showed.

    Example:
        >>> statement([7, 1, 2, 3])
        {'neoscope': {'unseen_token_ids': [[1, 3], [7, 7]]}}
    """
    spans: list[list[int]] = []
    for i in sorted(set(ids)):
        if spans and i == spans[-1][1] + 1:
            spans[-1][1] = i
        else:
            spans.append([i, i])
    return {"neoscope": {"unseen_token_ids": spans}}


def unseen_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[range, ...]:
    """Return the token ids that training never showed, where the tokenizer's files say so.

    Raises:
        TokenizationError: They say something that cannot be understood.
    """
    said = getattr(tokenizer, "init_kwargs", {}).get("neoscope")
    spans = said.get("unseen_token_ids", []) if isinstance(said, dict) else said or []
    if not isinstance(spans, list) or not all(map(_is_span, spans)):
        raise TokenizationError(
            f"tokenizer_config.json: neoscope is {said!r}; expected unseen_token_ids, a list of "
            "[first, last]"
        )
    return tuple(range(first, last + 1) for first, last in spans)


def _is_span(span: object) -> bool:
    return (
        isinstance(span, list)
        and len(span) == 2
        and all(isinstance(i, int) and not isinstance(i, bool) for i in span)
        and 0 <= span[0] <= span[1]
    )


def warn_of_unseen(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[list[int]],
    strings: Sequence[list[str]],
    *,
    numbers: Sequence[int] | None = None,
) -> None:
    """Warn once, naming the words of all texts that the model cannot know.

    Args:
        tokenizer: Its files may say which tokens training never showed.
        rows: Token ids of each text.
        strings: What each of them stands for.
        numbers: What each text is called; None to count from 0.
    """
    unseen = unseen_ids(tokenizer)
    if not unseen:
        return
    words = [
        {str(tokenizer.decode(run)): len(run) for run in _runs(ids, parts, unseen)}
        for ids, parts in zip(rows, strings, strict=True)
    ]
    _warn(words, numbers, lambda n: f"piece by piece ({n} tokens), which training never showed")


def warn_of_unknown(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str | None],
    rows: Sequence[Sequence[int]],
    *,
    numbers: Sequence[int] | None = None,
) -> bool:
    """Warn once of words that a tokenizer reads as the one token that stands for the unknown.

    GPT-2's tokenizer has none: it knows every byte. Which words they are, fast tokenizers tell.

    Args:
        tokenizer: Any.
        texts: What was read; None where nothing was.
        rows: Token ids of each, without what was put before.
        numbers: What each text is called; None to count from 0.

    Returns:
        Whether there were any.
    """
    unknown, name = tokenizer.unk_token_id, tokenizer.unk_token
    if unknown is None or not getattr(tokenizer, "is_fast", False):
        return False
    words: list[dict[str, int]] = [{} for _ in texts]
    for found, text, ids in zip(words, texts, rows, strict=True):
        # The token may be written out, as <|endoftext|> is.
        if text is None or ids.count(unknown) <= text.count(str(name)):
            continue
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = zip(ids, read["offset_mapping"], strict=False)
        parts = [text[start:stop].strip() for i, (start, stop) in spans if i == unknown]
        found |= {part: 1 for part in parts if part != name}
    return _warn(words, numbers, lambda _: f"as {name!r}")


def _warn(
    texts: Sequence[Mapping[str, int]], numbers: Sequence[int] | None, how: Callable[[int], str]
) -> bool:
    """Warn of words, if there are any.

    Args:
        texts: The words of each, and of how many tokens they are.
        numbers: What each text is called; None to count from 0.
        how: How they are read, from the number of their tokens.
    """
    named: list[str] = []
    found: dict[str, int] = {}
    for k, given in zip(range(len(texts)) if numbers is None else numbers, texts, strict=True):
        # A word is shown without the space before it, unless it is nothing but space.
        words = {word.strip() or word: n for word, n in given.items()}
        if new := [word for word in words if word not in found]:
            shown = new[: max(0, _MOST_NAMED - len(found))]
            named += [f"text {k}: {', '.join(map(repr, shown))}"] if shown else []
        found |= words
    if not found:
        return False
    more = f", and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    verb, word = ("is", "it is") if len(found) == 1 else ("are", "they are")
    said = f"{word} read {how(sum(found.values()))}"
    warnings.warn(
        f"{'; '.join(named)}{more} {verb} outside the vocabulary of this model; {said}",
        UnseenWordWarning,
        stacklevel=levels_to_caller(sys._getframe()),
    )
    return True


def _runs(ids: list[int], parts: list[str], unseen: Sequence[range]) -> list[list[int]]:
    """Return the ids of each word that is made of unseen tokens; a word begins at a space."""
    runs: list[list[int]] = []
    inside = False
    for i, part in zip(ids, parts, strict=True):
        if not any(i in span for span in unseen):
            inside = False
            continue
        if not inside or part[:1].isspace():
            runs.append([])
        runs[-1].append(i)
        inside = True
    return runs


def levels_to_caller(frame: FrameType) -> int:
    """Return the ``stacklevel``, seen from ``frame``, of the code that gave the text."""
    level = 1
    while frame.f_back and str(frame.f_globals.get("__name__")).split(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    return level
