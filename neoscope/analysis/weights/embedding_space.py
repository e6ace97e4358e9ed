"""The embedding and the unembedding as vectors: which is meant, its mean, its tokens' ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from neoscope.errors import AnalysisError, nearest
from neoscope.indices import listed, whole

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

SPACES = ("embedding", "unembedding")
ROWS_AT_ONCE = 8192
ANISOTROPIC = 0.5
"""Mean pairwise cosine from which raw cosines say more of a shared offset than of tokens."""


def rows_of(model: HookedGPTNeo, space: str) -> Float[Tensor, "d_vocab d_model"]:
    """Return a row a token, detached, as the model keeps them.

    Args:
        model: The model.
        space: ``"embedding"`` or ``"unembedding"``, which GPT-Neo ties to it.

    Raises:
        AnalysisError: There is no such space.
    """
    if space not in SPACES:
        raise AnalysisError(
            f"space={space!r}; expected 'embedding' or 'unembedding'{nearest(str(space), SPACES)}"
        )
    rows = model.W_E if space == "embedding" else model.unembed.rows
    return rows.detach()


def chunks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first of some rows, and those rows in float64."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield start, rows[start : start + ROWS_AT_ONCE].double()


def mean_of(rows: Tensor) -> Float[Tensor, " d_model"]:
    """Return the mean row, in float64."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for _, part in chunks(rows):
        total += part.sum(0)
    return total / len(rows)


def mean_cosine(rows: Tensor, centre: Tensor) -> float:
    """Return the mean cosine between different rows, ``(||sum u||^2 - n) / (n (n - 1))``.

    Args:
        rows: [n, d_model]; those of norm 0 are left out.
        centre: Subtracted from each, [d_model].
    """
    total, n = torch.zeros_like(centre), 0
    for _, part in chunks(rows):
        shifted = part - centre
        norms = shifted.norm(dim=1)
        real = norms > 0
        total += (shifted[real] / norms[real, None]).sum(0)
        n += int(real.sum())
    return float((total @ total - n) / (n * (n - 1))) if n > 1 else float("nan")


def token_ids(model: HookedGPTNeo, tokens: Any) -> list[int]:
    """Return the ids of tokens that are given as text or as ids.

    Args:
        model: Its tokenizer reads texts.
        tokens: One or several: each a text that is one token (``" cat"`` with its space) or an id.

    Raises:
        AnalysisError: A text is not one token, an id does not exist, or there are none.
    """
    given = [tokens] if isinstance(tokens, str) else listed(tokens)
    if not given:
        raise AnalysisError("tokens is empty: name at least one")
    return [_one(model, token) for token in given]


def _one(model: HookedGPTNeo, token: Any) -> int:
    n = model.config.d_vocab
    number = whole(token)
    if number is not None:
        if not 0 <= number < n:
            raise AnalysisError(f"token id {number} does not exist; ids run from 0 to {n - 1}")
        return number
    if not isinstance(token, str):
        raise AnalysisError(f"a token is a text or an id, not {token!r:.60}")
    if model.tokenizer is None:
        raise AnalysisError(f"{token!r}: this model has no tokenizer; give token ids")
    ids = model.tokenizer(token, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise AnalysisError(
            f"{token!r} gives no token; give a text that is one token, such as ' the', or an id"
        )
    if len(ids) != 1:
        parts = ", ".join(repr(str(model.tokenizer.decode([i]))) for i in ids)
        spaced = model.tokenizer(f" {token}", add_special_tokens=False, verbose=False)["input_ids"]
        hint = f"; {' ' + token!r}, with a space, is one" if len(spaced) == 1 else ""
        raise AnalysisError(f"{token!r} is {len(ids)} tokens ({parts}), not one{hint}")
    return int(ids[0])
