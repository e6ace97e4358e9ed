"""Names for the columns of many pairs: a position, and the tokens that tell most about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_LONGEST = 14
"""Characters of a token that are shown."""


def column_labels(
    clean: Sequence[Sequence[str]],
    corrupted: Sequence[Sequence[str]],
    differs: Sequence[Sequence[bool]],
) -> tuple[str, ...]:
    """Return one label a column, all different, for axes and tables.

    Prompts of one length are counted from 0; of several, from the end, where they are aligned.
    ``Mary|John`` says that clean and corrupted differ there, and names the tokens of the pairs in
    which they do; where the token varies over pairs the two commonest are named.

    Args:
        clean: Tokens of each clean prompt.
        corrupted: Tokens of each corrupted prompt; empty where there are none.
        differs: For each pair, which columns differ, padding on the left.

    Example:
        >>> column_labels([["When", " Mary"]], [["When", " John"]], [[False, True]])
        ('0 When', '1 Mary|John')
    """
    n = len(differs[0])
    counted = [str(i if {len(row) for row in clean} == {n} else i - n) for i in range(n)]
    width = max(map(len, counted))
    out = []
    for i, number in enumerate(counted):
        pairs = [k for k, row in enumerate(clean) if i >= n - len(row)]
        changed = [k for k in pairs if differs[k][i]]
        here = _common([clean[k][i - n] for k in changed or pairs])
        if changed:
            here += "|" + _common([corrupted[k][i - n] for k in changed])
        out.append(f"{number:>{width}} {here}")
    return tuple(out)


def _common(tokens: Sequence[str]) -> str:
    """Name the one token there is, or the two commonest of several."""
    found = [token for token, _ in Counter(tokens).most_common()]
    return "/".join([*map(readable, found[:2]), *(["…"] if found[2:] else [])])


def readable(token: str) -> str:
    r"""Return a token on one line, without the space before it.

    Args:
        token: What a token stands for in its text.

    Example:
        >>> readable(" Mary"), readable(" "), readable("a\n")
        ('Mary', "' '", 'a\\n')
    """
    inner = token.strip(" ")
    if not inner:
        return repr(token)
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in inner)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
