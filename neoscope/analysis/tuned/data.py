"""Texts to train a lens on: as pieces of token ids, in an order that only the seed decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.analysis.texts import given_texts
from neoscope.errors import AnalysisError, TokenizationError
from neoscope.indices import whole
from neoscope.inputs import is_text
from neoscope.packed import Packed
from neoscope.recorder import Recorder
from neoscope.sites import resolve
from neoscope.tokens import Tokens, from_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

Ids = NDArray[np.int64]
_BLOCK = 1024
_TENTH = 10


@dataclass(frozen=True, eq=False)
class Pieces:
    """Texts as ids, none longer than the model's context."""

    ids: tuple[Ids, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of all."""
        return sum(map(len, self.ids))

    def digest(self) -> str:
        """Return 32 hexadecimal digits of SHA-256 over the ids, in their order."""
        found = hashlib.sha256()
        for piece in self.ids:
            found.update(len(piece).to_bytes(8, "little") + piece.astype("<i8").tobytes())
        return found.hexdigest()[:32]

    def split(self, held_out: int, seed: int) -> tuple[Pieces, Pieces]:
        """Return what to train on, and what to judge by.

        Args:
            held_out: Tokens to keep back at least, but not more than a tenth of the texts.
            seed: Which.
        """
        order = np.random.default_rng([seed, 0]).permutation(len(self.ids))
        kept: set[int] = set()
        n = 0
        for index in order[: len(order) // _TENTH].tolist():
            if n >= held_out:
                break
            kept.add(index)
            n += len(self.ids[index])
        parts = [[], []]  # type: list[list[Ids]]
        for index, piece in enumerate(self.ids):
            parts[index in kept].append(piece)
        return Pieces(tuple(parts[0])), Pieces(tuple(parts[1]))

    def batches(self, batch_tokens: int, seed: int, epoch: int) -> list[list[Ids]]:
        """Return an epoch's batches, in an order of its own.

        Args:
            batch_tokens: Most tokens of each; a longer text is a batch of its own.
            seed: Of the order.
            epoch: Counted from 0.
        """
        order = np.random.default_rng([seed, epoch + 1]).permutation(len(self.ids))
        out: list[list[Ids]] = []
        room = 0
        for index in order:
            piece = self.ids[index]
            if not out or len(piece) > room:
                out.append([])
                room = batch_tokens
            out[-1].append(piece)
            room -= len(piece)
        return out

    def stream(
        self, batch_tokens: int, seed: int, start: int, steps: int
    ) -> Iterator[tuple[int, list[Ids]]]:
        """Yield the number and the texts of each step from ``start`` on, epoch after epoch."""
        step = epoch = 0
        while step < steps:
            batches = self.batches(batch_tokens, seed, epoch)
            for batch in batches[max(0, start - step) : steps - step]:
                yield max(step, start), batch
                start = max(step, start) + 1
            step, epoch = step + len(batches), epoch + 1


def read_pieces(
    model: HookedGPTNeo, texts: Any, *, prepend_bos: bool = False, what: str = "train a lens on"
) -> Pieces:
    """Read texts; one longer than the context is cut into several.

    Args:
        model: Its tokenizer and context.
        texts: One text or several; rows of token ids; or what ``model.tokenize`` gave.
        prepend_bos: For texts: put the beginning-of-text token first.
        what: For errors: what the texts are for.

    Raises:
        AnalysisError: There is nothing to read, or something else than texts was given.
        TokenizationError: The model has no tokenizer, or ids mean nothing.
    """
    n_ctx = model.config.n_ctx
    texts = given_texts(texts, "TunedLens")
    if isinstance(texts, list) and not texts:
        raise AnalysisError(f"the corpus is empty: there are no texts to {what}")
    rows = _encoded(model, texts, prepend_bos) if is_text(texts) else _rows(model, texts)
    pieces = [row[i : i + n_ctx] for row in rows for i in range(0, len(row), n_ctx)]
    if not pieces:
        raise AnalysisError(f"the corpus is empty: the texts to {what} have no tokens")
    return Pieces(tuple(pieces))


def _encoded(model: HookedGPTNeo, texts: Any, prepend_bos: bool) -> Iterator[Ids]:
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise TokenizationError("this model has no tokenizer, which text needs; give token ids")
    texts = [texts] if isinstance(texts, str) else texts
    bos = [] if not prepend_bos else [model.config.bos_token_id]
    if bos == [None]:
        raise TokenizationError("prepend_bos=True, but the model has no beginning-of-text token")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TokenizationError(f"text {row} is {type(text).__name__}, not a string")
    for start in range(0, len(texts), _BLOCK):
        some = texts[start : start + _BLOCK]
        for ids in tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]:
            if ids:  # A blank line is no text, and no mistake in a corpus.
                yield np.array([*bos, *ids], np.int64)


def _rows(model: HookedGPTNeo, texts: Any) -> list[Ids]:
    if isinstance(texts, Tokens):
        pairs = zip(texts.ids.cpu(), texts.mask.cpu(), strict=True)
        return [ids[mask].numpy() for ids, mask in pairs]
    if isinstance(texts, Tensor):
        return list(from_ids(texts, None, d_vocab=model.config.d_vocab)[0].cpu().numpy())
    several = texts if whole(texts[0]) is None else [texts]
    return [from_ids(row, None, d_vocab=model.config.d_vocab)[0][0].numpy() for row in several]


def streams(model: HookedGPTNeo, batch: list[Ids]) -> list[Tensor]:
    """Return the stream at every depth, each [token, d_model]; the last is the output's.

    Args:
        model: Run once, on the texts one after another without padding.
        batch: The texts.
    """
    config = model.config
    names = [resolve(config, "resid_pre", 0)]
    names += [resolve(config, "resid_post", layer) for layer in range(config.n_layers)]
    recorder = Recorder({ref.name: ref for ref in names})
    ids = torch.from_numpy(np.concatenate(batch)).to(model.device)
    with torch.no_grad():
        packed = Packed([len(piece) for piece in batch], model.device)
        model(ids[None], return_type=None, _visibility=packed, _record=recorder)
    return [recorder.tensors[ref.name][0] for ref in names]
