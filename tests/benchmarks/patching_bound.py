"""The arithmetic that exact patching needs at least, counted from the definition of each patch.

Matrix products alone are counted, as two operations for a multiply-add. A patched run shares with
the unpatched one whatever the patch cannot reach, and only what reaches the metric is computed: in
the last layer keys and values of what is read, but queries, outputs and the MLP at the metric's
positions alone; of the unembedding the rows that the metric reads. A query that did not move
corrects its attention by the keys and values that did. Nothing of the engine is used here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neoscope import NeoConfig

Marks = NDArray[np.bool_]
"""[pos], True for the tokens that are meant."""
STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEADS = ("z", "q", "k", "v", "pattern")


@dataclass(frozen=True)
class Shape:
    """What the count depends on."""

    d_model: int
    n_heads: int
    d_mlp: int
    windows: tuple[int | None, ...]
    """Of each layer; None where attention is global."""

    @classmethod
    def of(cls, config: NeoConfig) -> Shape:
        """Read a model's shape."""
        windows = tuple(config.window(layer) for layer in range(config.n_layers))
        return cls(config.d_model, config.n_heads, config.n_neurons, windows)


@dataclass(eq=False)
class Pair:
    """Multiply-adds of one pair of prompts without padding, the metric reading the last token."""

    shape: Shape
    differs: Marks
    """Where the two prompts' tokens differ."""
    read_rows: int = 2
    """Rows of the unembedding that the metric reads: two for a logit difference."""
    _known: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """See who sees whom, what differs between the runs, and what reaches the metric."""
        n, windows = len(self.differs), self.shape.windows
        back = np.arange(n)[:, None] - np.arange(n)[None]
        self.seen = [(back >= 0) & (back < (window or n)) for window in windows]
        self.moved: list[Marks] = [self.differs]
        for seen in self.seen:
            self.moved.append((seen & self.moved[-1]).any(1))
        self.needed: list[Marks] = [np.arange(n) == n - 1]
        for seen in reversed(self.seen):
            self.needed.insert(0, seen[self.needed[0]].any(0))

    def unpatched(self) -> int:
        """Both unpatched runs, the second from the first token on that differs."""
        return self.after(np.ones(len(self.differs), bool), 0) + self.after(self.differs, 0)

    def after(self, changed: Marks, layer: int) -> int:
        """All that follows a change of these tokens of the stream before a layer."""
        changed = changed & self.needed[layer]
        if not changed.any():
            return 0
        if layer == len(self.seen):
            return int(changed.sum()) * self.read_rows * self.shape.d_model
        key = layer, changed.tobytes()
        if key not in self._known:
            here, out = self._layer(changed, layer)
            self._known[key] = here + self.after(out, layer + 1)
        return self._known[key]

    def _layer(self, changed: Marks, layer: int) -> tuple[int, Marks]:
        d, seen = self.shape.d_model, self.seen[layer]
        out = (seen & changed).any(1) & self.needed[layer + 1]
        queries, keys = out & changed, seen[out].any(0) & changed
        attended = int(seen[queries].sum()) + int((seen[out & ~changed] & keys).sum())
        products = int(queries.sum()) + 2 * int(keys.sum()) + int(out.sum())
        return products * d * d + 2 * d * attended + self._mlp(out), out

    def _mlp(self, tokens: Marks) -> int:
        return int(tokens.sum()) * 2 * self.shape.d_model * self.shape.d_mlp

    def cell(self, site: str, layer: int, tokens: Marks) -> int:
        """One cell: these tokens of a site, of one head where the site is by head.

        Args:
            site: Of ``STREAM`` or ``HEADS``.
            layer: Its layer.
            tokens: Positions that are patched; of patterns, queries.
        """
        before, after = tokens & self.moved[layer], tokens & self.moved[layer + 1]
        if site == "resid_pre":
            return self.after(before, layer)
        if site in ("resid_post", "mlp_out"):
            return self.after(after, layer + 1)
        out = after & self.needed[layer + 1]
        if site not in ("resid_mid", "attn_out"):
            here, out = self._head(site, layer, before, after)
        else:
            here = 0
        return here + self._mlp(out) + self.after(out, layer + 1)

    def _head(self, site: str, layer: int, before: Marks, after: Marks) -> tuple[int, Marks]:
        """From a head's own part to what attention writes."""
        seen = self.seen[layer]
        d_head = self.shape.d_model // self.shape.n_heads
        choice = seen.sum(1) > 1  # A query that sees one key attends to it whatever it is.
        if site == "z":
            out, attended = after, 0
        elif site == "q":
            out = before & choice
            attended = 2 * int(seen[out & self.needed[layer + 1]].sum())
        elif site == "pattern":
            out = after & choice
            attended = int(seen[out & self.needed[layer + 1]].sum())
        else:
            out = (seen & before).any(1) & (choice | (site == "v"))
            twice = 2 if site == "k" else 1
            attended = twice * int((seen[out & self.needed[layer + 1]] & before).sum())
        out = out & self.needed[layer + 1]
        return d_head * (attended + int(out.sum()) * self.shape.d_model), out

    def edges(self) -> int:
        """Products of what each sender writes otherwise with each receiver's gradient."""
        heads, layers = self.shape.n_heads, range(len(self.seen))
        senders = [(1, self.differs)]
        total = 0
        for layer in layers:
            read, write = self.needed[layer + 1], self.moved[layer + 1]
            keys = self.needed[layer]
            for count, wrote in senders:
                total += count * heads * int((wrote & read).sum() + 2 * (wrote & keys).sum())
            senders.append((heads, write))
            total += sum(count * int((wrote & read).sum()) for count, wrote in senders)
            senders.append((1, write))
        total += sum(count * int((wrote & self.needed[-1]).sum()) for count, wrote in senders)
        return total * self.shape.d_model


def sweep_flops(
    shape: Shape,
    differs: Iterable[Marks],
    site: str,
    *,
    each_position: bool,
    n_heads: int | None = None,
) -> float:
    """Count a sweep over all layers of some pairs, both unpatched runs included.

    Args:
        shape: The model's.
        differs: For each pair where its prompts differ.
        site: Of ``STREAM`` or ``HEADS``.
        each_position: Whether each position is a cell, or all of them are one.
        n_heads: Heads that are cells of their own; default all, for sites by head.
    """
    heads = 1 if site in STREAM else n_heads or shape.n_heads
    total = 0
    for marks in differs:
        pair, n = Pair(shape, marks), len(marks)
        where = list(np.eye(n, dtype=bool)) if each_position else [np.ones(n, bool)]
        layers = range(len(shape.windows))
        cells = sum(pair.cell(site, layer, tokens) for layer in layers for tokens in where)
        total += pair.unpatched() + heads * cells
    return 2.0 * total


def eap_ig_flops(shape: Shape, differs: Iterable[Marks], steps: int) -> float:
    """Count EAP-IG, its runs beginning with the first difference, its backward passes as dear.

    The donor, the base run as the first step, the other steps, as many backward passes, and once
    the product of every edge's sender and receiver.
    """
    total = 0
    for marks in differs:
        pair = Pair(shape, marks)
        total += pair.unpatched() + (2 * steps - 1) * pair.after(marks, 0) + pair.edges()
    return 2.0 * total
