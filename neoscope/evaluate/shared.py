"""Sequences with common beginnings in a single row, each beginning once: who sees whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from neoscope.evaluate.sharing import Ids, Unit
from neoscope.visibility import Visibility

# Queries of a branch that attend together: a longer one sees its own future only as masked.
_BLOCK = 256
# Scores that are computed for nothing before another launch is cheaper.
_SPARE = 8192

ByHead = Float[Tensor, "1 head token d_head"]


@dataclass(frozen=True)
class _Piece:
    """Neighbouring tokens of a branch, and the keys that they can see."""

    path: NDArray[np.int64]
    first_key: int
    first_query: int
    stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Keys and queries."""
        return self.stop - self.first_key, self.stop - self.first_query


@dataclass(frozen=True)
class _Rectangle:
    """Pieces of like shape that attend together, padded by their last token."""

    query: Int[Tensor, "row query"]
    key: Int[Tensor, "row key"]
    seen: Tensor
    """[row or 1, 1, query, key], in the dtype of the scores: 0 where seen, else -inf."""
    real: Tensor | None
    """[row, query]: which queries are no padding; None where all are."""


class Shared(Visibility):
    """A batch of one row that holds units of sequences; a common beginning stands there once.

    Every token sees the tokens of its own sequence up to itself, and its position is that in its
    own sequence: the numbers are those of the sequences run one by one.
    """

    def __init__(self, sequences: Sequence[Ids], batch: Sequence[Unit], device: Any) -> None:
        """Lay the tokens out: the first sequences of all units, then what the others add.

        Args:
            sequences: All sequences.
            batch: Units of them.
            device: Where indices and masks are made.
        """
        roots = sorted((unit[0] for unit in batch), key=lambda member: -member.length)
        self.paths: dict[int, NDArray[np.int64]] = {}
        """For each sequence, the column of each of its tokens."""
        self._branches: list[tuple[NDArray[np.int64], int]] = []
        n = 0
        for member in roots:
            self.paths[member.index] = np.arange(n, n + member.length)
            n += member.length
        for unit in batch:
            path = self.paths[unit[0].index]
            for member in unit[1:]:
                path = np.concatenate([path[: member.shared], np.arange(n, n + member.own)])
                self.paths[member.index] = path
                n += member.own
                self._branches.append((path, member.shared))
        super().__init__(1, n, torch.device(device))
        ids, place = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        for index, path in self.paths.items():
            ids[path], place[path] = sequences[index], np.arange(len(path))
        self.ids = torch.from_numpy(ids).to(device)[None]
        """Token ids [1, token]."""
        self._place = torch.from_numpy(place).to(device)[None]
        groups = [(length, len(list(same))) for length, same in groupby(m.length for m in roots)]
        self._roots = [(rows, Visibility(rows, size, self.device)) for size, rows in groups]
        self._longest = max(map(len, self.paths.values()))
        self._rectangles: dict[tuple[int | None, torch.dtype], list[_Rectangle]] = {}

    def key_positions(self) -> Int[Tensor, "batch key"]:
        """Position of every column in its own sequence."""
        return self._place

    @property
    def counts_by_column(self) -> bool:
        """No: positions start anew with every unit."""
        return False

    def _allowed(
        self, window: int | None, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Tensor:
        seen = np.zeros((self.n_query, self.n_key), dtype=bool)
        for path in self.paths.values():
            distance = np.arange(len(path))[:, None] - np.arange(len(path))
            near = distance < (len(path) if window is None else window)
            seen[np.ix_(path, path)] = (distance >= 0) & near
        return torch.from_numpy(seen[slice(*rows), slice(*columns)]).to(self.device)[None, None]

    def attend(
        self, q: ByHead, k: ByHead, v: ByHead, window: int | None, kernel: Callable[..., Tensor]
    ) -> ByHead:
        """Attend: first sequences as a batch each length, then every branch to its whole path."""
        flat = [x[0].transpose(0, 1) for x in (q, k, v)]  # [token, head, d_head], as projected
        out = torch.empty_like(flat[0], memory_format=torch.contiguous_format)
        start = 0
        for rows, visibility in self._roots:
            stop = start + rows * visibility.n_query
            parts = [x[start:stop].unflatten(0, (rows, -1)).transpose(1, 2) for x in flat]
            z = kernel(*parts, visibility, window)
            out[start:stop] = z.transpose(1, 2).flatten(0, 1)
            start = stop
        for part in self._branching(window, q.dtype):
            z = F.scaled_dot_product_attention(
                flat[0][part.query].transpose(1, 2),
                flat[1][part.key].transpose(1, 2),
                flat[2][part.key].transpose(1, 2),
                attn_mask=part.seen,
                scale=1.0,
            ).transpose(1, 2)
            if part.real is None:
                out[part.query.flatten()] = z.flatten(0, 1)
            else:
                out[part.query[part.real]] = z[part.real]
        return out[None].transpose(1, 2)

    def _branching(self, window: int | None, dtype: torch.dtype) -> list[_Rectangle]:
        if window is not None and window >= self._longest:
            window = None
        if (window, dtype) not in self._rectangles:
            pieces = sorted(_pieces(self._branches, window), key=lambda piece: piece.shape)
            self._rectangles[window, dtype] = [
                _rectangle(some, window, dtype, self.device) for some in _alike(pieces[::-1])
            ]
        return self._rectangles[window, dtype]


def _pieces(branches: Sequence[tuple[NDArray[np.int64], int]], window: int | None) -> list[_Piece]:
    found = []
    for path, shared in branches:
        for start in range(shared, len(path), _BLOCK):
            first = 0 if window is None else max(0, start - window + 1)
            found.append(_Piece(path, first, start, min(start + _BLOCK, len(path))))
    return found


def _alike(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Group pieces, largest first, while little is computed for nothing."""
    groups: list[list[_Piece]] = []
    keys = queries = used = 0
    for piece in pieces:
        n_key, n_query = piece.shape
        keys, queries = max(keys, n_key), max(queries, n_query)
        cells = keys * queries * (len(groups[-1]) + 1) if groups else 0
        if not groups or cells - used - n_key * n_query > max(_SPARE, used // 8):
            groups.append([])
            (keys, queries), used = piece.shape, 0
        groups[-1].append(piece)
        used += n_key * n_query
    return groups


def _rectangle(
    pieces: Sequence[_Piece], window: int | None, dtype: torch.dtype, device: torch.device
) -> _Rectangle:
    keys, queries = np.array([piece.shape for piece in pieces]).T
    first_key = np.array([piece.first_key for piece in pieces])[:, None]
    first_query = np.array([piece.first_query for piece in pieces])[:, None]
    stop = first_key + keys[:, None]
    key, query = first_key + np.arange(keys.max()), first_query + np.arange(queries.max())
    real, query = query < stop, np.minimum(query, stop - 1)
    distance = query[:, :, None] - key[:, None]
    seen = (distance >= 0) & (distance < (distance.max() + 1 if window is None else window))
    if (seen == seen[:1]).all():
        seen = seen[:1]
    key = np.minimum(key, stop - 1)
    paths = [piece.path for piece in pieces]
    at = [np.stack([p[i] for p, i in zip(paths, x, strict=True)]) for x in (query, key)]
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(torch.from_numpy(~seen), -torch.inf)
    return _Rectangle(
        query=torch.from_numpy(at[0]).to(device),
        key=torch.from_numpy(at[1]).to(device),
        seen=mask[:, None].to(device),
        real=None if real.all() else torch.from_numpy(real).to(device),
    )
