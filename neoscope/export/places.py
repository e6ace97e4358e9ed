"""Where in each text a row wants to be read: a token's number, or spans of characters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neoscope.export.spec import FeatureSpec
from neoscope.indices import listed, whole

_EXPECTED = "expected a token's number or a span of characters [start, stop)"


@dataclass(frozen=True)
class Places:
    """Token ranges [start, stop) by text, as ``token`` and ``spans`` need them."""

    token: tuple[int | None, ...]
    """The token to take of each text; None where there is a problem."""
    spans: tuple[tuple[tuple[int, int], ...], ...]
    """The spans of tokens of each text."""


def places(
    where: Sequence[Any],
    offsets: Sequence[Sequence[tuple[int, int]]],
    spec: FeatureSpec,
    wrong: dict[int, str],
    *,
    skip: int,
    cut: Mapping[int, int],
) -> Places:
    """Read what each row says; what cannot be used is noted in ``wrong``.

    Args:
        where: A token's number, a span of characters [start, stop), or, for ``spans``, several.
        offsets: Characters of each token, by text.
        spec: Which of ``token`` and ``spans`` are asked for.
        wrong: Text to problem; added to.
        skip: Tokens put before each text, which numbers do not count.
        cut: Texts that were cut, for the message.
    """
    tokens: list[int | None] = []
    spans: list[tuple[tuple[int, int], ...]] = []
    for text, said in enumerate(where):
        token: int | None = None
        found: tuple[tuple[int, int], ...] = ()
        if text not in wrong:
            try:
                said = _read(said)
                if "token" in spec.pool:
                    token = _token(said, offsets[text], skip, text in cut)
                if "spans" in spec.pool:
                    several = _several(said)
                    found = tuple(_span(span, offsets[text], text in cut) for span in several)
            except ValueError as error:
                after = f" ({cut[text]} tokens were cut off)" if text in cut else ""
                wrong[text] = f"{spec.column}={_short(said)}: {error}{after}"
                token, found = None, ()
        tokens.append(token)
        spans.append(found)
    return Places(tuple(tokens), tuple(spans))


def _read(said: Any) -> Any:
    """Read what stands in a .csv file, where everything is text, as JSON."""
    if not isinstance(said, str):
        return said
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        raise ValueError(_EXPECTED) from None


def _short(value: Any) -> str:
    said = repr(value)
    return said if len(said) < 60 else said[:57] + "..."


def _number(value: Any) -> int | None:
    """Read a whole number; a column of them in which some are missing holds floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else whole(value)


def _token(said: Any, offsets: Sequence[tuple[int, int]], skip: int, cut: bool) -> int:
    number = _number(said)
    if number is None:
        return _span(said, offsets, cut)[1] - 1
    n = len(offsets) - skip
    if not -n <= number < n:
        raise ValueError(f"the text has tokens 0 to {n - 1}")
    return number % n + skip


def _several(said: Any) -> list[Any]:
    items = listed(said)
    # One span alone is two whole numbers.
    return [said] if len(items) == 2 and all(_number(item) is not None for item in items) else items


def _span(said: Any, offsets: Sequence[tuple[int, int]], cut: bool) -> tuple[int, int]:
    ends = [_number(item) for item in listed(said)]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or not 0 <= ends[0] < ends[1]:
        raise ValueError(_EXPECTED)
    start, stop = ends[0], ends[1]
    inside = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start]
    last = max((b for _, b in offsets), default=0)
    if not inside:
        raise ValueError(f"no token stands there; those that are read end at character {last}")
    if cut and stop > last:
        raise ValueError(f"what is read ends before it does, at character {last}")
    return inside[0], inside[-1] + 1
