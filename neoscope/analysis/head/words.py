"""Random tokens to measure heads on: repeats, and squares in which no position has favourites.

Tokens are drawn without replacement from those that a model knows: a token that comes twice by
chance would be a repeat of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from neoscope.analysis.given import whole_number
from neoscope.analysis.head.kinds import threshold
from neoscope.config import NeoConfig
from neoscope.errors import AnalysisError
from neoscope.indices import listed
from neoscope.unseen import unseen_ids

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_LONGEST_GAP, _LONGEST_COPY = 50, 64


def known_words(model: HookedGPTNeo) -> Int[Tensor, " word"]:
    """Return the token ids that a random text may hold.

    Not among them are special tokens, rows of the embedding beyond the tokenizer's own, and tokens
    which the checkpoint says that its training never showed.
    """
    config, tokenizer = model.config, model.tokenizer
    left_out = {config.bos_token_id, config.eos_token_id, config.pad_token_id}
    known = config.d_vocab
    if tokenizer is not None:
        left_out |= set(tokenizer.all_special_ids)
        known = min(known, len(tokenizer))
        for span in unseen_ids(tokenizer):
            left_out |= set(span)
    return torch.tensor([i for i in range(known) if i not in left_out], dtype=torch.long)


@dataclass(frozen=True)
class Repeats:
    """Random tokens, some of which come again: ``[BOS?, u, u[:length]]``."""

    gap: int
    """Tokens of ``u``: how far a repeated token is from where it stood first."""
    length: int
    """How many of them come again."""

    def draw(
        self, words: Int[Tensor, " word"], n: int, bos: int | None, seed: int
    ) -> Int[Tensor, "text pos"]:
        """Return texts of these repeats.

        Args:
            words: What is drawn from.
            n: How many.
            bos: Put first, if not None.
            seed: Of the draw.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = [words[torch.randperm(len(words), generator=generator)[: self.gap]] for _ in
                 range(n)]  # fmt: skip
        first = torch.stack(drawn)
        both = torch.cat([first, first[:, : self.length]], dim=1)
        return both if bos is None else torch.nn.functional.pad(both, (1, 0), value=bos)


def plan(
    config: NeoConfig, n_words: int, *, gap: object, length: object, bos: bool
) -> tuple[Repeats, ...]:
    """Return which repeats to measure: by default one inside the window and one beyond it.

    Args:
        config: Its context and window decide what fits.
        n_words: How many different tokens there are.
        gap: One, several, or None.
        length: Tokens that come again; None for as many as fit, at most 64.
        bos: Whether a token stands before.

    Raises:
        AnalysisError: A gap or a length is no whole number, or does not fit.
    """
    room = config.n_ctx - bos
    most = None if length is None else whole_number(length, "length")
    if gap is None:
        gaps: Sequence[int] = _gaps(config, n_words, room, most or 1)
    else:
        gaps = [whole_number(one, "gap") for one in listed(gap)]
        if not gaps:
            raise AnalysisError("gap=[] asks for no repeats; leave it out to get the usual ones")
        if len(set(gaps)) < len(gaps):
            raise AnalysisError(f"gap={gap!r} names a gap twice")
    found = []
    for one in gaps:
        if one > n_words:
            raise AnalysisError(
                f"gap={one} needs as many different tokens; this model has {n_words} to draw from"
            )
        copy = min(one, _LONGEST_COPY, room - one) if most is None else most
        if one + max(1, copy) > room:
            said = f" and length={most}" if most is not None else ""
            raise AnalysisError(
                f"gap={one}{said} needs {one + max(1, copy) + bos} tokens, but the model's context "
                f"is {config.n_ctx}"
            )
        if copy > one:
            raise AnalysisError(f"length={copy} is more than gap={one}: only what came can repeat")
        found.append(Repeats(one, copy))
    return tuple(found)


def _gaps(config: NeoConfig, n_words: int, room: int, copy: int) -> list[int]:
    window = threshold(config)
    # What came after a token is before its repetition only if the gap is 2 at least.
    half = _LONGEST_GAP if window is None else max(2, window // 2)
    inside = min(max(room // 2, min(2, room - 1)), n_words, half, _LONGEST_GAP)
    inside = max(inside, copy)
    if inside < 1:
        raise AnalysisError(
            f"there is nothing to repeat: the model has {n_words} tokens to draw from and a "
            f"context of {config.n_ctx}"
        )
    if window is None:
        return [inside]
    # The key of induction is one nearer than the gap, and must be beyond the window too.
    beyond = max(window + max(1, window // 8), copy)
    beyond = min(beyond, n_words, room - max(copy, 1))
    if beyond <= window:
        return [inside]
    # A window of one key has no inside: nothing that came before is in it.
    return [beyond] if window == 1 else [inside, beyond]


def squares(
    words: Int[Tensor, " word"], n: int, size: int, seed: int
) -> Int[Tensor, "square text pos"]:
    """Return Latin squares of tokens: in each, every token stands once at every position.

    Args:
        words: What is drawn from.
        n: How many squares, each of tokens of its own draw.
        size: Texts of a square, and their length.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        drawn = words[torch.randperm(len(words), generator=generator)[:size]]
        # Shuffled columns: a token's neighbours change from text to text.
        column = torch.randperm(size, generator=generator)
        found.append(drawn[(torch.arange(size)[:, None] + column[None]) % size])
    return torch.stack(found)
