"""Places: where in a corpus an activation stands, with the words around it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from neoscope.analysis.neuron.corpus import Part
from neoscope.analysis.numbers import Array
from neoscope.analysis.words import vocabulary

UNIQUE = ("context", "token")


@dataclass(frozen=True)
class Place:
    """One token of one text, and its context."""

    text: Any
    """The text's id: its row, or what the corpus calls it."""
    position: int
    """In the text; an added beginning-of-text token counts."""
    token_id: int
    token: str
    before: str
    """The text before the token, as far as it is shown."""
    piece: str
    """The token as it stands in the text."""
    after: str


def places(part: Part, tokens: Iterable[int], context: int, tokenizer: Any) -> dict[int, Place]:
    """Return tokens of a part with their contexts, by their number in the corpus.

    Args:
        part: The texts.
        tokens: Which of the part's tokens.
        context: How many tokens are shown on each side.
        tokenizer: The model's.
    """
    encoded = part.encoded
    if encoded.offsets is None:
        return _of_ids(part, tokens, context, tokenizer)
    found = {}
    for token in tokens:
        row, at = int(encoded.text[token]), int(encoded.position[token])
        text, spans = part.texts[row] or "", encoded.offsets[row]
        token_id = int(encoded.ids[token])
        word = vocabulary([token_id], tokenizer)[0]
        first, last = max(0, at - context), min(len(spans), at + context + 1) - 1
        start, stop = spans[at]
        added = start == stop
        # Some tokenizers count the space before a word to its place, others do not.
        inner = text[start:stop].lstrip()
        start = stop - len(inner) if inner else start
        before = text[spans[first][0] : start] if at else ""
        if at and first == 0 and spans[0][0] == spans[0][1]:
            before = vocabulary([int(encoded.ids[encoded.first[row]])], tokenizer)[0] + before
        found[part.start + token] = Place(
            text=part.names[row],
            position=at,
            token_id=token_id,
            token=word,
            before=before,
            piece=word if added else text[start:stop],
            after=text[stop : spans[last][1]] if last > at else "",
        )
    return found


def _of_ids(part: Part, tokens: Iterable[int], context: int, tokenizer: Any) -> dict[int, Place]:
    """The same where tokens were given as ids: each stands for what it is by itself."""
    encoded = part.encoded
    found = {}
    for token in tokens:
        row, at = int(encoded.text[token]), int(encoded.position[token])
        start, stop = (int(x) for x in encoded.first[row : row + 2])
        near = encoded.ids[max(start, token - context) : min(stop, token + context + 1)].tolist()
        words = vocabulary(near, tokenizer)
        n = min(at, context)
        # Without a tokenizer words are numbers, which need something between them.
        gap = " " if tokenizer is None else ""
        before, after = gap.join(words[:n]), gap.join(words[n + 1 :])
        found[part.start + token] = Place(
            text=part.names[row],
            position=at,
            token_id=int(encoded.ids[token]),
            token=words[n],
            before=before + gap if before else "",
            piece=words[n],
            after=gap + after if after else "",
        )
    return found


def keys(
    part: Part, tokens: Int[np.ndarray, " token"], unique: str, context: int
) -> Int[np.ndarray, " token"]:
    """Return what makes tokens of a part count as one: their id, or it and the tokens before it.

    Args:
        part: The texts.
        tokens: Which of the part's tokens.
        unique: ``"token"``, or ``"context"``: the token and ``context`` tokens before it.
        context: How many.
    """
    encoded = part.encoded
    if unique == "token":
        return np.asarray(encoded.ids[tokens])
    starts = np.maximum(encoded.first[encoded.text[tokens]], tokens - context)
    return np.array([_hash(encoded.ids[a : b + 1]) for a, b in zip(starts, tokens, strict=True)])


def _hash(ids: Array) -> int:
    digest = hashlib.blake2b(ids.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
