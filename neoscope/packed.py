"""Texts one after another in a single row, without padding: who sees whom in a packed batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neoscope.visibility import Visibility

Flat = Float[Tensor, "token head d_head"]


@dataclass(frozen=True)
class Group:
    """Neighbouring texts that attend together."""

    start: int
    """Column of its first token."""
    lengths: tuple[int, ...]
    """Tokens of each text."""

    @property
    def n_tokens(self) -> int:
        """Tokens of all its texts."""
        return sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of its longest text."""
        return max(self.lengths)

    @property
    def even(self) -> bool:
        """Whether all its texts have one length, so that it is a rectangle as it lies."""
        return len(set(self.lengths)) == 1


class Packed(Visibility):
    """A batch of one row that holds several texts; none sees another.

    Matrix products, LayerNorms and MLPs then work on real tokens alone; only attention has to know
    where a text ends. Texts of one length attend together; sorted texts make few groups.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device, *, slack: float = 0.0) -> None:
        """Find the groups.

        Args:
            lengths: Tokens of each text, in their order.
            device: Where masks and indices are made.
            slack: How much shorter than the longest of its group a text may be, as a share; the
                group is then padded inside attention, which a device that likes few large launches
                repays.
        """
        super().__init__(1, sum(lengths), device)
        self.text_lengths = tuple(lengths)
        self.groups = _grouped(self.text_lengths, slack)
        self._rectangles = {
            group: Visibility(len(group.lengths), group.longest, device) for group in self.groups
        }
        self._squares: dict[Group, tuple[Tensor, Tensor]] = {}

    def key_positions(self) -> Int[Tensor, "batch key"]:
        """Position of every column in its own text."""
        each = [torch.arange(length, device=self.device) for length in self.text_lengths]
        return torch.cat(each)[None]

    @property
    def counts_by_column(self) -> bool:
        """No: positions start anew with every text."""
        return False

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, window: int | None, kernel: Callable[..., Tensor]
    ) -> Tensor:
        """Attend group by group, each a batch of its own."""
        flat = [x[0].transpose(0, 1) for x in (q, k, v)]  # [token, head, d_head], as projected
        out = []
        for group in self.groups:
            parts = [self.take(x, group).transpose(1, 2) for x in flat]
            z = kernel(*parts, self.rectangle(group), window)
            out.append(self.put(z.transpose(1, 2), group))
        return torch.cat(out)[None].transpose(1, 2)

    def rectangle(self, group: Group) -> Visibility:
        """Return who sees whom inside a group, as a right-padded batch of its own."""
        return self._rectangles[group]

    def take(self, x: Float[Tensor, "token *rest"], group: Group) -> Float[Tensor, "..."]:
        """Return a group's texts as [text, pos, ...], right-padded with copies if uneven."""
        part: Tensor = x[group.start : group.start + group.n_tokens]
        if group.even:
            even: Tensor = part.unflatten(0, (len(group.lengths), group.longest))
            return even
        square: Tensor = part[self._square(group)[0]]
        return square

    def put(self, x: Float[Tensor, "text pos *rest"], group: Group) -> Float[Tensor, "..."]:
        """Return a group's real tokens as [token, ...]: the way back from :meth:`take`."""
        if group.even:
            return x.flatten(0, 1)
        real: Tensor = x[self._square(group)[1]]
        return real

    def _square(self, group: Group) -> tuple[Tensor, Tensor]:
        if group not in self._squares:
            lengths = torch.tensor(group.lengths, device=self.device)
            first = lengths.cumsum(0) - lengths
            column = torch.arange(group.longest, device=self.device)
            real = column[None] < lengths[:, None]
            index = first[:, None] + torch.minimum(column[None], lengths[:, None] - 1)
            self._squares[group] = (index, real)
        return self._squares[group]

    def _allowed(
        self, window: int | None, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Bool[Tensor, "rows 1 query key"]:
        near = super()._allowed(window, rows, columns)
        lengths = torch.tensor(self.text_lengths, device=self.device)
        text = torch.arange(len(lengths), device=self.device).repeat_interleave(lengths)
        same = text[slice(*rows), None] == text[None, slice(*columns)]
        return near & same


def _grouped(lengths: tuple[int, ...], slack: float) -> tuple[Group, ...]:
    if not lengths:
        return ()
    cuts, low, high = [0], lengths[0], lengths[0]
    for i, length in enumerate(lengths):
        low, high = min(low, length), max(high, length)
        if low < high * (1 - slack):
            cuts.append(i)
            low = high = length
    groups, start = [], 0
    for first, last in pairwise([*cuts, len(lengths)]):
        groups.append(Group(start, lengths[first:last]))
        start += groups[-1].n_tokens
    return tuple(groups)
