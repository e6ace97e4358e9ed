"""Prompts: pairs of clean and corrupted prompts, aligned token by token and padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neoscope.errors import PatchingError, SiteError, nearest
from neoscope.indices import Positions, listed
from neoscope.patching.prompts.alignment import check_aligned
from neoscope.patching.prompts.labels import column_labels
from neoscope.patching.prompts.reading import read_side
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

DIRECTIONS = ("denoise", "noise")
"""``denoise``: the corrupted prompt runs, with values of the clean run; ``noise``: the reverse."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """Pairs of prompts; the last token of every prompt stands in the last column."""

    clean: Int[Tensor, "pairs pos"]
    """Token ids, on the CPU; what stands in padding means nothing."""
    corrupted: Int[Tensor, "pairs pos"] | None
    """Token ids; None where there is only one prompt of each, as in an ablation."""
    mask: Bool[Tensor, "pairs pos"]
    """True where a token is real."""
    clean_strings: tuple[tuple[str, ...], ...]
    """What each real token stands for; ids where the model has no tokenizer."""
    corrupted_strings: tuple[tuple[str, ...], ...]
    """The same of the corrupted prompts; empty where there are none."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.clean)

    @property
    def n_columns(self) -> int:
        """Columns, padding included: the length of the longest prompt."""
        return int(self.clean.shape[1])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each pair's prompts."""
        return tuple(int(n) for n in self.mask.sum(1).tolist())

    @property
    def differs(self) -> Bool[Tensor, "pairs pos"]:
        """Where clean and corrupted differ; nowhere when there are no corrupted prompts."""
        if self.corrupted is None:
            return torch.zeros_like(self.mask)
        return (self.clean != self.corrupted) & self.mask

    @property
    def first_difference(self) -> Int[Tensor, "pairs"]:
        """Column of each pair's first difference; ``n_columns`` where there is none."""
        differs = self.differs
        first = differs.int().argmax(dim=1)
        return torch.where(differs.any(dim=1), first, self.n_columns)

    @property
    def agree(self) -> tuple[bool, ...]:
        """For each column, whether clean and corrupted agree there in every pair."""
        return tuple(not bool(x) for x in self.differs.any(dim=0).tolist())

    def ids(self, which: str) -> Int[Tensor, "pairs pos"]:
        """Return the token ids of one side.

        Args:
            which: ``"clean"`` or ``"corrupted"``.

        Raises:
            PatchingError: Neither, or there are no corrupted prompts.
        """
        if which not in ("clean", "corrupted"):
            raise PatchingError(
                f"{which!r} is neither 'clean' nor 'corrupted'"
                f"{nearest(str(which), ('clean', 'corrupted'))}"
            )
        if which == "clean":
            return self.clean
        if self.corrupted is None:
            raise PatchingError("there are no corrupted prompts; give corrupted=")
        return self.corrupted

    def base_name(self, direction: str) -> str:
        """Return which side is run and patched; it is the clean one where there is no other.

        Args:
            direction: ``"denoise"`` or ``"noise"``.

        Raises:
            PatchingError: Neither.
        """
        check_direction(direction)
        return "clean" if direction == "noise" or self.corrupted is None else "corrupted"

    def base(self, direction: str) -> Int[Tensor, "pairs pos"]:
        """Return the ids of the prompts that are run and patched.

        Args:
            direction: ``"denoise"`` or ``"noise"``.
        """
        return self.ids(self.base_name(direction))

    def donor(self, direction: str) -> Int[Tensor, "pairs pos"] | None:
        """Return the ids of the prompts whose values are put in; None without corrupted prompts.

        Args:
            direction: ``"denoise"`` or ``"noise"``.
        """
        check_direction(direction)
        if direction == "denoise" and self.corrupted is not None:
            return self.clean
        return self.corrupted

    def take(self, rows: slice | Sequence[int] | Int[Tensor, "n"]) -> Prompts:
        """Return some pairs; columns stay as they are.

        Args:
            rows: Numbers of pairs.
        """
        picked = (
            list(range(len(self))[rows])
            if isinstance(rows, slice)
            else [int(row) for row in listed(rows)]
        )
        return Prompts(
            clean=self.clean[picked],
            corrupted=None if self.corrupted is None else self.corrupted[picked],
            mask=self.mask[picked],
            clean_strings=tuple(self.clean_strings[k] for k in picked),
            corrupted_strings=tuple(self.corrupted_strings[k] for k in picked)
            if self.corrupted_strings
            else (),
        )

    def columns(self, positions: Positions, argument: str = "positions") -> Int[Tensor, "pairs n"]:
        """Return the column of each asked-for position of each pair.

        Args:
            positions: Positions of each text, counted from 0, or from its end if negative; padding
                does not count. An int, a list, a slice, an array [n] or [pairs, n]; None for every
                column, padding included.
            argument: Named in errors.

        Raises:
            SiteError: A position does not exist in some pair, or a slice selects a different number
                of tokens in different pairs.
        """
        if positions is None:
            return torch.arange(self.n_columns).expand(len(self), -1)
        if not isinstance(positions, Tensor | slice) and getattr(positions, "ndim", 0) == 2:
            positions = torch.as_tensor(positions)
        visibility = Visibility(len(self), self.n_columns, self.mask.device, mask=self.mask)
        try:
            found = visibility.columns(positions, axis=argument)
        except SiteError as error:
            raise SiteError(str(error).replace(" in row ", " in pair ")) from error
        assert found is not None
        return found

    def labels(self) -> tuple[str, ...]:
        """Return one name a column for axes: its position, and the tokens that tell most of it."""
        return column_labels(self.clean_strings, self.corrupted_strings, self.differs.tolist())


