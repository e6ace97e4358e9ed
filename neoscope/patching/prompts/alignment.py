"""Whether clean and corrupted prompts stand token by token against each other, and where not."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from neoscope.errors import PatchingError

_AROUND = 6
"""Tokens shown on either side of a misalignment."""
_MOST_NAMED = 8


def check_aligned(
    clean: Sequence[Sequence[int]],
    corrupted: Sequence[Sequence[int]],
    clean_strings: Sequence[Sequence[str]],
    corrupted_strings: Sequence[Sequence[str]],
) -> None:
    """Check that there are as many prompts on both sides, of equal length pair by pair.

    Args:
        clean: Token ids of each clean prompt.
        corrupted: Token ids of each corrupted prompt.
        clean_strings: What the tokens of the clean prompts stand for.
        corrupted_strings: What the tokens of the corrupted prompts stand for.

    Raises:
        PatchingError: They are not as many, a pair has unequal lengths (both token rows are shown
            around the first misalignment), or the two prompts of a pair are the same.
    """
    if len(clean) != len(corrupted):
        raise PatchingError(
            f"there are {len(clean)} clean and {len(corrupted)} corrupted prompts; every clean "
            "prompt needs one corrupted prompt"
        )
    unequal = [k for k, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if len(a) != len(b)]
    if unequal:
        k = unequal[0]
        raise PatchingError(
            _misaligned(k, clean[k], corrupted[k], clean_strings[k], corrupted_strings[k])
            + (f"\n({len(unequal)} of {len(clean)} pairs do not align)" if unequal[1:] else "")
        )
    same = [k for k, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if list(a) == list(b)]
    if same:
        named = ", ".join(map(str, same[:_MOST_NAMED])) + (", ..." if same[_MOST_NAMED:] else "")
        raise PatchingError(
            f"clean and corrupted are the same in {'pair' if len(same) == 1 else 'pairs'} {named} "
            f"({''.join(clean_strings[same[0]])!r}); change a token of the corrupted prompt, or "
            "leave the pair out"
        )


def first_misalignment(clean: Sequence[int], corrupted: Sequence[int]) -> tuple[int, int, int, int]:
    """Return where two prompts of unequal length first go out of step.

    Args:
        clean: Token ids.
        corrupted: Token ids.

    Returns:
        First and one-past-last token of the clean span, then of the corrupted span that stands in
        its place.

    Example:
        >>> first_misalignment([5, 1, 6, 7], [5, 2, 3, 6, 7])
        (1, 2, 1, 3)
    """
    matcher = SequenceMatcher(a=list(clean), b=list(corrupted), autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal" and i2 - i1 != j2 - j1:
            return i1, i2, j1, j2
    shorter = min(len(clean), len(corrupted))
    return shorter, len(clean), shorter, len(corrupted)


def _misaligned(
    k: int,
    clean: Sequence[int],
    corrupted: Sequence[int],
    clean_strings: Sequence[str],
    corrupted_strings: Sequence[str],
) -> str:
    i1, i2, j1, j2 = first_misalignment(clean, corrupted)
    begin = max(0, min(i1, j1) - _AROUND)
    rows = [
        ["..."] * (begin > 0)
        + [f"{at} {text!r}" for at, text in list(enumerate(strings))[begin : stop + _AROUND]]
        + ["..."] * (stop + _AROUND < len(strings))
        for strings, stop in ((clean_strings, i2), (corrupted_strings, j2))
    ]
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"  {name}  " + " | ".join(map(str.ljust, row, widths)).rstrip(" |")
        for name, row in zip(("clean    ", "corrupted"), rows, strict=True)
    ]
    at = min(i1, j1) - begin + (begin > 0)
    caret = " " * (13 + sum(widths[:at]) + 3 * at) + "^ the first misalignment"
    return (
        f"pair {k} does not align: the clean prompt has {len(clean)} tokens, the corrupted one "
        f"{len(corrupted)}\n" + "\n".join(lines) + f"\n{caret}\n"
        f"At token {min(i1, j1)}, {_span(clean_strings[i1:i2])} stands against "
        f"{_span(corrupted_strings[j1:j2])}. Use a replacement of as many tokens "
        "(model.to_str_tokens(text) shows them; a word inside a text begins with a space)"
    )


def _span(tokens: Sequence[str]) -> str:
    if not tokens:
        return "nothing"
    return f"{''.join(tokens)!r} ({len(tokens)} token{'s' * (len(tokens) > 1)})"
