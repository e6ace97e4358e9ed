"""A first look at a fresh cache: where the last token's heads look, and what comes next."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.cache import ActivationCache
    from neoscope.model import HookedGPTNeo
    from neoscope.tokens import Tokens

_ROWS = 6
_TEXTS = 5
_WIDTH = 70
_CLEAR = 0.15
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def look(console: Console, model: HookedGPTNeo, cache: ActivationCache) -> None:
    """Print what comes next in the first texts, and where the first one's last token attends."""
    tokens = cache.tokens
    assert tokens is not None
    console.print()
    for row in range(min(_TEXTS, len(tokens.ids))):
        text = tokens.texts[row]
        if tokens.truncated[row]:
            text = text[: tokens.offsets[row][-1][1]] if tokens.offsets else text
        before, text = ("… ", text[-_WIDTH:]) if len(text) > _WIDTH else ("", text)
        console.print(f"after {before}{_show(text)}", markup=False, highlight=False)
        console.print(
            f"   the model expects: {_expected(model, tokens.rows([row]))}",
            highlight=False,
            markup=False,
        )
    if len(tokens.ids) > _TEXTS:
        console.print(f"({len(tokens.ids) - _TEXTS} texts more)")
    kept = cache.positions
    if kept is None or (isinstance(kept, list) and kept[-1] == -1):
        _heads(console, cache, tokens.strings[0])


def _expected(model: HookedGPTNeo, row: Tokens) -> str:
    """Return the likeliest next tokens of one text."""
    import torch

    n = row.lengths[0]
    ids, mask = (
        (row.ids[:, :n], row.mask[:, :n]) if row.padding_side == "right" else (row.ids, row.mask)
    )
    with torch.no_grad():
        hidden = model(ids, mask, return_type="hidden")[:, -1]
        probability = model.unembed(hidden).float().softmax(-1)[0]
    top = probability.topk(min(3, len(probability)))
    return ", ".join(
        f"{_show(str(model.tokenizer.decode([i])) if model.tokenizer else str(i))} {p:.0%}"
        for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )


def _heads(console: Console, cache: ActivationCache, words: tuple[str, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    layers = cache.layers("pattern")
    if not layers:
        return
    found = []
    for layer in layers:
        pattern = cache.last("pattern", layer)[0][:, : len(words)]
        # A token's look at itself or at the first token is the resting place of idle heads.
        weights = pattern[:, 1 : len(words) - 1]
        if weights.shape[1] == 0:
            continue
        for head in range(len(weights)):
            best = int(weights[head].argmax())
            found.append((float(weights[head, best]), layer, head, best + 1))
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "head", "weight", "at token"):
        table.add_column(column, justify="left" if column == "at token" else "right")
    for weight, layer, head, at in sorted(found, reverse=True)[:_ROWS]:
        if weight < _CLEAR:
            break
        before = _show(words[at - 1])
        place = Text(f"{_show(words[at])} (token {at}, after {before})")
        table.add_row(str(layer), str(head), f"{weight:.2f}", place)
    if table.row_count:
        console.print(
            "\nwhere heads look most from the first text's last token, beside itself and the first:"
        )
        console.print(table, highlight=False)


def _show(token: str) -> str:
    """Return a token as one can see it: odd blanks and what cannot be printed made visible.

    One space before a word, which most tokens have, is left away.

    A terminal would obey control characters, and turn a line around at a change of direction.
    """
    visible = token.replace("\n", "⏎").replace("\t", "⇥")
    if visible[:1] == " " and visible[1:2].strip():
        visible = visible[1:]
    if visible != visible.strip():
        visible = visible.replace(" ", "·")
    return "".join(repr(c)[1:-1] if _unseen(c) else c for c in visible) or "∅"


def _unseen(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character in _TURNS
