"""Top activations as text in 80 columns: extreme places of both ends, and what a unit writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neoscope.analysis.result import wrapped
from neoscope.analysis.words import visible

if TYPE_CHECKING:
    from neoscope.analysis.neuron.result import TopActivations

_WIDTH = 80
_TOP, _BOTTOM, _UNITS, _TOKENS, _NAME = 10, 5, 20, 5, 12


def printed(found: TopActivations) -> str:
    """Return the result of one unit in full, of several a line each."""
    lines = [wrapped(found.heading())]
    if len(found.units) == 1:
        lines += _unit(found)
    else:
        lines += _units(found)
    return "\n".join(lines)


def _unit(found: TopActivations) -> list[str]:
    spread = f"mean {found.mean[0]:.4g}, sd {found.sd[0]:.4g}"
    reach = f"from {found.low[0]:.4g} to {found.high[0]:.4g}"
    lines = [f"{spread}, above zero {found.share_positive[0]:.1%}, {reach}"]
    lines += ["most active", *_places(found, 0, "top", _TOP)]
    if found.low[0] < 0:
        lines += ["most negative", *_places(found, 0, "bottom", _BOTTOM)]
    if len(found.promoted_id[0]):
        lines.append("logits for each unit of activation, before the final scale")
        for end, name in (("promoted", "raises"), ("suppressed", "lowers")):
            lines += _effects(found, 0, end, name)
    held = int((found.top_place >= 0).sum() + (found.bottom_place >= 0).sum())
    return [*lines, f"all {held:,} places: to_dataframe()"]


def _units(found: TopActivations) -> list[str]:
    names = found.units[:_UNITS]
    values, places = found.top_value[:, 0].tolist(), found.top_place[:, 0].tolist()
    lines = _table(found, "unit", list(zip(names, values, places, strict=False)))
    left = len(found.units) - len(names)
    more = f"and {left:,} more units: " if left else "more places: "
    return [*lines, f"{more}to_dataframe(), places(unit), logit_effect(unit)"]


def _places(found: TopActivations, row: int, end: str, most: int) -> list[str]:
    values, where = getattr(found, f"{end}_value")[row], getattr(found, f"{end}_place")[row]
    held = [(v, p) for v, p in zip(values.tolist(), where.tolist(), strict=True) if p >= 0][:most]
    return _table(found, "text", [(str(found.text[p]), v, p) for v, p in held])


def _table(found: TopActivations, name: str, rows: Sequence[tuple[str, float, int]]) -> list[str]:
    """Lines of names, values and contexts, each cut around its token."""
    names = [visible(row[0])[:_NAME] for row in rows]
    values = [f"{row[1]:.3f}" for row in rows]
    first, second = (max(map(len, x)) for x in ([name, *names], ["value", *values]))
    room = _WIDTH - first - second - 4
    lines = [f"{name:>{first}}  {'value':>{second}}  context"]
    for called, value, (_, _, p) in zip(names, values, rows, strict=True):
        context = cut_around(found.before[p], found.piece[p], found.after[p], room)
        lines.append(f"{called:>{first}}  {value:>{second}}  {''.join(context)}")
    return lines


def _effects(found: TopActivations, row: int, end: str, name: str) -> list[str]:
    """Lines of tokens, none of which is broken."""
    words, effects = getattr(found, end)[row], getattr(found, f"{end}_effect")[row].tolist()
    lines, line = [], name
    for word, effect in list(zip(words, effects, strict=True))[:_TOKENS]:
        item = f" {visible(word)!r} {effect:+.3g}"
        if len(line) + len(item) > _WIDTH:
            lines.append(line)
            line = " " * len(name)
        line += item
    return [*lines, line]


def cut_around(before: str, piece: str, after: str, room: int) -> tuple[str, str, str, str, str]:
    """Return a context on one line, cut to fit around its token, which stands between « and ».

    Args:
        before: The text before the token.
        piece: The token.
        after: The text after it.
        room: Letters there are.

    Example:
        >>> "".join(cut_around("one two three ", "four", " five six seven", 24))
        '…o three «four» five si…'
    """
    before, piece, after = visible(before), visible(piece), visible(after)
    room = max(3, room - 2)
    piece = piece if len(piece) <= room else f"{piece[: room - 1]}…"
    left = room - len(piece)
    after_room = max(left // 2, left - len(before))
    if len(after) > after_room:
        after = f"{after[: max(0, after_room - 1)]}…" if after_room else ""
    before_room = left - len(after)
    if len(before) > before_room:
        before = f"…{before[len(before) - before_room + 1 :]}" if before_room > 0 else ""
    return before, "«", piece, "»", after
