"""A first look at a fresh cache: where the last token's heads look, and what comes next."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.cache import ActivationCache
    from neoscope.model import HookedGPTNeo

_ROWS = 6
_CLEAR = 0.15
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def look(console: Console, model: HookedGPTNeo, cache: ActivationCache) -> None:
    """Print what the first text's last token attends to most, and the likeliest next tokens."""
    import torch

    tokens = cache.tokens
    assert tokens is not None
    words = tokens.strings[0]
    with torch.no_grad():
        row = tokens.rows([0])
        ids = row.ids[:, : len(words)] if tokens.padding_side == "right" else row.ids
        hidden = model(ids, row.mask[:, : ids.shape[1]], return_type="hidden")[:, -1]
        probability = model.unembed(hidden).float().softmax(-1)[0]
    top = probability.topk(min(3, len(probability)))
    said = ", ".join(
        f"{_show(str(model.tokenizer.decode([i])) if model.tokenizer else str(i))} {p:.0%}"
        for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )
    text = " ".join(_show(word) for word in words[-12:])
    console.print(f"\nafter … {text}" if len(words) > 12 else f"\nafter {text}", markup=False)
    console.print(f"the model expects: {said}", highlight=False, markup=False)
    kept = cache.positions
    if kept is None or (isinstance(kept, list) and kept[-1] == -1):
        _heads(console, cache, words)


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
        console.print("where its heads look most, beside itself and the first token:")
        console.print(table, highlight=False)


def _show(token: str) -> str:
    """Return a token as one can see it: blanks at its ends and what cannot be printed made visible.

    A terminal would obey control characters, and turn a line around at a change of direction.
    """
    visible = token.replace("\n", "⏎").replace("\t", "⇥")
    if visible != visible.strip():
        visible = visible.replace(" ", "·")
    return "".join(repr(c)[1:-1] if _unseen(c) else c for c in visible) or "∅"


def _unseen(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character in _TURNS
