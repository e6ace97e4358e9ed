"""Texts as a caller gives them to what reads many: one or several, or ids, or something else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from neoscope.errors import AnalysisError
from neoscope.tokens import Tokens


def given_texts(texts: Any, what: str) -> Any:
    """Return one text, ids or a tokenized batch as it is, and all else as a list.

    Args:
        texts: One text or several; rows of token ids; or what ``model.tokenize`` gave.
        what: The function, for the error.

    Raises:
        AnalysisError: It is something else, such as a number or a dict.
    """
    if isinstance(texts, str | Tokens | Tensor):
        return texts
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise AnalysisError(
            f"{what} reads one text or several, token ids, or what model.tokenize gave; found "
            f"{type(texts).__name__}"
        )
    return list(texts)


def kept_texts(tokens: Tokens) -> list[str]:
    """Return what of each text was read: all of it, or what its tokens reach where it was cut.

    Args:
        tokens: As ``model.tokenize`` gave them; of ids there is no text.
    """
    found = []
    for row, text in enumerate(tokens.texts):
        if not (tokens.truncated and tokens.truncated[row]):
            found.append(text)
        elif tokens.offsets:
            found.append(text[: max(stop for _, stop in tokens.offsets[row])])
        else:  # A tokenizer that knows no offsets.
            said = "".join(tokens.strings[row][len(tokens.added) :])
            # Some tokenizers put a space before every text.
            found.append(said if text[:1].isspace() else said.removeprefix(" "))
    return found
