"""A token as it stands in running text: what is written, and how many columns that takes."""

from __future__ import annotations

import html
import unicodedata

from neoscope.views.labels import cut, escaped, visible

LONGEST = 40
"""Most letters of one token: a longer one is cut in its middle."""
BREAK = "⏎"
_NAMED = {"\n": BREAK, "\r": "␍", "\t": "⇥", "\x00": "␀", " ": "\xa0"}
_JOINER = "\u200d"
_ISOLATE, _POP = "\u2068", "\u2069"
_RIGHT_TO_LEFT = ("R", "AL", "AN")


def written(token: str, longest: int = LONGEST) -> str:
    r"""Return a token as it is written into a text: spaces kept, what cannot be seen named.

    Args:
        token: The token's string.
        longest: Most letters.

    Example:
        >>> written(" the\n"), written("\x07")
        ('\xa0the⏎', '\\x07')
    """
    named = "".join(
        _NAMED.get(letter) or (letter if _seen(letter) else f"\\x{ord(letter):02x}")
        for letter in cut(token, longest)
    )
    return cut(named, longest) or "∅"


def _seen(letter: str) -> bool:
    return letter.isprintable() or letter == _JOINER


def columns(text: str) -> int:
    r"""Return how many columns of a fixed-width font a text takes, at least 1.

    East Asian wide letters and emoji take two; accents that stand on another letter take none.

    Args:
        text: As :func:`written` gives it.

    Example:
        >>> columns("cat"), columns("猫"), columns("e\u0301"), columns("👩\u200d🚀")
        (3, 2, 1, 2)
    """
    total, joined = 0, False
    for letter in text:
        if not joined:
            total += _width(letter)
        joined = letter == _JOINER
    return max(1, total)


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def label(text: str) -> str:
    """Return what :func:`written` gave as plotly may show it: escaped, its direction isolated.

    Args:
        text: A piece of a token, or of a text.
    """
    safe = escaped(text)
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        return f"{_ISOLATE}{safe}{_POP}"
    return safe


def spoken(token: str) -> str:
    """Return a token for a title, which is escaped only when it is set: its spaces are shown.

    Args:
        token: The token's string.

    Example:
        >>> spoken(" <b>")
        '·<b>'
    """
    return html.unescape(visible(token))
