"""Tokens and texts as labels: spaces made visible, cut to a length, nothing read as markup."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

LONGEST = 24
"""Most characters of a token in a label."""
NAMED = {"\n": "⏎", "\r": "␍", "\t": "⇥", "\x00": "␀"}
_PATH = re.compile(r"[\w~. :-]*[/\\][\w~. :/\\-]*")
_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
JOINER = "\u200d"
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


def seen(text: str, keep: str = JOINER) -> str:
    r"""Return a text in which every letter that cannot be seen is written as its number.

    Args:
        text: Anything.
        keep: Letters that stay although they cannot be seen.

    Example:
        >>> seen("a\x07b")
        'a\\x07b'
    """
    return "".join(
        one if one.isprintable() or one in keep else f"\\x{ord(one):02x}" for one in text
    )


def isolated(text: str) -> str:
    """Return a text that cannot turn the direction of what stands beside it (Hebrew, Arabic).

    Args:
        text: Anything.
    """
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        return f"{_FIRST_STRONG}{text}{_POP}"
    return text


def spoken(token: str, longest: int = LONGEST) -> str:
    """Return a token as a label for what escapes its text itself, such as a title.

    Args:
        token: The token's string.
        longest: Most characters.

    Example:
        >>> spoken(" <b>")
        '·<b>'
    """
    shown = token.replace(" ", "·") if token.strip() != token or not token.strip() else token
    named = "".join(NAMED.get(letter, letter) for letter in shown)
    return isolated(cut(seen(named), longest) or "∅")


def visible(token: str, longest: int = LONGEST) -> str:
    """Return a token as a label: ``" the"`` is ``"·the"``, a newline ``"⏎"``; escaped.

    Args:
        token: The token's string.
        longest: Most characters.

    Example:
        >>> visible(" the"), visible("<b>")
        ('·the', '&lt;b&gt;')
    """
    return escaped(spoken(token, longest))


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
