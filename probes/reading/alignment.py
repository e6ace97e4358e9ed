"""Which sub-word tokens hold which characters: from spans of a text to ranges of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from neoscope.errors import ProbeError

Numbers = Int[np.ndarray, " _spans"]


def token_ranges(
    text: Numbers,
    start: Numbers,
    stop: Numbers,
    tokens: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    texts: Sequence[str],
    *,
    cut: bool = False,
    what: str = "text",
    unit: str = "span",
) -> tuple[Numbers, Numbers, Numbers]:
    """Return the tokens of each span: those that hold one of its characters.

    It does not matter whether offsets take in the space before a word, since a span does not. A
    token that holds characters of two spans belongs to both; one without characters, such as the
    beginning-of-text token, to none.

    Args:
        text: Text of each span.
        start: Its first character.
        stop: One past its last.
        tokens: Of each token its text, ascending, and its characters [start, stop).
        texts: The texts.
        cut: Whether texts were cut: spans that are not read to their end are left out.
        what: What a text is called in errors.
        unit: What a span is called in errors.

    Returns:
        The first token of each span, one past its last, and which spans these are.

    Raises:
        ProbeError: A span has no token, or tokens are not in the order of their text.
    """
    base = np.concatenate([[0], np.cumsum([len(one) + 1 for one in texts])]).astype(np.int64)
    owner, first, last = (np.asarray(part, np.int64) for part in tokens)
    first, last = first + base[owner], last + base[owner]
    for row in np.flatnonzero((np.diff(first) < 0) | (np.diff(last) < 0))[:1].tolist():
        raise ProbeError(
            f"{what} {int(owner[row])}: the tokenizer gives tokens out of the order of the text, "
            "which words cannot be aligned with"
        )
    begin = np.searchsorted(last, start + base[text], side="right")
    end = np.searchsorted(first, stop + base[text], side="left")
    n_tokens = np.searchsorted(owner, np.arange(len(texts)), side="right")
    final = n_tokens[text] - 1
    read_to = np.where(final >= 0, last[final], 0)
    # Of a text without tokens, the final token would be that of another.
    own = np.where(final >= 0, owner[final] == text, False)
    whole = own & (stop + base[text] <= read_to) if cut else np.ones(len(text), bool)
    for row in np.flatnonzero(whole & (begin >= end))[:1].tolist():
        word = texts[int(text[row])][int(start[row]) : int(stop[row])]
        raise ProbeError(
            f"{what} {int(text[row])}: {word!r:.60} at character {int(start[row])} has no token"
        )
    kept = np.flatnonzero(whole)
    if not len(kept):
        raise ProbeError(f"no {unit} is left: all stand where texts were cut")
    return begin[kept].astype(np.int64), end[kept].astype(np.int64), kept
