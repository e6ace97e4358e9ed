"""Texts for head scores as rectangles of tokens: cut to the context, batched by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neoscope.batching import length_batches
from neoscope.errors import AnalysisError
from neoscope.inputs import is_text
from neoscope.tokenization import tokenize
from neoscope.tokens import Tokens, from_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_GROUP = 256
_ANY_LENGTH = 1 << 40
_PATTERN_VALUES = 1 << 25
"""Most values of one layer's pattern at once: 128 MiB in float32."""


def beginning_of_text(model: HookedGPTNeo) -> int:
    """Return the id of the token that may stand before a text.

    Raises:
        AnalysisError: The model has none.
    """
    found = _bos(model)
    if found is None:
        raise AnalysisError(
            "prepend_bos=True, but the model has no beginning-of-text token in its vocabulary of "
            f"{model.config.d_vocab}"
        )
    return found


def has_beginning_of_text(model: HookedGPTNeo) -> bool:
    """Whether there is a token that may stand before a text."""
    return _bos(model) is not None


def _bos(model: HookedGPTNeo) -> int | None:
    found = model.config.bos_token_id if model.tokenizer is None else model.tokenizer.bos_token_id
    return found if isinstance(found, int) and 0 <= found < model.config.d_vocab else None


@dataclass
class Batch:
    """Some texts of like length."""

    ids: Int[Tensor, "text pos"]
    mask: Bool[Tensor, "text pos"]


@dataclass
class Corpus:
    """Texts as rows of token ids, read a few at a time."""

    model: HookedGPTNeo
    texts: Any
    bos: int | None
    """Put before every piece of a text, if not None."""
    batch_tokens: int
    n_short: int = field(default=0, init=False)
    """Texts of a single token, what is put before counted: no query has a choice."""
    n_cut: int = field(default=0, init=False)
    """Texts that were longer than the context, and came in pieces."""

    def __post_init__(self) -> None:
        """Look at what was given.

        Raises:
            AnalysisError: There are no texts, or ``batch_tokens`` is no size.
        """
        if isinstance(self.texts, str):
            self.texts = [self.texts]
        if not isinstance(self.texts, Tokens | Tensor | Sequence):
            self.texts = list(self.texts) if hasattr(self.texts, "__iter__") else self.texts
        sized = hasattr(self.texts, "ids") or hasattr(self.texts, "__len__")
        if not sized:
            raise AnalysisError(
                f"texts is {type(self.texts).__name__}; expected texts or token ids"
            )
        if len(self) == 0:
            raise AnalysisError("texts is empty: there is nothing to measure heads on")

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts.ids if isinstance(self.texts, Tokens) else self.texts)

    def __iter__(self) -> Iterator[tuple[int, list[Batch]]]:
        """Iterate over groups of texts: how many, and their batches."""
        if not isinstance(self.texts, Tokens) and is_text(self.texts):
            # A tokenizer of its own says what is wrong with a text, and which.
            tokenizer = self.model._need_tokenizer()
            for start in range(0, len(self.texts), _GROUP):
                some = self.texts[start : start + _GROUP]
                tokens = tokenize(tokenizer, some, n_ctx=_ANY_LENGTH)
                yield len(some), self._batches(_rows(tokens.ids, tokens.mask))
            return
        if isinstance(self.texts, Tokens):
            ids, mask = self.texts.ids, self.texts.mask
        else:
            ids, _ = from_ids(self.texts, None, d_vocab=self.model.config.d_vocab)
            mask = torch.ones_like(ids, dtype=torch.bool)
        rows = _rows(ids.cpu(), mask.cpu())
        yield len(rows), self._batches(rows)

    def _batches(self, rows: list[Tensor]) -> list[Batch]:
        before = int(self.bos is not None)
        room = self.model.config.n_ctx - before
        if before + room < 2 or not room:
            raise AnalysisError(
                f"no query has a choice of keys in a context of {self.model.config.n_ctx}"
            )
        pieces: list[Tensor] = []
        for row in rows:
            self.n_short += before + len(row) < 2
            self.n_cut += len(row) > room
            n = max(1, -(-len(row) // room))
            # As even as can be, so that no piece is a rest of a token or two.
            pieces += [piece for piece in row.tensor_split(n) if before + len(piece) > 1]
        if self.bos is not None:
            first = torch.tensor([self.bos])
            pieces = [torch.cat([first, piece]) for piece in pieces]
        return batches(pieces, self.batch_tokens, self.model.config.n_heads)


def _rows(ids: Tensor, mask: Tensor) -> list[Tensor]:
    return [row[real] for row, real in zip(ids, mask, strict=True)]


def batches(rows: Sequence[Tensor], batch_tokens: int, n_heads: int) -> list[Batch]:
    """Return rows of tokens in right-padded batches of like length.

    Args:
        rows: Token ids of each.
        batch_tokens: Most tokens of a batch, padding counted.
        n_heads: Heads of a layer: what their patterns take is limited too.
    """
    found = []
    for picked in length_batches([len(row) for row in rows], batch_tokens, padded=True):
        longest = len(rows[picked[0]])
        most = max(1, _PATTERN_VALUES // (n_heads * longest * longest))
        for start in range(0, len(picked), most):
            some = [rows[i] for i in picked[start : start + most]]
            lengths = torch.tensor([len(row) for row in some])
            ids = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
            found.append(Batch(ids, torch.arange(ids.shape[1])[None] < lengths[:, None]))
    return found
