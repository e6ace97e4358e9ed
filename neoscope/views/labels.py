"""Tokens and texts as labels: spaces made visible, cut to a length, nothing read as markup."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

LONGEST = 24
"""Most characters of a token in a label."""
_NAMED = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\x00": "␀"}
_PATH = re.compile(r"[\w~. :-]*[/\\][\w~. :/\\-]*")
_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_JOINER = "\u200d"
"""Holds the parts of one emoji together."""
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_FIRST_STRONG, _POP = "\u2068", "\u2069"


def escaped(text: str) -> str:
    """Return a text that plotly and HTML show letter by letter.

    Args:
        text: Anything; half a surrogate pair is shown as its number.
    """
    shown = html.escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)
    # Plotly knows quotation marks by number alone.
    return shown.replace("&quot;", "&#34;")


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most so many characters, its middle replaced by an ellipsis.

    Args:
        text: Anything.
        longest: Most characters, at least 3.
    """
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def visible(token: str, longest: int = LONGEST) -> str:
    """Return a token as a label: ``" the"`` is ``"·the"``, a newline ``"⏎"``; escaped.

    A token that could turn the direction of what stands beside it (Hebrew, Arabic) is isolated.

    Args:
        token: The token's string.
        longest: Most characters.

    Example:
        >>> visible(" the"), visible("<b>")
        ('·the', '&lt;b&gt;')
    """
    shown = token.replace(" ", "·") if token.strip() != token or not token.strip() else token
    shown = "".join(_NAMED.get(letter, letter) for letter in shown)
    shown = "".join(
        one if one.isprintable() or one == _JOINER else f"\\x{ord(one):02x}" for one in shown
    )
    shown = cut(shown, longest) or "∅"
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in shown):
        shown = f"{_FIRST_STRONG}{shown}{_POP}"
    return escaped(shown)


def model_name(name: object) -> str:
    """Return what a title calls a model: its name, with its owner's; a path by its last part.

    Args:
        name: As a result gives it, or a model's config; plain text, not escaped here.

    Example:
        >>> model_name("organism"), model_name("/data/run 7/step-100/"), model_name("")
        ('organism', 'step-100', 'unnamed model')
        >>> model_name("EleutherAI/gpt-neo-125m")
        'EleutherAI/gpt-neo-125m'
    """
    given = " ".join(str(name or "").split())
    if not _PATH.fullmatch(given) or _HUB.fullmatch(given):
        return cut(given, 60) or "unnamed model"
    return cut(re.split(r"[/\\]", given.rstrip("/\\"))[-1], 60) or "unnamed model"


def numbered(tokens: Sequence[str], start: int = 0) -> list[str]:
    """Return one unique name for each token, for an axis on which tokens occur twice.

    Args:
        tokens: Token strings.
        start: The first one's position.

    Example:
        >>> numbered(["The", " cat", " the"])
        ['0 The', '1 ·cat', '2 ·the']
    """
    return [f"{start + i} {visible(token)}" for i, token in enumerate(tokens)]


def ticks(names: Sequence[str], labels: Sequence[str], most: int = 40) -> dict[str, list[str]]:
    """Return plotly's ``tickvals`` and ``ticktext``: every label, or evenly every nth.

    Args:
        names: The axis's categories.
        labels: What to write for each.
        most: Most labels that are readable side by side.
    """
    step = max(1, -(-len(names) // most))
    return {"tickvals": list(names[::step]), "ticktext": list(labels[::step])}
