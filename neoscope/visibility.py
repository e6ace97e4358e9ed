"""Which keys each query may see: causal, within the window, and never padding.

One rule for every path: a real query sees the real keys at or before its own position, in a local
layer only the last ``window`` of them, itself included. Padding queries see whatever stands at or
before their column; nothing reads them, and no row of the softmax is ever empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from neoscope.errors import SiteError, TokenizationError
from neoscope.indices import Positions, listed, whole


def along(index: Shaped[Tensor, "batch n"], x: Tensor, axis: int) -> Shaped[Tensor, "..."]:
    """Bring columns of each row into the shape that ``gather`` and ``scatter`` want.

    Args:
        index: For each row of ``x`` the places along ``axis``; or a mask of them.
        x: Its first axis is the batch.
        axis: The axis that is indexed; of the result it is ``n`` long, the others as in ``x``.
    """
    shape = [1] * x.ndim
    shape[0], shape[axis] = index.shape
    sizes = list(x.shape)
    sizes[axis] = index.shape[1]
    return index.view(shape).expand(sizes)


class Visibility:
    """Rows, positions and mask of one forward: new columns after those that a KV cache holds."""

    def __init__(
        self,
        batch: int,
        n_query: int,
        device: torch.device,
        *,
        n_past: int = 0,
        mask: Bool[Tensor, "batch key"] | None = None,
        grows: bool = False,
    ) -> None:
        """Work out positions from the mask.

        Args:
            batch: Rows.
            n_query: Columns of the new tokens.
            device: Where masks are made.
            n_past: Columns that a KV cache holds already.
            mask: True where a token is real, over past and new columns; None when all are.
            grows: Whether more tokens may follow, in later forwards with the same KV cache.

        Raises:
            TokenizationError: A row has no real token.
        """
        self.batch, self.n_query, self.n_past, self.device = batch, n_query, n_past, device
        self.n_key = n_past + n_query
        self.mask = mask
        self.grows = grows or n_past > 0
        self.right_padded = True
        if mask is not None:
            empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
            if empty:
                raise TokenizationError(f"attention_mask has no real token in row(s) {empty}")
            if bool(mask.all()):
                self.mask = None
            else:
                self.right_padded = bool((mask[:, 1:] <= mask[:, :-1]).all())
        self._masks: dict[tuple[int | None, int, int, int, int], Tensor] = {}

    @property
    def causal_only(self) -> bool:
        """Whether plain causality (and the window) is right for every real token.

        It is for right padding too, as long as the whole text is there: padding then stands only
        to the right of every real query.
        """
        return self.mask is None or (self.right_padded and self.n_past == 0)

    @property
    def counts_by_column(self) -> bool:
        """Whether every token's position is the number of its column."""
        return self.mask is None

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, window: int | None, kernel: Callable[..., Tensor]
    ) -> Tensor | None:
        """Attend in a way of its own, [batch, head, query, d_head]; None for the usual way.

        Args:
            q: Queries [batch, head, query, d_head].
            k: Keys.
            v: Values.
            window: Keys a query sees, itself included; None for all.
            kernel: The usual way, for parts: of q, k, v, a visibility and the window.
        """
        return None

    def key_positions(self) -> Int[Tensor, "batch key"]:
        """Position in its text of every column: real tokens are counted from 0."""
        if self.mask is None:
            return torch.arange(self.n_key, device=self.device).expand(self.batch, -1)
        return (self.mask.long().cumsum(1) - 1).clamp_(min=0)

    def padding_keys(self) -> Bool[Tensor, "batch 1 query key"] | None:
        """Which keys are padding, for the queries that are tokens; None where nothing is padded."""
        if self.mask is None:
            return None
        real = self.mask[:, self.n_past :, None]
        return (real & ~self.mask[:, None, :])[:, None]

    def query_positions(self) -> Int[Tensor, "batch query"]:
        """Positions of the new columns."""
        return self.key_positions()[:, self.n_past :]

    def lengths(self) -> list[int]:
        """Real tokens of each row, past ones included."""
        if self.mask is None:
            return [self.n_key] * self.batch
        return [int(n) for n in self.mask.sum(1).tolist()]

    def allowed(
        self, window: int | None, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Bool[Tensor, "rows 1 query key"]:
        """Which of the keys ``columns`` each of the queries ``rows`` sees; True is visible.

        Args:
            window: Keys a query sees, itself included; None for all.
            rows: First and one-past-last query, counted among the new columns.
            columns: First and one-past-last key, counted among all columns.
        """
        key = (window, *rows, *columns)
        if key not in self._masks:
            self._masks[key] = self._allowed(window, rows, columns)
        return self._masks[key]

    def _allowed(
        self, window: int | None, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Tensor:
        query = torch.arange(rows[0], rows[1], device=self.device)[:, None] + self.n_past
        key = torch.arange(columns[0], columns[1], device=self.device)[None]
        causal = key <= query
        near = causal if window is None else causal & (query - key < window)
        if self.causal_only or self.mask is None:
            return near[None, None]
        q = slice(self.n_past + rows[0], self.n_past + rows[1])
        k = slice(*columns)
        position = self.key_positions()
        # Distance in tokens, not columns: padding inside a cached text takes no place in a window.
        distance = position[:, q, None] - position[:, None, k]
        seen = causal & self.mask[:, None, k]
        if window is not None:
            seen = seen & (distance < window)
        return torch.where(self.mask[:, q, None], seen, near)[:, None]

    def columns(
        self, positions: Positions, *, axis: str = "positions", total: bool = False
    ) -> Int[Tensor, "batch n"] | None:
        """Return the column of each asked-for position of each row, or None for all columns.

        A position counts real tokens, so that -1 is a row's last real token on either side of
        padding. Columns are counted among the new ones.

        Args:
            positions: An int, a slice, a list, an integer tensor [n] or [batch, n], or None.
            axis: Named in errors.
            total: Whether columns are counted among past and new ones; a position of a growing
                text that has not come yet is then column -1.

        Raises:
            SiteError: A position does not exist in some row, or a slice selects a different number
                of tokens in different rows.
        """
        if positions is None:
            return None
        if isinstance(positions, Tensor) and positions.ndim == 2 and len(positions) != self.batch:
            raise SiteError(
                f"{axis} has {len(positions)} rows, but the batch has {self.batch}; give one list "
                "for all rows, or one for each"
            )
        later = total and self.grows
        wanted = [
            self._wanted(positions, row, length, axis, later)
            for row, length in enumerate(self.lengths())
        ]
        counts = {len(w) for w in wanted}
        if len(counts) > 1:
            raise SiteError(
                f"{axis}={positions!r} selects between {min(counts)} and {max(counts)} tokens in "
                "rows of different length; name the same number of positions for every row"
            )
        index = torch.tensor(wanted, dtype=torch.long, device=self.device)
        if self.mask is not None:
            order = torch.sort((~self.mask).to(torch.int8), dim=1, stable=True).indices
            index = torch.where(index < 0, -1, order.gather(1, index.clamp(min=0)))
        if total:
            return index
        if bool((index < self.n_past).any()):
            raise SiteError(
                f"{axis}={positions!r} lies before the new tokens; the KV cache already holds it"
            )
        return index - self.n_past

    @staticmethod
    def _wanted(positions: Any, row: int, length: int, axis: str, later: bool) -> list[int]:
        if isinstance(positions, slice):
            return list(range(*positions.indices(length)))
        by_row = isinstance(positions, Tensor) and positions.ndim == 2
        out = []
        for position in listed(positions[row] if by_row else positions):
            number = whole(position)
            if number is None:
                raise SiteError(f"{axis}: {position!r} is not a whole number")
            if later and number >= length:
                out.append(-1)
                continue
            if not -length <= number < length:
                raise SiteError(
                    f"{axis}: {number} is out of range in row {row}, which has {length} tokens"
                )
            out.append(number % length)
        return out
