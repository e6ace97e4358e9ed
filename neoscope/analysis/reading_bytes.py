"""Tokens that are no text by themselves: parts of a letter, as the bytes that they are."""

from __future__ import annotations

import functools

_REPLACEMENT = "\ufffd"


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
