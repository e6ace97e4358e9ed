"""Tokens in words: what each stands for, parts of a letter as their bytes, on one line."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from neoscope.tokens import Tokens

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_REPLACEMENT = "\ufffd"


def token_strings(tokens: Tokens, model: HookedGPTNeo | None) -> tuple[tuple[str, ...], ...]:
    r"""Return what each real token stands for, row by row; ``"#17"`` where nobody knows.

    One that is part of a letter is shown as its bytes, such as ``\xd7``, where the model is known.
    """
    tokenizer = None if model is None else model.tokenizer
    parted = any(_REPLACEMENT in word for row in tokens.strings for word in row)
    if tokens.strings and (tokenizer is None or not parted):
        return tokens.strings
    rows = zip(tokens.ids.tolist(), tokens.mask.tolist(), strict=True)
    ids = [[i for i, is_real in zip(*row, strict=True) if is_real] for row in rows]
    found = tuple(tuple(vocabulary(row, tokenizer)) for row in ids)
    if not tokens.strings:
        return found
    # Words keep what the text said of them: only those that could not be written are spelled.
    return tuple(
        tuple(new if _REPLACEMENT in old else old for old, new in zip(*rows, strict=True))
        for rows in zip(tokens.strings, found, strict=True)
    )


def vocabulary(ids: list[int], tokenizer: object) -> list[str]:
    r"""Return the text of each token id by itself; ``"#17"`` without a tokenizer.

    Bytes that are no whole letter are shown as such, ``"\xe2"``.
    """
    if tokenizer is None:
        return [f"#{i}" for i in ids]
    decode = tokenizer.decode  # type: ignore[attr-defined]  # transformers' tokenizers
    texts = [str(decode([i])) for i in ids]
    pieces = getattr(tokenizer, "convert_ids_to_tokens", None)
    if pieces is None:
        return texts
    return [
        spelled(text, str(pieces(i))) if _REPLACEMENT in text else text
        for i, text in zip(ids, texts, strict=True)
    ]


def visible(text: str) -> str:
    r"""Return text on one line, control characters as one writes them.

    Args:
        text: A token, or some text.

    Example:
        >>> visible(" the\n")
        ' the\\n'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def spelled(text: str, piece: str) -> str:
    r"""Return a token's text, its bytes as ``\xe2`` where they are no whole letters.

    Args:
        text: The token decoded by itself.
        piece: The tokenizer's own name of it: GPT-2's write each byte as a printable letter.

    Example:
        >>> spelled("\ufffd", "â"), spelled(" \ufffd", "Ġâ"), spelled(" the", "Ġthe")
        ('\\xe2', ' \\xe2', ' the')
    """
    known = _bytes()
    if _REPLACEMENT not in text or not all(letter in known for letter in piece):
        return text
    data = bytes(known[letter] for letter in piece)
    # What is no UTF-8 comes back as surrogates, which stand for one byte each.
    found = data.decode("utf-8", errors="surrogateescape")
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in found)


@functools.cache
def _bytes() -> dict[str, int]:
    """GPT-2's letters for bytes: printable Latin-1 as it is, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(0x100 + i): byte for i, byte in enumerate(others)}
