"""Tokens: ids with a mask, and the record of how they came; and checks of ids from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neoscope.errors import TokenizationError

Side = Literal["left", "right"]


@dataclasses.dataclass(frozen=True)
class Tokens:
    """A tokenized batch and everything there is to know about how it came to be."""

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    """True where a token is real, False where it is padding."""
    strings: tuple[tuple[str, ...], ...] = ()
    """What each real token stands for in its text, row by row."""
    offsets: tuple[tuple[tuple[int, int], ...], ...] = ()
    """Characters [start, stop) of the text for each real token; (0, 0) for an added one."""
    texts: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Special tokens put before each text because they were asked for; never silently."""
    truncated: tuple[int, ...] = ()
    """Tokens cut from each text."""
    padding_side: Side = "right"

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        return [int(n) for n in self.mask.sum(1)]

    def rows(self, index: slice | Sequence[int]) -> Tokens:
        """Return the record of some rows."""
        picked = range(len(self.ids))[index] if isinstance(index, slice) else index

        def take(items: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(items[i] for i in picked) if items else ()

        return dataclasses.replace(
            self,
            ids=self.ids[list(picked)],
            mask=self.mask[list(picked)],
            strings=take(self.strings),
            offsets=take(self.offsets),
            texts=take(self.texts),
            truncated=take(self.truncated),
        )

    def to(self, device: torch.device | str) -> Tokens:
        """Return the same record with ids and mask on ``device``."""
        return dataclasses.replace(self, ids=self.ids.to(device), mask=self.mask.to(device))

    def record(self) -> dict[str, Any]:
        """Return what a cache file keeps of it, as plain JSON values."""
        return {
            "ids": self.ids.tolist(),
            "mask": None if bool(self.mask.all()) else self.mask.int().tolist(),
            "strings": self.strings,
            "offsets": self.offsets,
            "texts": self.texts,
            "added": self.added,
            "truncated": self.truncated,
            "padding_side": self.padding_side,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Tokens:
        """Rebuild from :meth:`record`."""
        ids = torch.tensor(record["ids"], dtype=torch.long)
        mask = record["mask"]
        return cls(
            ids=ids,
            mask=torch.ones_like(ids, dtype=torch.bool) if mask is None else torch.tensor(mask) > 0,
            strings=tuple(tuple(row) for row in record["strings"]),
            offsets=tuple(tuple((int(a), int(b)) for a, b in row) for row in record["offsets"]),
            texts=tuple(record["texts"]),
            added=tuple(record["added"]),
            truncated=tuple(record["truncated"]),
            padding_side=record["padding_side"],
        )


def from_ids(
    ids: Tensor | Sequence[int] | Sequence[Sequence[int]],
    mask: Tensor | Sequence[Sequence[int]] | None,
    *,
    d_vocab: int,
) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "rows columns"] | None]:
    """Check token ids and their mask; a single row gets a batch axis.

    Whether the mask has their shape is not checked: with a KV cache it may cover past tokens too.

    Raises:
        TokenizationError: Ragged lists, no tokens, not whole numbers, or ids outside the
            vocabulary.
    """
    if not isinstance(ids, Tensor):
        ids = _list_to_tensor(ids)
    if not ids.numel():
        raise TokenizationError(f"there are no tokens: their shape is {tuple(ids.shape)}")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TokenizationError(f"token ids must be whole numbers; found {ids.dtype}")
    ids = ids[None] if ids.ndim == 1 else ids
    if ids.ndim != 2:
        raise TokenizationError(f"tokens have shape {tuple(ids.shape)}; expected [batch, pos]")
    ids = ids.long()  # before anything else: torch can do little with uint16
    low, high = (int(x) for x in ids.aminmax())
    if low < 0 or high >= d_vocab:
        bad = low if low < 0 else high
        row, column = (ids == bad).nonzero()[0].tolist()
        raise TokenizationError(
            f"token id {bad} in row {row}, column {column} is outside the vocabulary of {d_vocab}: "
            f"ids run from 0 to {d_vocab - 1}"
        )
    return ids, check_mask(mask, ids.device)


def check_mask(
    mask: Tensor | Sequence[Sequence[int]] | None, device: torch.device
) -> Bool[Tensor, "rows columns"] | None:
    """Return a mask as booleans, or None.

    Raises:
        TokenizationError: It is no rectangle of numbers, or holds something other than 0 and 1.
    """
    if mask is None:
        return None
    try:
        mask = torch.as_tensor(mask, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TokenizationError(
            f"cannot read attention_mask: {error}; give rows of equal length, 1 for a real token "
            "and 0 for padding"
        ) from error
    mask = mask[None] if mask.ndim == 1 else mask
    if mask.ndim != 2:
        raise TokenizationError(
            f"attention_mask has shape {tuple(mask.shape)}; expected [batch, pos]"
        )
    wrong = ((mask != 0) & (mask != 1)).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise TokenizationError(
            f"attention_mask is {mask[row, column].item()} in row {row}, column {column}; it may "
            "only hold 1 (a real token) and 0 (padding)"
        )
    return mask.bool()


def _list_to_tensor(ids: Any) -> Tensor:
    if isinstance(ids, Mapping):
        raise TokenizationError(
            f"the input is a {type(ids).__name__}; give its input_ids, and its attention_mask too"
        )
    if not hasattr(ids, "__len__"):
        raise TokenizationError(f"the input is {type(ids).__name__}; expected text or token ids")
    rows = [] if hasattr(ids, "ndim") else [row for row in ids if _is_row(row)]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1 or 0 < len(rows) < len(ids):
        mixed = len(rows) < len(ids)
        found = (
            "and single tokens are mixed"
            if mixed
            else (f"have between {lengths[0]} and {lengths[-1]} tokens")
        )
        raise TokenizationError(
            f"rows {found}; pad them to one length and give an attention_mask, or give texts"
        )
    try:
        if rows and all(isinstance(row, Tensor) for row in rows):
            return torch.stack(rows)
        return torch.tensor(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TokenizationError(f"cannot read token ids: {error}") from error


def _is_row(item: object) -> bool:
    return hasattr(item, "__len__") and not isinstance(item, str) and getattr(item, "ndim", 1) > 0
