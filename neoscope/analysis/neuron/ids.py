"""A corpus that is token ids already: a tensor, an array, rows of any lengths, or Tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neoscope.errors import TokenizationError
from neoscope.indices import whole
from neoscope.tokens import Tokens, from_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def are_ids(given: Any) -> bool:
    """Return whether a corpus is token ids, not texts.

    Args:
        given: Whatever the caller calls a corpus; nothing of an iterator is taken.
    """
    if isinstance(given, Tokens | Tensor):
        return True
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "iuf"
    if not isinstance(given, list | tuple) or not given:
        return False
    first = given[0]
    if isinstance(first, list | tuple | np.ndarray | Tensor) and len(first):
        first = first[0]
    return whole(first) is not None


def id_rows(model: HookedGPTNeo, given: Any) -> list[list[int]]:
    """Return the token ids of each text, without padding.

    Args:
        model: Whose vocabulary.
        given: What ``are_ids``.

    Raises:
        TokenizationError: They are no token ids of the model.
    """
    n = model.config.d_vocab
    if isinstance(given, Tokens):
        from_ids(given.ids, None, d_vocab=n)
        return [row[real].tolist() for row, real in zip(given.ids, given.mask, strict=True)]
    if isinstance(given, np.ndarray):
        given = torch.from_numpy(given)
    if isinstance(given, Tensor) or whole(given[0]) is not None:
        rows: list[list[int]] = from_ids(given, None, d_vocab=n)[0].tolist()
        return rows
    return [_row(row, i, n) for i, row in enumerate(given)]


def _row(given: Any, i: int, d_vocab: int) -> list[int]:
    given = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
    try:
        ids: list[int] = from_ids(given, None, d_vocab=d_vocab)[0][0].tolist()
    except TokenizationError as error:
        raise TokenizationError(f"text {i}: {error}".replace(" in row 0,", " in")) from error
    return ids