def check_direction(direction: str) -> None:
    """Check the name of a direction.

    Args:
        direction: ``"denoise"`` or ``"noise"``.

    Raises:
        PatchingError: It is neither.
    """
    if direction not in DIRECTIONS:
        raise PatchingError(
            f"direction={direction!r}; expected 'denoise' (values of the clean run go into the "
            "corrupted one) or 'noise' (the reverse)"
            f"{nearest(str(direction), DIRECTIONS)}"
        )


def read_prompts(
    model: HookedGPTNeo, clean: Any, corrupted: Any = None, *, prepend_bos: bool = False
) -> Prompts:
    """Read pairs of prompts and check that they align.

    Args:
        model: Its tokenizer reads texts; its vocabulary and context bound ids.
        clean: A text, texts, Tokens, ids [pos] or [pairs, pos], or lists of ids; pairs may have
            different lengths, the two prompts of a pair may not.
        corrupted: The same, one for each clean prompt; None where there are none.
        prepend_bos: For texts: put the beginning-of-text token first; GPT-Neo was trained without.

    Raises:
        PatchingError: Not as many corrupted as clean prompts, a pair whose prompts have unequal
            lengths or are the same, or something that is no prompt.
        TokenizationError: A prompt is empty, too long, or has ids outside the vocabulary.

    Example:
        >>> import neoscope as ns
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
        >>> read_prompts(model, [[1, 2, 3], [4, 5]], [[1, 9, 3], [4, 6]]).labels()
        ('-3 1', '-2 2|9', '-1 5|6')
    """
    if not hasattr(model, "tokenize"):
        raise PatchingError(
            f"model is {type(model).__name__} {str(model)[:40]!r}, no HookedGPTNeo; load one with "
            "neoscope.load"
        )
    ours = read_side(model, clean, "clean", prepend_bos=prepend_bos)
    width = max(map(len, ours.rows))
    ids, mask = _left_padded(ours.rows, width)
    if corrupted is None:
        return Prompts(ids, None, mask, ours.strings, ())
    theirs = read_side(model, corrupted, "corrupted", prepend_bos=prepend_bos)
    check_aligned(ours.rows, theirs.rows, ours.strings, theirs.strings)
    return Prompts(ids, _left_padded(theirs.rows, width)[0], mask, ours.strings, theirs.strings)


def _left_padded(rows: Sequence[Sequence[int]], width: int) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for k, row in enumerate(rows):
        ids[k, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[k, width - len(row) :] = True
    return ids, mask
