"""Texts to token ids and to the windows that the model reads, with what is wrong with each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ArgumentError, TokenizationError
from neoscope.export.places import Places, places
from neoscope.export.spec import FeatureSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Offsets = list[list[tuple[int, int]]]


@dataclass(frozen=True)
class Encoded:
    """Texts as the model will read them; a text with a problem has no tokens."""

    ids: NDArray[np.int64]
    """Of all texts, one after another."""
    first: NDArray[np.int64]
    """[texts + 1]: where each text's tokens begin."""
    windows: NDArray[np.int64]
    """[windows, 4]: text, first token, one past the last, and the first that it is read for."""
    places: Places | None
    """Where in each text, for ``token`` and ``spans``."""
    offsets: Offsets | None
    """Characters [start, stop) of each token, by text."""
    problems: Mapping[int, str]
    """Text to what is wrong with it."""
    cut: Mapping[int, int]
    """Text to the number of tokens cut off."""

    @property
    def n_texts(self) -> int:
        """How many texts there are, those with problems included."""
        return len(self.first) - 1

    @functools.cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.first)

    @functools.cached_property
    def text(self) -> NDArray[np.int64]:
        """Text of each token."""
        return np.repeat(np.arange(self.n_texts), self.lengths)

    @functools.cached_property
    def position(self) -> NDArray[np.int64]:
        """Position of each token in its text."""
        return np.arange(len(self.ids)) - self.first[self.text]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str | None],
    spec: FeatureSpec,
    *,
    n_ctx: int,
    d_vocab: int,
    where: Sequence[Any] | None = None,
    problems: Mapping[int, str] | None = None,
) -> Encoded:
    """Tokenize texts and lay out what the model reads; no row raises, each has its problem.

    Args:
        tokenizer: The model's.
        texts: None where there is a problem already.
        spec: Lengths, and whether places are asked for.
        n_ctx: The model's context.
        d_vocab: Ids the model can embed.
        where: For ``token`` and ``spans``: what each row says.
        problems: Texts that are known to be bad, and why.

    Raises:
        ArgumentError: ``max_length`` is beyond the model's context.
        TokenizationError: The tokenizer lacks what the spec needs.
    """
    room = _room(spec, n_ctx)
    wrong = {i: "the text is null" for i, text in enumerate(texts) if text is None}
    wrong |= dict(problems or {})
    rows: list[list[int]] = [[] for _ in texts]
    given = [i for i in range(len(texts)) if i not in wrong]
    need_offsets = spec.by_token or where is not None
    if need_offsets and not getattr(tokenizer, "is_fast", False):
        raise TokenizationError("this needs character offsets, which only fast tokenizers give")
    spans: Offsets | None = [[] for _ in texts] if need_offsets else None
    if given:
        done = tokenizer(
            [str(texts[i]) for i in given],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=need_offsets,
            verbose=False,
        )
        for k, i in enumerate(given):
            rows[i] = done["input_ids"][k]
            if spans is not None:
                spans[i] = [(int(a), int(b)) for a, b in done["offset_mapping"][k]]
    if spec.prepend_bos:
        _prepend(tokenizer, rows, spans, given)
    cut = _fit(rows, spans, wrong, given, room, spec, d_vocab)
    found = None
    if where is not None and spans is not None:
        found = places(where, spans, spec, wrong, skip=int(spec.prepend_bos), cut=cut)
    for i, row in enumerate(rows):
        if i not in wrong and (said := _unselected(len(row), spec.positions)):
            wrong[i] = said
        if i in wrong:
            rows[i] = []
            cut.pop(i, None)
            if spans is not None:
                spans[i] = []
    first = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.fromiter((i for row in rows for i in row), np.int64, int(first[-1]))
    windows = _windows(np.diff(first), room, spec)
    return Encoded(ids, first, windows, found, spans, wrong, cut)


