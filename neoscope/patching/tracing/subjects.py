"""Subjects: which tokens of each prompt name the subject, and the part that every token plays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.indices import whole
from neoscope.patching.prompts.pairs import Prompts

ROLES = (
    "first subject token",
    "middle subject tokens",
    "last subject token",
    "first later token",
    "further tokens",
    "last token",
)
"""The parts that tokens play in a causal trace, as in ROME's figures."""


def subject_mask(prompts: Prompts, subject: Any) -> Bool[Tensor, "pairs pos"]:
    """Return which tokens name the subject.

    Args:
        prompts: Their token strings are searched.
        subject: A part of every prompt's text, or one for each prompt: all tokens that overlap it.
            A whole word is preferred to a part of one. Or positions, as :meth:`Prompts.columns`
            takes them, or a list of positions for each prompt.

    Raises:
        PatchingError: A subject does not stand in its prompt, or does more than once, or has no
            token; the message shows the prompt's tokens.
        SiteError: A position does not exist.
    """
    if isinstance(subject, str):
        subject = [subject] * len(prompts)
    spoken = isinstance(subject, Sequence) and any(isinstance(one, str) for one in subject)
    nested = isinstance(subject, list | tuple) and any(
        isinstance(one, list | tuple | range | slice) for one in subject
    )
    mask = torch.zeros_like(prompts.mask)
    if not spoken and not nested:
        mask.scatter_(1, prompts.columns(subject, "subject"), True)
    else:
        if len(subject) != len(prompts):
            raise PatchingError(
                f"subject has {len(subject)} entries, but there are {len(prompts)} prompts; give "
                "one for all, or one for each"
            )
        for k, one in enumerate(subject):
            where = _spoken(prompts, k, one) if isinstance(one, str) else one
            if not isinstance(where, slice) and whole(where) is None:
                where = list(where)
            mask[k, prompts.take([k]).columns(where, f"subject of prompt {k}")[0]] = True
    empty = (~mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise PatchingError(
            f"the subject of prompt {empty[0]} has no token; {_shown(prompts, empty[0])}"
        )
    return mask


def _spoken(prompts: Prompts, k: int, subject: str) -> list[int]:
    """Positions of the tokens that overlap a part of a prompt's text."""
    wanted, strings = subject.strip(), prompts.clean_strings[k]
    text = "".join(strings)
    if not wanted:
        raise PatchingError(f"the subject of prompt {k} is empty: {subject!r}")
    escaped = re.escape(wanted)
    found = list(re.finditer(rf"(?<!\w){escaped}(?!\w)", text))
    found = found or list(re.finditer(escaped, text))
    if not found:
        raise PatchingError(
            f"the subject {subject!r} does not stand in prompt {k}; {_shown(prompts, k)}. Spell it "
            "as the prompt does, or give its positions: subject=[2, 3]"
        )
    if len(found) > 1:
        raise PatchingError(
            f"the subject {subject!r} stands {len(found)} times in prompt {k}; "
            f"{_shown(prompts, k)}. Give the positions that are meant: subject=[2, 3]"
        )
    start, stop = found[0].span()
    out, end = [], 0
    for position, token in enumerate(strings):
        begin, end = end, end + len(token)
        if begin < stop and end > start:
            out.append(position)
    return out


def _shown(prompts: Prompts, k: int) -> str:
    tokens = prompts.clean_strings[k]
    return "its tokens are " + " ".join(f"{i} {token!r}" for i, token in enumerate(tokens))


def role_of(subject: Sequence[int], length: int) -> list[str | None]:
    """Return the part that each token of a prompt plays; None before the subject.

    A subject of one token is its last, a token right after the subject that ends the prompt is the
    prompt's last.

    Args:
        subject: Positions of the subject's tokens.
        length: Tokens of the prompt.

    Example:
        >>> role_of([1, 2], 5)[1:]
        ['first subject token', 'last subject token', 'first later token', 'last token']
    """
    first, last = min(subject), max(subject)
    out: list[str | None] = []
    for position in range(length):
        role = None
        if position == last:
            role = ROLES[2]
        elif position in (first, length - 1):
            role = ROLES[0] if position == first else ROLES[5]
        elif position > first:
            later = ROLES[3] if position == last + 1 else ROLES[4]
            role = ROLES[1] if position < last else later
        out.append(role)
    return out
