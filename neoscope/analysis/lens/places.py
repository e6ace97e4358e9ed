"""The real tokens of a cache as one long row: where each stands, what it is, what follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.analysis.words import token_strings
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError
from neoscope.indices import Positions
from neoscope.tokens import Tokens
from neoscope.visibility import Visibility

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False)
class Places:
    """Real tokens, text after text."""

    index: Int[Tensor, " token"]
    """Place among the rows and columns of a cached tensor, [batch * pos]."""
    text: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    """In its text; the column where the cache does not know its tokens."""
    ids: Int[np.ndarray, " token"]
    """-1 where the cache does not know."""
    following: Int[np.ndarray, " token"]
    """Id of the next token; -1 at a text's end, and where the cache does not know."""
    strings: tuple[str, ...]


def places(
    cache: ActivationCache,
    model: HookedGPTNeo,
    size: tuple[int, int],
    positions: Positions,
    what: str,
) -> Places:
    """Return the tokens that are to be read.

    Args:
        cache: What was recorded.
        model: For the tokens' strings.
        size: Rows and columns of the cached tensors.
        positions: Which positions of each text; None for all real ones.
        what: The function, for errors.

    Raises:
        AnalysisError: Positions of a cache that kept some positions only, or nothing is left.
        SiteError: A text has no such position.
    """
    tokens = cache.tokens
    if positions is not None and cache.positions is not None:
        raise AnalysisError(
            f"{what}: this cache kept positions={cache.positions!r} alone, of which positions= "
            "cannot choose again; leave it out"
        )
    if tokens is None or (cache.positions is None and tokens.mask.shape != size):
        return _unknown(size, positions)
    tokens = tokens.to("cpu")
    batch, n = tokens.ids.shape
    sight = Visibility(batch, n, torch.device("cpu"), mask=tokens.mask)
    kept = sight.columns(positions if cache.positions is None else cache.positions)
    if kept is None:
        row, column = tokens.mask.nonzero(as_tuple=True)
        place = column
    else:
        row = torch.arange(len(kept))[:, None].expand_as(kept).flatten()
        column = kept.flatten()
        place = column if cache.positions is None else torch.arange(kept.shape[1]).repeat(len(kept))
    if not len(row):
        raise AnalysisError(f"{what}: positions={positions!r} leaves no token to read")
    return _known(tokens, model, row, column, sight.key_positions(), row * size[1] + place)


def _known(
    tokens: Tokens,
    model: HookedGPTNeo,
    row: Tensor,
    column: Tensor,
    position: Tensor,
    index: Tensor,
) -> Places:
    n = tokens.mask.shape[1]
    after = (column + 1).clamp(max=n - 1)
    follows = (column + 1 < n) & tokens.mask[row, after]
    at = position[row, column].tolist()
    words = token_strings(tokens, model)
    return Places(
        index=index,
        text=row.numpy(),
        position=np.array(at, np.int64),
        ids=tokens.ids[row, column].numpy(),
        following=torch.where(follows, tokens.ids[row, after], -1).numpy(),
        strings=tuple(words[r][p] for r, p in zip(row.tolist(), at, strict=True)),
    )


def _unknown(size: tuple[int, int], positions: Positions) -> Places:
    """Every column is a token, and nobody knows which."""
    batch, n = size
    kept = Visibility(batch, n, torch.device("cpu")).columns(positions)
    column = torch.arange(n).expand(batch, -1) if kept is None else kept
    row = torch.arange(batch)[:, None].expand_as(column).flatten()
    column = column.flatten()
    nobody = np.full(len(row), -1)
    return Places(row * n + column, row.numpy(), column.numpy(), nobody, nobody, ("",) * len(row))