def encode_ids(
    rows: Sequence[Sequence[int]], spec: FeatureSpec, *, n_ctx: int, d_vocab: int
) -> Encoded:
    """Lay out texts that are token ids already, as :func:`encode` does; there are no offsets.

    Args:
        rows: The ids of each text.
        spec: Lengths.
        n_ctx: The model's context.
        d_vocab: Ids the model can embed.

    Raises:
        ArgumentError: ``max_length`` is beyond the model's context.
    """
    room = _room(spec, n_ctx)
    wrong: dict[int, str] = {}
    kept = [list(row) for row in rows]
    cut = _fit(kept, None, wrong, range(len(kept)), room, spec, d_vocab)
    kept = [[] if i in wrong else row for i, row in enumerate(kept)]
    first = np.concatenate([[0], np.cumsum([len(row) for row in kept])]).astype(np.int64)
    ids = np.fromiter((i for row in kept for i in row), np.int64, int(first[-1]))
    return Encoded(ids, first, _windows(np.diff(first), room, spec), None, None, wrong, cut)


def _room(spec: FeatureSpec, n_ctx: int) -> int:
    if spec.max_length is not None and spec.max_length > n_ctx:
        raise ArgumentError(f"max_length={spec.max_length} is beyond the model's context, {n_ctx}")
    room = spec.max_length or n_ctx
    if spec.overlap is not None and spec.overlap >= room:
        raise ArgumentError(f"overlap={spec.overlap} must be less than a window, {room}")
    if spec.truncation == "stride" and room < 2:
        raise ArgumentError("truncation='stride' needs windows of at least two tokens")
    return room


def _prepend(
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    spans: Offsets | None,
    given: Sequence[int],
) -> None:
    if not isinstance(tokenizer.bos_token_id, int):
        raise TokenizationError("prepend_bos=True, but the tokenizer has no such token")
    for i in given:
        rows[i] = [tokenizer.bos_token_id, *rows[i]]
        if spans is not None:
            spans[i] = [(0, 0), *spans[i]]


def _fit(
    rows: list[list[int]],
    spans: Offsets | None,
    wrong: dict[int, str],
    given: Sequence[int],
    room: int,
    spec: FeatureSpec,
    d_vocab: int,
) -> dict[int, int]:
    """Cut what is too long, or say so; returns how much was cut."""
    cut: dict[int, int] = {}
    for i in given:
        n = len(rows[i])
        if not n:
            wrong[i] = "the text is empty: it gives no tokens"
        elif max(rows[i]) >= d_vocab:
            wrong[i] = f"token id {max(rows[i])} is outside the model's vocabulary of {d_vocab}"
        elif n > room and spec.truncation == "error":
            wrong[i] = (
                f"the text has {n} tokens, more than {room}; truncation='truncate' cuts it, "
                "'stride' reads it in windows"
            )
        elif n > room and spec.truncation == "truncate":
            cut[i] = n - room
            rows[i] = rows[i][:room]
            if spans is not None:
                spans[i] = spans[i][:room]
    return cut


def _unselected(n: int, positions: Any) -> str:
    """What is wrong with positions for a text of ``n`` tokens, if anything."""
    has = f"the text has {n} token" + "s" * (n != 1)
    if isinstance(positions, slice):
        return "" if range(n)[positions] else f"{positions} selects no token: {has}"
    if positions is None or isinstance(positions, str):
        return ""
    missing = [position for position in positions if not -n <= position < n]
    return f"position {missing[0]} does not exist: {has}" if missing else ""


def _windows(lengths: NDArray[np.int64], room: int, spec: FeatureSpec) -> NDArray[np.int64]:
    """Return [windows, 4]; only ``truncation="stride"`` makes several of one text."""
    overlap = room // 2 if spec.overlap is None else spec.overlap
    out: list[tuple[int, int, int, int]] = []
    for text, n in enumerate(lengths.tolist()):
        start = 0
        while n:
            stop = min(start + room, n)
            out.append((text, start, stop, start + overlap if start else 0))
            if stop == n:
                break
            start = stop - overlap
    return np.array(out, np.int64).reshape(-1, 4)
