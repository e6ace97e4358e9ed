"""What attention figures read from a cache: one text's patterns, its tokens, who may see whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.analysis import reading
from neoscope.analysis.words import token_strings
from neoscope.cache import ActivationCache
from neoscope.errors import SiteError, ViewError
from neoscope.indices import whole
from neoscope.sites import check_layer
from neoscope.views import labels
from neoscope.views.given import row_of
from neoscope.views.labels import numbered
from neoscope.visibility import Visibility

UNKNOWN = "?"
"""A token whose text nobody knows: a KV cache held it already."""


@dataclass(frozen=True)
class Text:
    """The tokens of one text of a batch, and which of them ask."""

    row: int
    n_texts: int
    keys: Int[np.ndarray, " key"]
    """Columns of the real tokens."""
    rows: Int[np.ndarray, " query"]
    """Where the queries stand on a pattern's query axis."""
    positions: Int[np.ndarray, " query"]
    """Their positions in the text, counted in real tokens."""
    names: tuple[str, ...]
    """A unique, escaped label for each token: ``"2 ·and"``."""

    @property
    def query_names(self) -> list[str]:
        """The labels of the tokens that ask."""
        return [self.names[i] for i in self.positions]

    def seen(self, window: int | None) -> Bool[np.ndarray, "query key"]:
        """Which keys each query sees."""
        back = self.positions[:, None] - np.arange(len(self.keys))
        most = len(self.keys) if window is None else window
        return np.asarray((back >= 0) & (back < most))

    def hidden(self, window: int | None) -> Bool[np.ndarray, "query key"]:
        """Which earlier keys the window hides from each query."""
        return np.asarray(self.seen(None) & ~self.seen(window))

    def said(self) -> str:
        """Return which text this is, where there are several."""
        return f"text {self.row} of {self.n_texts}" if self.n_texts > 1 else ""


def read_head(head: Any, n_heads: int) -> int:
    """Return a head counted from the front.

    Args:
        head: As the caller gave it.
        n_heads: Of a layer.

    Raises:
        SiteError: There is no such head.
    """
    number = whole(head)
    if number is None or not -n_heads <= number < n_heads:
        raise SiteError(f"head {head!r} does not exist; a layer has heads 0 to {n_heads - 1}")
    return number % n_heads


def held_layers(cache: reading.GivenCache, what: str) -> list[int]:
    """Return the layers whose patterns a cache holds.

    Args:
        cache: What was recorded.
        what: The function, for the error.

    Raises:
        ViewError: It is no cache, or holds none.
    """
    if not isinstance(cache, ActivationCache):
        raise ViewError(
            f"{what} takes a cache, as model.run_with_cache(...) returns beside the logits; found "
            f"{type(cache).__name__}"
        )
    held = cache.layers("pattern")
    if not held:
        sites = ", ".join(dict.fromkeys(cache.ref(key).kind.short for key in cache)) or "nothing"
        raise ViewError(
            f"{what} draws attention patterns, and this cache holds none (it holds {sites}): make "
            "it with model.run_with_cache(text, sites='pattern')"
        )
    return held


def one_layer(cache: reading.GivenCache, layer: Any, what: str) -> int:
    """Return a layer whose patterns a cache holds.

    Args:
        cache: What was recorded.
        layer: As the caller gave it.
        what: The function, for the error.

    Raises:
        SiteError: The model has no such layer.
        ViewError: The cache does not hold it; the message says which it holds.
    """
    held = held_layers(cache, what)
    number = check_layer(layer, cache.config.n_layers, "pattern")
    if number not in held:
        raise ViewError(
            f"{what} needs the attention patterns of layer {number}; this cache holds those of "
            f"layers {', '.join(map(str, held))}: make it with "
            f"model.run_with_cache(text, sites='pattern', layers=[{number}])"
        )
    return number


def read_text(cache: ActivationCache, layer: int, text: Any, what: str) -> Text:
    """Return the tokens of a text, and which queries a cache kept.

    Args:
        cache: What was recorded.
        layer: One of those that it holds.
        text: Which text of the batch.
        what: The function, for the error.

    Raises:
        ViewError: There is no such text, or nothing of it.
    """
    batch, _, n_query, n_key = reading.at(cache, "pattern", layer).shape
    row = row_of(text, batch, what)
    tokens = cache.tokens
    mask = np.ones(n_key, bool)
    strings: list[str] = [UNKNOWN] * n_key
    asking = np.arange(n_key - n_query, n_key)
    if tokens is not None:
        own = tokens.mask[row].cpu().numpy()
        n_new = len(own)
        mask[n_key - n_new :] = own
        words = _words(cache, row)
        known = n_key - n_new
        strings = [UNKNOWN] * known + list(words)
        if cache.positions is not None:
            seen = Visibility(batch, n_new, tokens.mask.device, mask=tokens.mask)
            columns = seen.columns(cache.positions)
            assert columns is not None
            asking = columns[row].cpu().numpy() + known
    keys = mask.nonzero()[0]
    rows = mask[asking].nonzero()[0]
    if not keys.size or not rows.size:
        raise ViewError(f"text {row} has no token whose attention could be drawn")
    positions = (mask.cumsum() - 1)[asking[rows]]
    return Text(row, batch, keys, rows, positions, tuple(numbered(strings)))


def _words(cache: ActivationCache, row: int) -> list[str]:
    """The real tokens of a text; one that is part of a letter is shown as its bytes."""
    tokens, model = cache.tokens, cache.model
    assert tokens is not None
    return list(token_strings(tokens, model)[row])


def read_patterns(cache: ActivationCache, layer: int, text: Text) -> Float[np.ndarray, "h q k"]:
    """Return the patterns of a layer's heads over one text's tokens, padding left out.

    Args:
        cache: What was recorded.
        layer: Which.
        text: What :func:`read_text` returned.
    """
    x = reading.at(cache, "pattern", layer)[text.row].detach().float().cpu().numpy()
    found: np.ndarray = x[:, text.rows][:, :, text.keys]
    return found


def model_name(cache: ActivationCache) -> str:
    """Return what the model is called, as far as is known."""
    return labels.model_name(cache.model_name)


def kind_of(window: int | None) -> str:
    """Return what a layer's attention is: ``"global"`` or ``"local, window 256"``."""
    return "global" if window is None else f"local, window {window:,}"
