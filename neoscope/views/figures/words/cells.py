"""A token as it stands in running text: what is written, and how many columns that takes."""

from __future__ import annotations

import unicodedata

from neoscope.views.labels import JOINER, NAMED, cut, escaped, isolated, seen

LONGEST = 40
"""Most letters of one token: a longer one is cut in its middle."""
BREAK = NAMED["\n"]
_NAMED = {**NAMED, " ": "\xa0"}
_KEPT = JOINER + "".join(_NAMED)


def written(token: str, longest: int = LONGEST) -> str:
    r"""Return a token as it is written into a text: spaces kept, what cannot be seen named.

    Args:
        token: The token's string.
        longest: Most letters.

    Example:
        >>> written(" the\n"), written("\x07")
        ('\xa0the⏎', '\\x07')
    """
    plain = seen(cut(token, longest), _KEPT)
    named = "".join(_NAMED.get(letter, letter) for letter in plain)
    return cut(named, longest) or "∅"


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
        joined = letter == JOINER
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
    return isolated(escaped(text))
